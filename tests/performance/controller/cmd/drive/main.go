// Command drive creates organizations, paced or all at once, and observes by watches of its own
// when each is done: all children there and a status that carries the current generation.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"sync"
	"syscall"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"bulkhead.dev/performance/internal/template"
)

const creators = 50

var organizations = schema.GroupVersionResource{
	Group: template.OrganizationRuntime.Group, Version: template.OrganizationRuntime.Version,
	Resource: "organizationruntimes",
}

// plan is what the command line asks for.
type plan struct {
	first, count int
	unfinished   int
	rate         float64
	prefix       string
	ready        bool
	timeout      time.Duration
}

func (p plan) name(index int) string { return fmt.Sprintf("%s-%05d", p.prefix, p.first+index) }

// report is printed as JSON; durations are milliseconds.
type report struct {
	Done      int     `json:"done"`
	P50       float64 `json:"p50_ms"`
	P99       float64 `json:"p99_ms"`
	Slowest   float64 `json:"slowest_ms"`
	PerSecond float64 `json:"per_second"`
	Seconds   float64 `json:"seconds"`
}

func create(ctx context.Context, client dynamic.Interface, name string) error {
	object := &unstructured.Unstructured{Object: map[string]any{"spec": map[string]any{}}}
	object.SetGroupVersionKind(template.OrganizationRuntime)
	object.SetName(name)
	_, err := client.Resource(organizations).Create(ctx, object, createOptions)
	return err
}

// drive creates the organizations; a paced one counts from when it was due, not from when the
// machine got round to it.
func drive(ctx context.Context, client dynamic.Interface, p plan, seen *observer) error {
	failures := make(chan error, p.count)
	places := make(chan struct{}, creators)
	var running sync.WaitGroup
	begin := time.Now()
	for index := range p.count {
		due := time.Now()
		if p.rate > 0 {
			due = begin.Add(time.Duration(float64(index) / p.rate * float64(time.Second)))
			time.Sleep(time.Until(due))
		} else {
			places <- struct{}{}
			if !seen.admit(ctx) {
				return ctx.Err()
			}
			due = time.Now()
		}
		seen.begin(p.name(index), due)
		running.Go(func() {
			if err := create(ctx, client, p.name(index)); err != nil {
				failures <- err
			}
			if p.rate <= 0 {
				<-places
			}
		})
	}
	running.Wait()
	select {
	case err := <-failures:
		return err
	default:
		return nil
	}
}

func summary(begun, done map[string]time.Time) report {
	var first, last time.Time
	latencies := make([]float64, 0, len(done))
	for name, end := range done {
		start := begun[name]
		latencies = append(latencies, float64(end.Sub(start).Microseconds())/1000)
		if first.IsZero() || start.Before(first) {
			first = start
		}
		if end.After(last) {
			last = end
		}
	}
	slices.Sort(latencies)
	seconds := last.Sub(first).Seconds()
	at := func(quantile float64) float64 {
		return latencies[min(len(latencies)-1, int(quantile*float64(len(latencies))))]
	}
	return report{
		Done: len(done), P50: at(0.5), P99: at(0.99), Slowest: latencies[len(latencies)-1],
		PerSecond: float64(len(done)) / seconds, Seconds: seconds,
	}
}

func run(kubeconfig, templateFile string, p plan) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, p.timeout)
	defer cancel()
	configuration, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return err
	}
	configuration.QPS = -1
	children, err := template.Load(templateFile)
	if err != nil {
		return err
	}
	seen := newObserver(p, children)
	// Watches on connections of their own, so that creating never delays observing.
	if err := seen.watch(ctx, rest.CopyConfig(configuration)); err != nil {
		return err
	}
	client, err := dynamic.NewForConfig(configuration)
	if err != nil {
		return err
	}
	if err := drive(ctx, client, p, seen); err != nil {
		return err
	}
	select {
	case <-seen.all:
	case <-ctx.Done():
		return fmt.Errorf("not done after %s: %s", p.timeout, seen.missing())
	}
	return json.NewEncoder(os.Stdout).Encode(summary(seen.begun, seen.done))
}

func main() {
	kubeconfig := flag.String("kubeconfig", "", "kubeconfig of the API server")
	templateFile := flag.String("template", "", "JSON list of the children of one organization")
	first := flag.Int("first", 0, "number of the first organization")
	count := flag.Int("count", 1, "how many organizations to create")
	rate := flag.Float64("rate", 0, "organizations a second; 0 creates all at once")
	prefix := flag.String("prefix", "bench", "names are PREFIX-NNNNN")
	ready := flag.Bool("ready", false, "an organization is done only when its Ready is True")
	unfinished := flag.Int("unfinished", 0, "without a rate: how many may be under way; 0 for all")
	timeout := flag.Duration("timeout", 3*time.Minute, "give up after this time")
	flag.Parse()
	p := plan{
		first: *first, count: *count, unfinished: *unfinished, rate: *rate, prefix: *prefix,
		ready: *ready, timeout: *timeout,
	}
	if err := run(*kubeconfig, *templateFile, p); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
