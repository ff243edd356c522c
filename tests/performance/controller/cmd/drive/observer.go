package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
	"k8s.io/client-go/tools/cache"
	watchtools "k8s.io/client-go/tools/watch"

	"bulkhead.dev/performance/internal/template"
)

var createOptions = metav1.CreateOptions{}

// resource is what the dynamic and the metadata client have in common, apart from their objects.
type resource[L metav1.ListInterface] interface {
	List(context.Context, metav1.ListOptions) (L, error)
	Watch(context.Context, metav1.ListOptions) (watch.Interface, error)
}

// watchOf watches a resource from now on. The API server ends watches at will, most of all under
// load; the retrying watcher goes on where the former ended.
func watchOf[L metav1.ListInterface](ctx context.Context, r resource[L]) (watch.Interface, error) {
	list, err := r.List(ctx, metav1.ListOptions{Limit: 1})
	if err != nil {
		return nil, err
	}
	source := &cache.ListWatch{WatchFuncWithContext: r.Watch}
	return watchtools.NewRetryWatcherWithContext(ctx, list.GetResourceVersion(), source)
}

type childKey struct{ kind, namespace, name string }

// observer remembers when each organization began and when the last of it was seen.
type observer struct {
	mutex    sync.Mutex
	plan     plan
	kinds    map[schema.GroupVersionKind]bool
	owners   map[childKey]string
	waiting  map[string]int
	reported map[string]bool
	begun    map[string]time.Time
	done     map[string]time.Time
	all      chan struct{}
	deaf     chan error
	closing  sync.Once
}

func newObserver(p plan, children *template.Template) *observer {
	seen := &observer{
		plan: p, kinds: map[schema.GroupVersionKind]bool{}, owners: map[childKey]string{},
		waiting: map[string]int{}, reported: map[string]bool{}, begun: map[string]time.Time{},
		done: map[string]time.Time{}, all: make(chan struct{}), deaf: make(chan error, 32),
	}
	for index := range p.count {
		name := p.name(index)
		for _, child := range children.Children(name, "") {
			seen.kinds[child.GroupVersionKind()] = true
			seen.owners[childKey{child.GetKind(), child.GetNamespace(), child.GetName()}] = name
			seen.waiting[name]++
		}
	}
	return seen
}

func (o *observer) begin(name string, at time.Time) {
	o.mutex.Lock()
	defer o.mutex.Unlock()
	o.begun[name] = at
}

func (o *observer) watch(ctx context.Context, configuration *rest.Config) error {
	objects, err := dynamic.NewForConfig(configuration)
	if err != nil {
		return err
	}
	stream, err := watchOf(ctx, objects.Resource(organizations))
	if err != nil {
		return err
	}
	go o.follow(stream, o.statusSeen)
	client, err := metadata.NewForConfig(configuration)
	if err != nil {
		return err
	}
	resources, err := restmapper.GetAPIGroupResources(discovery.NewDiscoveryClientForConfigOrDie(configuration))
	if err != nil {
		return err
	}
	mapper := restmapper.NewDiscoveryRESTMapper(resources)
	for kind := range o.kinds {
		mapping, err := mapper.RESTMapping(kind.GroupKind(), kind.Version)
		if err != nil {
			return err
		}
		stream, err := watchOf(ctx, client.Resource(mapping.Resource))
		if err != nil {
			return err
		}
		go o.follow(stream, func(object metav1.Object) { o.childSeen(kind.Kind, object) })
	}
	return nil
}

func (o *observer) follow(stream watch.Interface, note func(metav1.Object)) {
	for happened := range stream.ResultChan() {
		if happened.Type == watch.Error {
			o.deaf <- apierrors.FromObject(happened.Object)
			return
		}
		if happened.Type != watch.Added && happened.Type != watch.Modified {
			continue
		}
		if object, err := meta.Accessor(happened.Object); err == nil {
			note(object)
		}
	}
}

func (o *observer) childSeen(kind string, object metav1.Object) {
	key := childKey{kind, object.GetNamespace(), object.GetName()}
	o.mutex.Lock()
	defer o.mutex.Unlock()
	name, expected := o.owners[key]
	if !expected {
		return
	}
	delete(o.owners, key)
	o.waiting[name]--
	o.settle(name)
}

func (o *observer) statusSeen(object metav1.Object) {
	content := object.(*unstructured.Unstructured).Object
	observed, _, _ := unstructured.NestedInt64(content, "status", "observedGeneration")
	ready := condition(content, "Ready")
	if observed != object.GetGeneration() || ready == "" || (o.plan.ready && ready != "True") {
		return
	}
	o.mutex.Lock()
	defer o.mutex.Unlock()
	o.reported[object.GetName()] = true
	o.settle(object.GetName())
}

func condition(content map[string]any, name string) string {
	conditions, _, _ := unstructured.NestedSlice(content, "status", "conditions")
	for _, item := range conditions {
		if found := item.(map[string]any); found["type"] == name {
			status, _ := found["status"].(string)
			return status
		}
	}
	return ""
}

func (o *observer) settle(name string) {
	_, begun := o.begun[name]
	_, done := o.done[name]
	if !begun || done || o.waiting[name] > 0 || !o.reported[name] {
		return
	}
	o.done[name] = time.Now()
	if len(o.done) == o.plan.count {
		o.closing.Do(func() { close(o.all) })
	}
}

func (o *observer) missing() string {
	o.mutex.Lock()
	defer o.mutex.Unlock()
	examples := ""
	for key, owner := range o.owners {
		if _, begun := o.begun[owner]; begun {
			examples = fmt.Sprintf("; for example %s %s/%s is missing", key.kind, key.namespace, key.name)
			break
		}
	}
	return fmt.Sprintf("%d of %d organizations%s", len(o.done), o.plan.count, examples)
}
