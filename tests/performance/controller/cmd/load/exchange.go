package main

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// tally collects latencies and failures of many goroutines; examples help to see why.
type tally struct {
	mutex        sync.Mutex
	milliseconds map[string][]float64
	failed       map[string]int
	examples     []string
}

func newTally() *tally {
	return &tally{milliseconds: map[string][]float64{}, failed: map[string]int{}, examples: []string{}}
}

func (t *tally) took(what string, since time.Time) {
	elapsed := float64(time.Since(since).Nanoseconds()) / 1e6
	t.mutex.Lock()
	defer t.mutex.Unlock()
	t.milliseconds[what] = append(t.milliseconds[what], elapsed)
}

func (t *tally) failure(what string, err error) {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	t.failed[what]++
	if len(t.examples) < 5 {
		t.examples = append(t.examples, what+": "+err.Error())
	}
}

func (t *tally) count(what string) int {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	return len(t.milliseconds[what])
}

// quantile returns 0 when nothing was measured.
func (t *tally) quantile(what string, quantile float64) float64 {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	values := slices.Clone(t.milliseconds[what])
	if len(values) == 0 {
		return 0
	}
	slices.Sort(values)
	return values[min(len(values)-1, int(quantile*float64(len(values))))]
}

func (t *target) request(url string, body any) (*http.Request, error) {
	encoded, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	request, err := http.NewRequest(http.MethodPost, url, bytes.NewReader(encoded))
	if err != nil {
		return nil, err
	}
	// Without it net/http never sends a request twice, so that every lost one is counted.
	request.GetBody = nil
	request.Header.Set("Content-Type", "application/json")
	if t.key != "" {
		request.Header.Set("Authorization", "Bearer "+strings.TrimSpace(t.key))
	}
	return request, nil
}

func refusal(answer *http.Response) error {
	said, _ := io.ReadAll(io.LimitReader(answer.Body, 300))
	return fmt.Errorf("status %d: %s", answer.StatusCode, said)
}

// streamOnce reads one streamed chat completion to its end; first is called once, at the first
// part that has content.
func (t *target) streamOnce(client *http.Client, url string, first func()) error {
	request, err := t.request(url, map[string]any{
		"model": t.model, "stream": true,
		"messages": []any{map[string]any{"role": "user", "content": "Tell me a story."}},
	})
	if err != nil {
		return err
	}
	answer, err := client.Do(request)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return refusal(answer)
	}
	return t.readStream(answer.Body, first)
}

func (t *target) readStream(body io.Reader, first func()) error {
	lines := bufio.NewReaderSize(body, 64<<10)
	parts, finished := 0, false
	for {
		line, err := lines.ReadSlice('\n')
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		if bytes.HasPrefix(line, []byte("data: [DONE]")) {
			finished = true
		} else if words := wordsOf(line); words > 0 {
			if parts == 0 {
				first()
			}
			parts += words
		}
	}
	if !finished || parts < t.chunks {
		return fmt.Errorf("stream cut: %d of %d parts, end seen: %t", parts, t.chunks, finished)
	}
	return nil
}

// answerOnce reads one streamed turn of an agent to its end: events `token`, then `done`.
func (t *target) answerOnce(client *http.Client, url string, first func()) error {
	request, err := t.request(url, map[string]any{"message": "What is on my list today?"})
	if err != nil {
		return err
	}
	request.Header.Set("Idempotency-Key", rand.Text())
	answer, err := client.Do(request)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return refusal(answer)
	}
	lines := bufio.NewScanner(answer.Body)
	parts, finished := 0, false
	for lines.Scan() {
		switch lines.Text() {
		case "event: token":
			if parts++; parts == 1 {
				first()
			}
		case "event: done":
			finished = true
		}
	}
	if err := lines.Err(); err != nil {
		return err
	}
	if !finished || parts == 0 {
		return fmt.Errorf("answer cut: %d parts, end seen: %t", parts, finished)
	}
	return nil
}

// wordsOf counts what a part holds: whoever is behind may send on as one what came as several.
func wordsOf(line []byte) int {
	_, rest, found := bytes.Cut(line, []byte(`"content":`))
	if !found {
		return 0
	}
	rest = bytes.TrimLeft(rest, " ")
	if len(rest) < 2 || rest[0] != '"' || rest[1] == '"' {
		return 0
	}
	content, _, _ := bytes.Cut(rest[1:], []byte(`"`))
	return max(1, bytes.Count(content, []byte(" ")))
}

// turnAnswer is what POST .../execute says, ours and the references' alike.
type turnAnswer struct {
	SessionID string `json:"session_id"`
	Status    string `json:"status"`
	Version   string `json:"version"`
}

func (t *target) turn(client *http.Client, session string) (turnAnswer, error) {
	var said turnAnswer
	body := map[string]any{"message": "What is on my list today?"}
	if session != "" {
		body["session_id"] = session
	}
	request, err := t.request(t.url, body)
	if err != nil {
		return said, err
	}
	answer, err := client.Do(request)
	if err != nil {
		return said, err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return said, refusal(answer)
	}
	if err := json.NewDecoder(answer.Body).Decode(&said); err != nil {
		return said, err
	}
	_, err = io.Copy(io.Discard, answer.Body)
	if err == nil && said.Status != "completed" {
		err = fmt.Errorf("turn ended as %q", said.Status)
	}
	return said, err
}
