// Command drift spoils and deletes children by hand, one after the other, and observes by a watch
// how long each takes to be as it was.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"reflect"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/tools/clientcmd"
)

// victim is a child that every organization has; patch is empty where it is deleted instead.
type victim struct {
	resource schema.GroupVersionResource
	name     string
	field    string
	patch    string
}

var victims = []victim{
	{
		resource: schema.GroupVersionResource{Version: "v1", Resource: "configmaps"},
		name:     "runtime-config", field: "data", patch: `{"data":{"config.json":"{}"}}`,
	},
	{
		resource: schema.GroupVersionResource{
			Group: "networking.k8s.io", Version: "v1", Resource: "networkpolicies",
		},
		name: "runtime", field: "spec",
	},
	{
		resource: schema.GroupVersionResource{
			Group: "policy", Version: "v1", Resource: "poddisruptionbudgets",
		},
		name: "runtime", field: "spec",
	},
	{
		resource: schema.GroupVersionResource{Version: "v1", Resource: "services"},
		name:     "runtime", field: "spec", patch: `{"spec":{"selector":{"spoiled":"yes"}}}`,
	},
}

// report is printed as JSON; durations are milliseconds.
type report struct {
	Repaired int     `json:"repaired"`
	P50      float64 `json:"p50_ms"`
	P99      float64 `json:"p99_ms"`
	Slowest  float64 `json:"slowest_ms"`
}

// content is what must come back; addresses that the API server assigns differ each time.
func content(object *unstructured.Unstructured, field string) any {
	found, _, _ := unstructured.NestedFieldCopy(object.Object, field)
	if spec, ok := found.(map[string]any); ok {
		delete(spec, "clusterIP")
		delete(spec, "clusterIPs")
	}
	return found
}

// repaired spoils one child and returns how long it took to be back.
func repaired(ctx context.Context, client dynamic.ResourceInterface, v victim) (time.Duration, error) {
	// A list, because its version is of now; that of an object may be too old to watch from.
	only := metav1.ListOptions{FieldSelector: "metadata.name=" + v.name}
	found, err := client.List(ctx, only)
	if err != nil {
		return 0, err
	}
	if len(found.Items) != 1 {
		return 0, fmt.Errorf("there is no %s %s", v.resource.Resource, v.name)
	}
	before := &found.Items[0]
	only.ResourceVersion = found.GetResourceVersion()
	watcher, err := client.Watch(ctx, only)
	if err != nil {
		return 0, err
	}
	defer watcher.Stop()
	begin := time.Now()
	if err := spoil(ctx, client, v); err != nil {
		return 0, err
	}
	wanted, spoiled := content(before, v.field), false
	for event := range watcher.ResultChan() {
		object, ok := event.Object.(*unstructured.Unstructured)
		if !ok {
			return 0, fmt.Errorf("the watch of %s said %v", v.resource.Resource, event.Object)
		}
		same := event.Type != "DELETED" && reflect.DeepEqual(content(object, v.field), wanted)
		if spoiled && same {
			return time.Since(begin), nil
		}
		spoiled = spoiled || !same
	}
	return 0, errors.Join(ctx.Err(), fmt.Errorf("%s %s did not come back", v.resource.Resource, v.name))
}

func spoil(ctx context.Context, client dynamic.ResourceInterface, v victim) error {
	if v.patch == "" {
		return client.Delete(ctx, v.name, metav1.DeleteOptions{})
	}
	_, err := client.Patch(ctx, v.name, types.MergePatchType, []byte(v.patch), metav1.PatchOptions{})
	return err
}

func run(kubeconfig, prefix string, organizations, changes int, timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	configuration, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return err
	}
	configuration.QPS = -1
	client, err := dynamic.NewForConfig(configuration)
	if err != nil {
		return err
	}
	latencies := make([]float64, 0, changes)
	for index := range changes {
		v := victims[index%len(victims)]
		namespace := fmt.Sprintf("org-%s-%05d", prefix, index%organizations)
		took, err := repaired(ctx, client.Resource(v.resource).Namespace(namespace), v)
		if err != nil {
			return err
		}
		latencies = append(latencies, float64(took.Microseconds())/1000)
	}
	slices.Sort(latencies)
	at := func(quantile float64) float64 {
		return latencies[min(len(latencies)-1, int(quantile*float64(len(latencies))))]
	}
	return json.NewEncoder(os.Stdout).Encode(report{
		Repaired: len(latencies), P50: at(0.5), P99: at(0.99), Slowest: latencies[len(latencies)-1],
	})
}

func main() {
	kubeconfig := flag.String("kubeconfig", "", "kubeconfig of the API server")
	prefix := flag.String("prefix", "bench", "the organizations are PREFIX-NNNNN")
	organizations := flag.Int("organizations", 1, "how many of them there are")
	changes := flag.Int("changes", 100, "how many children to spoil or delete")
	timeout := flag.Duration("timeout", 3*time.Minute, "give up after this time")
	flag.Parse()
	if err := run(*kubeconfig, *prefix, *organizations, *changes, *timeout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
