// Command controller is the peer that the operator is measured against: what a Go engineer writes
// with controller-runtime for the same children. Server-side apply in order, the same kinds owned,
// a finalizer, status only when it changes, 50 workers, no client-side throttle.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/selection"
	"k8s.io/apimachinery/pkg/types"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"bulkhead.dev/performance/internal/template"
)

const (
	finalizer         = "bulkhead.dev/operator"
	fieldOwner        = client.FieldOwner("bulkhead-operator")
	labelOrganization = "bulkhead.dev/organization"
	workers           = 50
)

// owned carry an owner reference; labelled outlive their owner when the data does.
var (
	owned = []client.Object{
		&corev1.ResourceQuota{}, &corev1.LimitRange{}, &networkingv1.NetworkPolicy{},
		&corev1.ServiceAccount{}, &rbacv1.RoleBinding{}, &corev1.ConfigMap{},
		&appsv1.Deployment{}, &corev1.Service{}, &policyv1.PodDisruptionBudget{},
	}
	labelled = []client.Object{&corev1.Namespace{}, &corev1.PersistentVolumeClaim{}}
)

type reconciler struct {
	client.Client
	children *template.Template
}

func (r *reconciler) Reconcile(ctx context.Context, request ctrl.Request) (ctrl.Result, error) {
	owner := &unstructured.Unstructured{}
	owner.SetGroupVersionKind(template.OrganizationRuntime)
	if err := r.Get(ctx, request.NamespacedName, owner); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if !owner.GetDeletionTimestamp().IsZero() {
		return ctrl.Result{}, r.finalize(ctx, owner)
	}
	before := owner.DeepCopy()
	if controllerutil.AddFinalizer(owner, finalizer) {
		if err := r.Patch(ctx, owner, client.MergeFrom(before)); err != nil {
			return ctrl.Result{}, err
		}
	}
	for _, child := range r.children.Children(owner.GetName(), string(owner.GetUID())) {
		if err := r.put(ctx, child); err != nil {
			return ctrl.Result{}, fmt.Errorf("%s %s: %w", child.GetKind(), child.GetName(), err)
		}
	}
	return ctrl.Result{}, r.report(ctx, owner)
}

// put applies a child; Secrets hold what was generated once, and so are only ever created.
func (r *reconciler) put(ctx context.Context, child *unstructured.Unstructured) error {
	if child.GetKind() == "Secret" || child.GetKind() == "MemoryPool" {
		return client.IgnoreAlreadyExists(r.Create(ctx, child, fieldOwner))
	}
	configuration := client.ApplyConfigurationFromUnstructured(child)
	return r.Apply(ctx, configuration, fieldOwner, client.ForceOwnership)
}

func (r *reconciler) finalize(ctx context.Context, owner *unstructured.Unstructured) error {
	for _, child := range r.children.Children(owner.GetName(), string(owner.GetUID())) {
		if child.GetKind() != "Namespace" {
			continue
		}
		if err := r.Delete(ctx, child); client.IgnoreNotFound(err) != nil {
			return err
		}
	}
	before := owner.DeepCopy()
	if !controllerutil.RemoveFinalizer(owner, finalizer) {
		return nil
	}
	return client.IgnoreNotFound(r.Patch(ctx, owner, client.MergeFrom(before)))
}

func (r *reconciler) report(ctx context.Context, owner *unstructured.Unstructured) error {
	ready := metav1.Condition{
		Type: "Ready", Status: metav1.ConditionFalse, Reason: "WaitingForPods",
		Message: "The runtime's pod is not ready yet.", ObservedGeneration: owner.GetGeneration(),
	}
	namespace := "org-" + owner.GetName()
	deployment := &appsv1.Deployment{}
	key := types.NamespacedName{Namespace: namespace, Name: "runtime"}
	if err := r.Get(ctx, key, deployment); err != nil && !apierrors.IsNotFound(err) {
		return err
	}
	if deployment.Status.AvailableReplicas > 0 {
		ready.Status, ready.Reason, ready.Message = metav1.ConditionTrue, "Ready", "The runtime serves."
	}
	before := owner.DeepCopy()
	var conditions []metav1.Condition
	if err := conditionsOf(owner, &conditions); err != nil {
		return err
	}
	changed := meta.SetStatusCondition(&conditions, ready)
	observed, _, _ := unstructured.NestedInt64(owner.Object, "status", "observedGeneration")
	if !changed && observed == owner.GetGeneration() {
		return nil
	}
	status := map[string]any{
		"observedGeneration": owner.GetGeneration(), "namespace": namespace,
		"conditions": asJSON(conditions), "state": "pending",
	}
	if err := unstructured.SetNestedMap(owner.Object, status, "status"); err != nil {
		return err
	}
	return r.Status().Patch(ctx, owner, client.MergeFrom(before))
}

func conditionsOf(owner *unstructured.Unstructured, into *[]metav1.Condition) error {
	list, _, err := unstructured.NestedSlice(owner.Object, "status", "conditions")
	if err != nil {
		return err
	}
	for _, item := range list {
		var condition metav1.Condition
		content := item.(map[string]any)
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(content, &condition); err != nil {
			return err
		}
		*into = append(*into, condition)
	}
	return nil
}

func asJSON(conditions []metav1.Condition) []any {
	result := make([]any, 0, len(conditions))
	for index := range conditions {
		content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(&conditions[index])
		if err != nil {
			panic(err) // a struct of strings always converts
		}
		result = append(result, content)
	}
	return result
}

// A child that this program has just created is no news to it, and neither is a status that it does
// not report: quotas, claims and budgets change theirs all the time, and a reconcile applies all.
var news = predicate.Funcs{
	CreateFunc: func(event.CreateEvent) bool { return false },
	UpdateFunc: func(change event.UpdateEvent) bool {
		return available(change.ObjectOld) != available(change.ObjectNew) ||
			!equality.Semantic.DeepEqual(content(change.ObjectOld), content(change.ObjectNew))
	},
}

// available returns all of a child's status that is reported.
func available(child client.Object) bool {
	deployment, ok := child.(*appsv1.Deployment)
	return ok && deployment.Status.AvailableReplicas > 0
}

// content returns what an apply could change of a child.
func content(child client.Object) map[string]any {
	whole, err := runtime.DefaultUnstructuredConverter.ToUnstructured(child)
	if err != nil {
		panic(err) // a struct of the API always converts
	}
	delete(whole, "status")
	unstructured.RemoveNestedField(whole, "metadata", "resourceVersion")
	unstructured.RemoveNestedField(whole, "metadata", "generation")
	// The deployment controller's count of its own rollouts.
	unstructured.RemoveNestedField(whole, "metadata", "annotations", "deployment.kubernetes.io/revision")
	return whole
}

func organizationOf(_ context.Context, child client.Object) []reconcile.Request {
	name := child.GetLabels()[labelOrganization]
	return []reconcile.Request{{NamespacedName: types.NamespacedName{Name: name}}}
}

func (r *reconciler) setup(manager ctrl.Manager) error {
	owner := &unstructured.Unstructured{}
	owner.SetGroupVersionKind(template.OrganizationRuntime)
	built := ctrl.NewControllerManagedBy(manager).
		For(owner, builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		WithOptions(controller.Options{MaxConcurrentReconciles: workers})
	for _, kind := range owned {
		built = built.Owns(kind, builder.MatchEveryOwner, builder.WithPredicates(news))
	}
	for _, kind := range labelled {
		enqueue := handler.EnqueueRequestsFromMapFunc(organizationOf)
		built = built.Watches(kind, enqueue, builder.WithPredicates(news))
	}
	return built.Complete(r)
}

func scoped() (cache.Options, error) {
	exists, err := labels.NewRequirement(labelOrganization, selection.Exists, nil)
	if err != nil {
		return cache.Options{}, err
	}
	byObject := map[client.Object]cache.ByObject{}
	for _, kind := range append(append([]client.Object{}, owned...), labelled...) {
		byObject[kind] = cache.ByObject{Label: labels.NewSelector().Add(*exists)}
	}
	transform := cache.TransformStripManagedFields()
	return cache.Options{ByObject: byObject, DefaultTransform: transform}, nil
}

func run(templateFile, leaseNamespace, lease string) error {
	children, err := template.Load(templateFile)
	if err != nil {
		return err
	}
	scheme := runtime.NewScheme()
	if err := clientgoscheme.AddToScheme(scheme); err != nil {
		return err
	}
	configuration := ctrl.GetConfigOrDie()
	configuration.QPS = -1
	cacheOptions, err := scoped()
	if err != nil {
		return err
	}
	manager, err := ctrl.NewManager(configuration, ctrl.Options{
		Scheme: scheme, Cache: cacheOptions,
		Client:                  client.Options{Cache: &client.CacheOptions{Unstructured: true}},
		Metrics:                 metricsserver.Options{BindAddress: "0"},
		LeaderElection:          true,
		LeaderElectionID:        lease,
		LeaderElectionNamespace: leaseNamespace,
	})
	if err != nil {
		return err
	}
	if err := (&reconciler{Client: manager.GetClient(), children: children}).setup(manager); err != nil {
		return err
	}
	return manager.Start(ctrl.SetupSignalHandler())
}

func main() {
	templateFile := flag.String("template", "", "JSON list of the children of one organization")
	leaseNamespace := flag.String("lease-namespace", "default", "namespace of the leader's Lease")
	lease := flag.String("lease", "performance-controller", "name of the leader's Lease")
	flag.Parse()
	ctrl.SetLogger(zap.New())
	if err := run(*templateFile, *leaseNamespace, *lease); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
