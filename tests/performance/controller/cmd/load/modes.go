package main

import (
	"context"
	"net/http"
	"os/signal"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

type timings struct {
	Done      int      `json:"done"`
	Failed    int      `json:"failed"`
	Seconds   float64  `json:"seconds"`
	PerSecond float64  `json:"per_second"`
	FirstP50  float64  `json:"first_p50_ms"`
	FirstP99  float64  `json:"first_p99_ms"`
	WholeP50  float64  `json:"whole_p50_ms"`
	WholeP99  float64  `json:"whole_p99_ms"`
	Examples  []string `json:"examples"`
}

func (t *tally) timings(begin time.Time) timings {
	seconds := time.Since(begin).Seconds()
	return timings{
		Done: t.count("whole"), Failed: t.failed["whole"], Seconds: seconds,
		PerSecond: float64(t.count("whole")) / seconds,
		FirstP50:  t.quantile("first", 0.5), FirstP99: t.quantile("first", 0.99),
		WholeP50: t.quantile("whole", 0.5), WholeP99: t.quantile("whole", 0.99),
		Examples: t.examples,
	}
}

func streams(t *target) (any, error) {
	return t.many(t.streamOnce), nil
}

func answers(t *target) (any, error) {
	return t.many(t.answerOnce), nil
}

// many streams a fixed number of times; once calls its last argument at the first token.
func (t *target) many(once func(*http.Client, string, func()) error) timings {
	seen, client := newTally(), t.client(true)
	var left atomic.Int64
	left.Store(int64(t.total))
	var running sync.WaitGroup
	begin := time.Now()
	for range t.connections {
		running.Go(func() {
			for left.Add(-1) >= 0 {
				sent := time.Now()
				err := once(client, t.url, func() { seen.took("first", sent) })
				if err != nil {
					seen.failure("whole", err)
					continue
				}
				seen.took("whole", sent)
			}
		})
	}
	running.Wait()
	return seen.timings(begin)
}

func turns(t *target) (any, error) {
	seen, client := newTally(), t.client(true)
	var running sync.WaitGroup
	begin := time.Now()
	end := begin.Add(t.duration)
	for range t.connections {
		running.Go(func() {
			session := ""
			for had := 0; time.Now().Before(end); had++ {
				if t.length > 0 && had%t.length == 0 {
					session = ""
				}
				sent := time.Now()
				said, err := t.turn(client, session)
				if err != nil {
					seen.failure("whole", err)
					continue
				}
				seen.took("whole", sent)
				session = said.SessionID
			}
		})
	}
	running.Wait()
	return seen.timings(begin), nil
}

// openLoop calls act at fixed times, whether or not earlier calls have come back.
func openLoop(ctx context.Context, rate float64, act func()) {
	var running sync.WaitGroup
	defer running.Wait()
	begin := time.Now()
	for index := 0; ctx.Err() == nil; index++ {
		due := begin.Add(time.Duration(float64(index) / rate * float64(time.Second)))
		select {
		case <-time.After(time.Until(due)):
			running.Go(act)
		case <-ctx.Done():
		}
	}
}

type rollingReport struct {
	Requests      int      `json:"requests"`
	FailedNew     int      `json:"failed_new"`
	FailedKept    int      `json:"failed_kept"`
	Streams       int      `json:"streams"`
	FailedStreams int      `json:"failed_streams"`
	P99           float64  `json:"p99_ms"`
	Examples      []string `json:"examples"`
}

// rolling sends every second request over a new connection, the others over kept ones; no
// failed request is tried again.
func rolling(t *target) (any, error) {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	seen := newTally()
	send := func(kind string, client *http.Client) func() {
		return func() {
			sent := time.Now()
			if _, err := t.turn(client, ""); err != nil {
				seen.failure(kind, err)
				return
			}
			seen.took("requests", sent)
		}
	}
	var running sync.WaitGroup
	running.Go(func() { openLoop(ctx, t.rate/2, send("new", t.client(false))) })
	running.Go(func() { openLoop(ctx, t.rate/2, send("kept", t.client(true))) })
	client := t.client(true)
	for range t.connections {
		running.Go(func() { t.streamOnAndOn(ctx, client, seen) })
	}
	running.Wait()
	return rollingReport{
		Requests:  seen.count("requests") + seen.failed["new"] + seen.failed["kept"],
		FailedNew: seen.failed["new"], FailedKept: seen.failed["kept"],
		Streams:       seen.count("streams") + seen.failed["stream"],
		FailedStreams: seen.failed["stream"], P99: seen.quantile("requests", 0.99),
		Examples: seen.examples,
	}, nil
}

func (t *target) streamOnAndOn(ctx context.Context, client *http.Client, seen *tally) {
	for ctx.Err() == nil {
		sent := time.Now()
		if err := t.streamOnce(client, t.streams, func() {}); err != nil {
			seen.failure("stream", err)
			continue
		}
		seen.took("streams", sent)
	}
}

type versionsReport struct {
	Requests  int                `json:"requests"`
	Failed    int                `json:"failed"`
	Moved     int                `json:"moved"`
	FirstSeen map[string]float64 `json:"first_seen"`
	LastSeen  map[string]float64 `json:"last_seen"`
	Sessions  map[string]int     `json:"sessions"`
	Examples  []string           `json:"examples"`
}

// shares begins a fixed number of sessions, as fast as so many at once can.
func shares(t *target) (any, error) {
	seen, client := newTally(), t.client(true)
	report := newVersionsReport()
	var left atomic.Int64
	left.Store(int64(t.total))
	var running sync.WaitGroup
	for range t.connections {
		running.Go(func() {
			for left.Add(-1) >= 0 {
				t.begin(client, seen, report)
			}
		})
	}
	running.Wait()
	return report.ended(seen), nil
}

// begin begins a session and notes which version it has.
func (t *target) begin(client *http.Client, seen *tally, report *versionsReport) {
	sent := time.Now()
	said, err := t.turn(client, "")
	if err != nil {
		seen.failure("new", err)
		return
	}
	seen.took("turns", sent)
	report.note(seen, said.Version)
}

// versions asks for a new session at every beat and goes on in the pinned ones in between; the
// times are seconds since the epoch at which a version first and last began a new session.
func versions(t *target) (any, error) {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	seen, client := newTally(), t.client(true)
	report := newVersionsReport()
	var running sync.WaitGroup
	running.Go(func() {
		openLoop(ctx, t.rate, func() { t.begin(client, seen, report) })
	})
	for range t.connections {
		running.Go(func() { t.goOn(ctx, client, seen) })
	}
	running.Wait()
	return report.ended(seen), nil
}

func newVersionsReport() *versionsReport {
	return &versionsReport{
		FirstSeen: map[string]float64{}, LastSeen: map[string]float64{}, Sessions: map[string]int{},
	}
}

func (r *versionsReport) ended(seen *tally) *versionsReport {
	r.Requests = seen.count("turns") + seen.failed["new"] + seen.failed["pinned"]
	r.Failed = seen.failed["new"] + seen.failed["pinned"]
	r.Moved, r.Examples = seen.failed["moved"], seen.examples
	return r
}

func (r *versionsReport) note(seen *tally, version string) {
	now := float64(time.Now().UnixMicro()) / 1e6
	seen.mutex.Lock()
	defer seen.mutex.Unlock()
	if _, known := r.FirstSeen[version]; !known {
		r.FirstSeen[version] = now
	}
	r.LastSeen[version] = now
	r.Sessions[version]++
}
