package client_test

import (
	"context"
	"iter"
	"testing"

	"go.uber.org/goleak"

	"github.com/rookery-chat/rookery/client"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A run is a client at work.
type run struct {
	*client.Client
	t      *testing.T
	ctx    context.Context
	pull   func() (client.Event, bool)
	cancel context.CancelFunc
	result chan error // of Run
}

// start runs c until the test ends.
func start(t *testing.T, c *client.Client) *run {
	ctx, cancel := context.WithCancel(context.Background())
	r := &run{Client: c, t: t, ctx: ctx, cancel: cancel, result: make(chan error, 1)}
	ended := make(chan struct{})
	go func() { r.result <- c.Run(ctx); close(ended) }()
	pull, stop := iter.Pull(c.Events(context.Background()))
	r.pull = pull
	t.Cleanup(func() { cancel(); <-ended; stop() })
	return r
}

// next takes the next event, which must be a T.
func next[T client.Event](r *run) T {
	r.t.Helper()
	event, ok := r.pull()
	e, fits := event.(T)
	if !ok || !fits {
		r.t.Fatalf("got the event %T %+v, want a %T", event, event, e)
	}
	return e
}

// drained fails when there is an event, up to the last one, that was not asked for.
func (r *run) drained() {
	r.t.Helper()
	for {
		event, ok := r.pull()
		if !ok {
			return
		}
		r.t.Errorf("one more event: %T %+v", event, event)
	}
}
