package main

import (
	"context"
	"fmt"
	"net/http"
	"time"
)

// A person's pace: pinned sessions show that they stay, they are not there to load the runtime.
const pinnedPause = 100 * time.Millisecond

// goOn talks on in one session and counts an answer by another version than the first as moved.
func (t *target) goOn(ctx context.Context, client *http.Client, seen *tally) {
	var pinned turnAnswer
	pause := time.NewTicker(pinnedPause)
	defer pause.Stop()
	for ctx.Err() == nil {
		sent := time.Now()
		said, err := t.turn(client, pinned.SessionID)
		switch {
		case err != nil:
			seen.failure("pinned", err)
		case pinned.SessionID != "" && said.Version != pinned.Version:
			seen.failure("moved", fmt.Errorf("from %s to %s", pinned.Version, said.Version))
		default:
			seen.took("turns", sent)
		}
		if err == nil && pinned.SessionID == "" {
			pinned = said
		}
		<-pause.C
	}
}
