package bustest

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/rookery-chat/rookery/bus"
)

// patience is how long the tests wait for what must come.
const patience = 2 * time.Minute

// A Recorder is a bus.Handler that keeps what it hears, and checks the promises
// while it hears: offsets rise by exactly 1 from the position that was told, and the calls of
// a topic never overlap.
type Recorder struct {
	mu     sync.Mutex
	bell   chan struct{} // closed, and made anew, at each event
	topics map[string]*Heard
	faults []string
}

// Heard is what a Recorder knows of one topic.
type Heard struct {
	Subscribed []bus.Position
	Messages   []Message
	Signals    []string
	Resets     []Reset
	At         bus.Position // where the next message follows

	busy bool // a call is under way
	done bool // Unsubscribe has returned
}

// A Message is an entry and the epoch in which it was heard.
type Message struct {
	Epoch string
	bus.Entry
}

// A Reset is what Handler.Reset was told.
type Reset struct {
	At        bus.Position
	Reason    string
	Recovered bool
}

// NewRecorder returns an empty Recorder.
func NewRecorder() *Recorder {
	return &Recorder{bell: make(chan struct{}), topics: make(map[string]*Heard)}
}

// hear runs f on a topic's record, in two steps, so that calls that overlap are seen.
func (r *Recorder) hear(topic, what string, f func(h *Heard) error) {
	r.mu.Lock()
	h := r.topic(topic)
	if h.busy {
		r.faults = append(r.faults, fmt.Sprintf("%s of %s while another call is under way", what, topic))
	}
	if h.done {
		r.faults = append(r.faults, fmt.Sprintf("%s of %s after Unsubscribe has returned", what, topic))
	}
	h.busy = true
	r.mu.Unlock()
	r.mu.Lock()
	defer r.mu.Unlock()
	h.busy = false
	if err := f(h); err != nil {
		r.faults = append(r.faults, fmt.Sprintf("%s of %s: %v", what, topic, err))
	}
	close(r.bell)
	r.bell = make(chan struct{})
}

func (r *Recorder) topic(name string) *Heard {
	h := r.topics[name]
	if h == nil {
		h = new(Heard)
		r.topics[name] = h
	}
	return h
}

func (r *Recorder) Subscribed(topic string, at bus.Position) {
	r.hear(topic, "Subscribed", func(h *Heard) error {
		defer func() { h.At = at }()
		h.Subscribed = append(h.Subscribed, at)
		if len(h.Subscribed) > 1 && at != h.At {
			return fmt.Errorf("at %v, but what was heard ends at %v", at, h.At)
		}
		return nil
	})
}

func (r *Recorder) Message(topic string, e bus.Entry) {
	r.hear(topic, "Message", func(h *Heard) error {
		defer func() { h.At.Offset = e.Offset }()
		h.Messages = append(h.Messages, Message{h.At.Epoch, e})
		if len(h.Subscribed) == 0 {
			return fmt.Errorf("%d came before Subscribed", e.Offset)
		}
		if e.Offset != h.At.Offset+1 {
			return fmt.Errorf("%d follows %d", e.Offset, h.At.Offset)
		}
		return nil
	})
}

func (r *Recorder) Signal(topic string, payload []byte) {
	r.hear(topic, "Signal", func(h *Heard) error {
		h.Signals = append(h.Signals, string(payload))
		if len(h.Subscribed) == 0 {
			return fmt.Errorf("came before Subscribed")
		}
		return nil
	})
}

func (r *Recorder) Reset(topic string, at bus.Position, reason string, recovered bool) {
	r.hear(topic, "Reset", func(h *Heard) error {
		defer func() { h.At = at }()
		h.Resets = append(h.Resets, Reset{at, reason, recovered})
		switch {
		case len(h.Subscribed) == 0:
			return fmt.Errorf("came before Subscribed")
		case reason == "trimmed" && (at.Epoch != h.At.Epoch || at.Offset <= h.At.Offset || recovered):
			return fmt.Errorf("trimmed, from %v to %v, recovered %v", h.At, at, recovered)
		case reason == "epoch" && (at.Epoch == h.At.Epoch || recovered && at.Offset != h.At.Offset):
			return fmt.Errorf("epoch, from %v to %v, recovered %v", h.At, at, recovered)
		case reason != "trimmed" && reason != "epoch":
			return fmt.Errorf("reason %q", reason)
		}
		return nil
	})
}

// Closed notes that Unsubscribe of a topic has returned.
func (r *Recorder) Closed(topic string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.topic(topic).done = true
}

// Opened notes that the topic is about to be subscribed again: its record starts anew.
func (r *Recorder) Opened(topic string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.topics, topic)
}

// Topic returns a copy of what was heard of a topic.
func (r *Recorder) Topic(topic string) Heard {
	r.mu.Lock()
	defer r.mu.Unlock()
	h := *r.topic(topic)
	h.Messages = slices.Clone(h.Messages)
	return h
}

// Faults returns how the promises were broken.
func (r *Recorder) Faults() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.faults)
}

// Wait waits until what was heard of a topic is as it should be.
func (r *Recorder) Wait(t *testing.T, topic, what string, until func(h *Heard) bool) {
	t.Helper()
	late := time.NewTimer(patience)
	defer late.Stop()
	for {
		r.mu.Lock()
		h, bell, faults := r.topic(topic), r.bell, r.faults
		ok := until(h)
		at, n := h.At, len(h.Messages)
		r.mu.Unlock()
		if len(faults) > 0 {
			t.Fatalf("promises were broken: %q", faults)
		}
		if ok {
			return
		}
		select {
		case <-bell:
		case <-late.C:
			t.Fatalf("%s: still waiting for %s; %d messages were heard, the last at %v", topic, what, n, at)
		}
	}
}

// WaitSubscribed waits until a topic is live.
func (r *Recorder) WaitSubscribed(t *testing.T, topic string) {
	t.Helper()
	r.Wait(t, topic, "Subscribed", func(h *Heard) bool { return len(h.Subscribed) > 0 })
}

// WaitAt waits until a topic was heard up to an offset.
func (r *Recorder) WaitAt(t *testing.T, topic string, offset uint64) {
	t.Helper()
	r.Wait(t, topic, fmt.Sprintf("offset %d", offset), func(h *Heard) bool { return h.At.Offset >= offset })
}
