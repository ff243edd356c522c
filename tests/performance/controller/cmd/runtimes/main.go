// Command runtimes answers for every simulated pod: a kwok pod has an address but no process, and
// this one says on the internal port that whatever configuration is asked for is followed.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
)

const (
	labelOrganization = "bulkhead.dev/organization"
	byAddress         = "address"
)

func addressOf(object any) ([]string, error) {
	pod, ok := object.(*corev1.Pod)
	if !ok || pod.Status.PodIP == "" {
		return nil, nil
	}
	return []string{pod.Status.PodIP}, nil
}

// pods follows the runtimes' pods, findable by their address.
func pods(ctx context.Context, kubeconfig string) (cache.Indexer, error) {
	configuration, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, err
	}
	client, err := kubernetes.NewForConfig(configuration)
	if err != nil {
		return nil, err
	}
	labelled := func(options *metav1.ListOptions) { options.LabelSelector = labelOrganization }
	factory := informers.NewSharedInformerFactoryWithOptions(
		client, 0, informers.WithTweakListOptions(labelled),
	)
	informer := factory.Core().V1().Pods().Informer()
	if err := informer.AddIndexers(cache.Indexers{byAddress: addressOf}); err != nil {
		return nil, err
	}
	factory.StartWithContext(ctx)
	factory.WaitForCacheSyncWithContext(ctx)
	return informer.GetIndexer(), nil
}

// answer says that the configuration that is asked for is followed; the address that was called
// tells which organization's pod is meant.
func answer(known cache.Indexer) http.HandlerFunc {
	return func(response http.ResponseWriter, request *http.Request) {
		address, _, err := net.SplitHostPort(request.Host)
		if err != nil {
			http.Error(response, err.Error(), http.StatusBadRequest)
			return
		}
		found, err := known.ByIndex(byAddress, address)
		if err != nil || len(found) == 0 {
			http.Error(response, "no such pod yet", http.StatusServiceUnavailable)
			return
		}
		response.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(response).Encode(map[string]any{
			"organization":      found[0].(*corev1.Pod).Labels[labelOrganization],
			"runtimeId":         "simulated",
			"runtimeVersion":    "0.0.0",
			"configurationHash": request.URL.Query().Get("hash"),
		})
	}
}

func run(kubeconfig, address string) error {
	known, err := pods(context.Background(), kubeconfig)
	if err != nil {
		return err
	}
	http.HandleFunc("GET /internal/state", answer(known))
	return http.ListenAndServe(address, nil)
}

func main() {
	kubeconfig := flag.String("kubeconfig", "", "kubeconfig of the API server")
	address := flag.String("address", ":9090", "where to listen")
	flag.Parse()
	fmt.Fprintln(os.Stderr, run(*kubeconfig, *address))
	os.Exit(1)
}
