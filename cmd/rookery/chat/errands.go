package chat

import (
	"context"
	"time"

	tea "charm.land/bubbletea/v2"

	"github.com/rookery-chat/rookery/client"
	"github.com/rookery-chat/rookery/wire"
)

// A request is something that the model wants of the cluster.
type request any

type (
	publish struct {
		id          int
		topic, text string
	}
	join struct {
		room   string
		recent int
	}
	leave   struct{ room string }
	history struct {
		topic  string
		before uint64
		limit  int
	}
	who      struct{ room string }
	markRead struct {
		topic  string
		offset uint64
	}
)

// What the model hears: the answers to its requests, and what happens by itself.
type (
	published struct {
		publish
		got *wire.Published
		err error
	}
	joined struct {
		room string
		got  *wire.Joined
		err  error
	}
	left struct {
		room string
		err  error
	}
	page struct {
		history
		got *wire.History
		err error
	}
	present struct {
		room   string
		roster *wire.Roster
		err    error
	}
	happened struct {
		event client.Event
		at    time.Time
	}
	tick  time.Time
	ended struct{ err error }
)

// errands run the model's requests: what was typed in its order, and what is only looked at
// beside it, so that it does not wait behind a line that cannot be sent yet.
type errands struct {
	client *client.Client // Fixed at construction.
	typed  chan request   // Fixed at construction.
	looks  chan request   // Fixed at construction.
}

func newErrands(c *client.Client) *errands {
	return &errands{client: c, typed: make(chan request, 256), looks: make(chan request, 256)}
}

// ask hands out a request. It returns false when too many wait.
func (e *errands) ask(r request) bool {
	lane := e.typed
	switch r.(type) {
	case history, who, markRead:
		lane = e.looks
	}
	select {
	case lane <- r:
		return true
	default:
		return false
	}
}

// run does the requests of one lane, until ctx is done.
func (e *errands) run(ctx context.Context, lane <-chan request, send func(tea.Msg)) {
	for {
		select {
		case r := <-lane:
			if answer := e.do(ctx, r); answer != nil && ctx.Err() == nil {
				send(answer)
			}
		case <-ctx.Done():
			return
		}
	}
}

func (e *errands) do(ctx context.Context, r request) tea.Msg {
	switch r := r.(type) {
	case publish:
		got, err := e.client.Publish(ctx, r.topic, map[string]string{"text": r.text}, nil)
		return published{r, got, err}
	case join:
		got, err := e.client.Join(ctx, r.room, &client.JoinOptions{Recent: r.recent, Presence: true})
		return joined{r.room, got, err}
	case leave:
		return left{r.room, e.client.Leave(ctx, r.room)}
	case history:
		got, err := e.client.History(ctx, r.topic, &client.HistoryOptions{Before: r.before, Limit: r.limit})
		return page{r, got, err}
	case who:
		roster, err := e.client.Members(ctx, r.room)
		return present{r.room, roster, err}
	case markRead:
		e.client.Read(ctx, r.topic, r.offset) // if it fails, the next one tells more
	}
	return nil
}
