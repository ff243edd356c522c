// Command load is the benchmarks' HTTP client: cheap next to what it measures, and in a process of
// its own. It prints one JSON report.
//
//	load streams   chat completions streamed, a fixed number, so many at once
//	load answers   durable turns streamed, each in a session of its own, a fixed number, so many at
//	               once; every one has an idempotency key
//	load turns     durable turns, each worker in a session of its own, for a fixed time
//	load rolling   open-loop requests and long streams until SIGTERM; counts what failed or was cut
//	load shares    new sessions, a fixed number, so many at once; tells which version answered
//	load versions  open-loop new sessions and pinned ones until SIGTERM; tells which version answered
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"net/http"
	"os"
	"time"
)

// target is what every mode talks to.
type target struct {
	url, key, model string
	streams         string
	chunks          int
	connections     int
	length          int
	total           int
	rate            float64
	duration        time.Duration
}

func (t *target) flags(set *flag.FlagSet) {
	set.StringVar(&t.url, "url", "", "where requests go")
	set.StringVar(&t.streams, "streams-url", "", "where rolling's long streams go")
	set.StringVar(&t.key, "key", "", "file that holds the API key; none when empty")
	set.StringVar(&t.model, "model", "", "model that is asked for")
	set.IntVar(&t.chunks, "chunks", 100, "words that a whole stream has")
	set.IntVar(&t.connections, "connections", 1, "streams, sessions or workers at once")
	set.IntVar(&t.length, "length", 0, "turns of a session before the next begins; no end when 0")
	set.IntVar(&t.total, "total", 100, "streams to run, or sessions to begin")
	set.Float64Var(&t.rate, "rate", 100, "requests a second of an open loop")
	set.DurationVar(&t.duration, "duration", 5*time.Second, "how long turns run")
}

func (t *target) client(kept bool) *http.Client {
	return &http.Client{Transport: &http.Transport{
		MaxIdleConns: 0, MaxIdleConnsPerHost: 2048, DisableKeepAlives: !kept,
		DisableCompression: true,
	}}
}

// readKey puts the key itself in the place of its file's name: argv can be read by others.
func (t *target) readKey() error {
	if t.key == "" {
		return nil
	}
	text, err := os.ReadFile(t.key)
	t.key = string(text)
	return err
}

func main() {
	modes := map[string]func(*target) (any, error){
		"streams": streams, "answers": answers, "turns": turns, "rolling": rolling,
		"shares": shares, "versions": versions,
	}
	if len(os.Args) < 2 || modes[os.Args[1]] == nil {
		fmt.Fprintln(os.Stderr, "usage: load streams|answers|turns|rolling|shares|versions [flags]")
		os.Exit(2)
	}
	asked := &target{}
	set := flag.NewFlagSet(os.Args[1], flag.ExitOnError)
	asked.flags(set)
	_ = set.Parse(os.Args[2:]) // ends the process itself on an error
	report, err := any(nil), asked.readKey()
	if err == nil {
		report, err = modes[os.Args[1]](asked)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	_ = json.NewEncoder(os.Stdout).Encode(report)
}
