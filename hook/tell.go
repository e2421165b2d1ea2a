package hook

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"

	"github.com/rookery-chat/rookery/presence"
	"github.com/rookery-chat/rookery/wire"
)

const (
	batch      = 100              // events from which on a request takes no further change
	postTime   = 10 * time.Second // for one request with events; less than a claim lasts
	maxIgnored = 4 << 10          // bytes that are read of an answer that says nothing
)

// An event is one object of a request's "events".
type event struct {
	ID      string `json:"id"`
	Type    string `json:"type"` // connect, disconnect, join, leave, lost
	Topic   string `json:"topic,omitempty"`
	User    string `json:"user,omitempty"`
	Time    int64  `json:"time"` // Unix milliseconds
	Epoch   string `json:"epoch,omitempty"`
	Version uint64 `json:"version,omitempty"` // of the roster, after the change
	Online  *int   `json:"online,omitempty"`  // users in it then
	Count   int    `json:"count,omitempty"`   // lost only: changes that are not told
}

// appendEvents appends the events that a record stands for.
func appendEvents(events []event, r presence.Record) []event {
	at := r.Time.UnixMilli()
	if r.Lost > 0 {
		return append(events, event{ID: r.ID, Type: "lost", Time: at, Count: r.Lost})
	}
	joined, left := "join", "leave"
	if r.Topic == wire.Everyone {
		joined, left = "connect", "disconnect"
	}
	number := 0
	add := func(kind string, users []string) {
		for _, user := range users {
			id := r.ID + "-" + strconv.Itoa(number)
			number++
			events = append(events, event{id, kind, r.Topic, user, at, r.Change.Epoch, r.Change.Version, &r.Change.Online, 0})
		}
	}
	add(joined, r.Change.Joined)
	add(left, r.Change.Left)
	return events
}

// Run tells the events of a journal until ctx is done; or, after Finish, until no more
// are there, or cannot be told now.
func (h *Hook) Run(ctx context.Context, j presence.Journal) {
	defer h.client.CloseIdleConnections()
	defer h.release(ctx, j)
	var after time.Time // no attempt before
	failed := 0
	for {
		wait := h.rhythm.poll
		last := false
		select {
		case <-h.finished:
			last = true
		default:
		}
		mine, err := j.Claim(ctx)
		switch {
		case err != nil || !mine:
			h.metrics.lag(time.Time{})
			wait = h.rhythm.idle
		case last || !time.Now().Before(after):
			if err = h.tell(ctx, j); err == nil {
				failed = 0
				break
			}
			pause := min(h.rhythm.first<<min(failed, 16), h.rhythm.most)
			failed++
			pause = rand.N(pause) // full jitter
			var status *statusError
			if errors.As(err, &status) {
				pause = max(pause, status.wait)
			}
			after = time.Now().Add(pause)
		}
		if ctx.Err() != nil || last {
			return
		}
		if err != nil {
			h.failures.Warn("hook: events wait", "err", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-h.finished:
		case <-time.After(wait):
		}
	}
}

// Finish has Run end soon.
func (h *Hook) Finish() { h.finish.Do(func() { close(h.finished) }) }

func (h *Hook) release(ctx context.Context, j presence.Journal) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	if err := j.Release(ctx); err != nil {
		slog.Warn("hook: another node can tell events only a little later", "err", err)
	}
}

// tell tells what is there now, in order. What it could not tell is still there after an error.
func (h *Hook) tell(ctx context.Context, j presence.Journal) error {
	for {
		records, failed := j.Pending(ctx)
		if len(records) == 0 {
			if failed == nil {
				h.metrics.lag(time.Time{})
			}
			return failed
		}
		for len(records) > 0 {
			h.metrics.lag(records[0].Time)
			var events []event
			n := 0
			for ; n < len(records) && len(events) < batch; n++ {
				events = appendEvents(events, records[n])
			}
			if err := h.send(ctx, events); err != nil {
				return err
			}
			if err := j.Told(ctx, records[:n]); err != nil {
				return err
			}
			records = records[n:]
			if mine, err := j.Claim(ctx); err != nil || !mine {
				return err
			}
		}
		if failed != nil {
			return failed
		}
	}
}

// send brings events to the back end, and returns an error when they have to be sent again.
func (h *Hook) send(ctx context.Context, events []event) error {
	body, err := json.Marshal(struct {
		Events []event `json:"events"`
	}{events})
	if err != nil {
		return err
	}
	// The same events have the same id, whichever node sends them.
	sum := sha256.Sum256(body)
	id := "events_" + hex.EncodeToString(sum[:16])
	ctx, cancel := context.WithTimeout(ctx, postTime)
	defer cancel()
	_, err = h.post(ctx, id, body, maxIgnored)
	switch {
	case err == nil:
		h.metrics.told.Add(float64(len(events)))
		for _, e := range events {
			h.metrics.lost.Add(float64(e.Count))
		}
	case refused(err):
		h.metrics.refused.Add(float64(len(events)))
		h.failures.Warn("hook: the back end refuses events, which are dropped", "events", len(events), "id", id, "err", err)
	default:
		h.metrics.attempts.Inc()
		return fmt.Errorf("%d events: %w", len(events), err)
	}
	return nil
}

// refused tells whether a back end will not have these events: a 4xx that is about what
// was sent. The others say that it is not there, or not set up, or has too much to do.
func refused(err error) bool {
	var e *statusError
	if !errors.As(err, &e) || e.status/100 != 4 {
		return false
	}
	switch e.status {
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusProxyAuthRequired,
		http.StatusRequestTimeout, http.StatusMisdirectedRequest, http.StatusTooEarly, http.StatusTooManyRequests:
		return false
	}
	return true
}
