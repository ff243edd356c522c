package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/dynamic/dynamicinformer"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/metadata/metadatainformer"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
	"k8s.io/client-go/tools/cache"

	"bulkhead.dev/performance/internal/template"
)

var createOptions = metav1.CreateOptions{}

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
	places   chan struct{} // one for each that may be under way; nil for any number
	closing  sync.Once
}

func newObserver(p plan, children *template.Template) *observer {
	seen := &observer{
		plan: p, kinds: map[schema.GroupVersionKind]bool{}, owners: map[childKey]string{},
		waiting: map[string]int{}, reported: map[string]bool{}, begun: map[string]time.Time{},
		done: map[string]time.Time{}, all: make(chan struct{}),
	}
	if p.rate <= 0 && p.unfinished > 0 {
		seen.places = make(chan struct{}, p.unfinished)
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

// admit waits until one more may be under way.
func (o *observer) admit(ctx context.Context) bool {
	if o.places == nil {
		return true
	}
	select {
	case o.places <- struct{}{}:
		return true
	case <-ctx.Done():
		return false
	}
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
	status := dynamicinformer.NewFilteredDynamicInformer(
		objects, organizations, metav1.NamespaceAll, 0, cache.Indexers{}, nil,
	)
	if err := follow(ctx, status.Informer(), o.statusSeen); err != nil {
		return err
	}
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
		child := metadatainformer.NewFilteredMetadataInformer(
			client, mapping.Resource, metav1.NamespaceAll, 0, cache.Indexers{}, nil,
		)
		seen := func(object metav1.Object) { o.childSeen(kind.Kind, object) }
		if err := follow(ctx, child.Informer(), seen); err != nil {
			return err
		}
	}
	return nil
}

// follow returns once the informer has caught up, so that nothing created later is missed.
func follow(ctx context.Context, informer cache.SharedIndexInformer, note func(metav1.Object)) error {
	handler := cache.ResourceEventHandlerFuncs{
		AddFunc:    func(object any) { note(object.(metav1.Object)) },
		UpdateFunc: func(_, object any) { note(object.(metav1.Object)) },
	}
	if _, err := informer.AddEventHandler(handler); err != nil {
		return err
	}
	go informer.RunWithContext(ctx)
	if !cache.WaitForCacheSync(ctx.Done(), informer.HasSynced) {
		return errors.New("a watch did not begin")
	}
	return nil
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
	if o.places != nil {
		<-o.places
	}
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
