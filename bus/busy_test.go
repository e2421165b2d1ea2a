package bus_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/rookery-chat/rookery/bus"
	"github.com/rookery-chat/rookery/internal/redistest"
)

// A Redis that refuses connections with an error of its own has stored nothing and told nobody: that is
// what callers hear, and that they may try again.
func TestRedisRefusesConnections(t *testing.T) {
	t.Parallel()
	opts, err := bus.ParseURLs([]string{redistest.StartBusy(t)})
	if err != nil {
		t.Fatal(err)
	}
	opts.ClientName = "test" // is told to Redis first
	c := redis.NewUniversalClient(opts)
	t.Cleanup(func() { c.Close() })
	b := bus.NewRedis(c, nil)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); b.Run(ctx, deafHandler{}) }()
	t.Cleanup(func() { cancel(); <-done })

	for what, call := range map[string]func(context.Context) error{
		"publish": func(ctx context.Context) error {
			_, err := b.Publish(ctx, "lobby", bus.Draft{Payload: []byte(`{}`)})
			return err
		},
		"signal": func(ctx context.Context) error { _, err := b.Signal(ctx, "lobby", []byte(`{}`)); return err },
		"read":   func(ctx context.Context) error { _, err := b.Read(ctx, "lobby", 0, 1); return err },
	} {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		if err := call(ctx); !errors.Is(err, bus.ErrUnavailable) {
			t.Errorf("%s: %v", what, err)
		}
		cancel()
	}
}

// deafHandler hears nothing.
type deafHandler struct{}

func (deafHandler) Subscribed(string, bus.Position)          {}
func (deafHandler) Message(string, bus.Entry)                {}
func (deafHandler) Signal(string, []byte)                    {}
func (deafHandler) Reset(string, bus.Position, string, bool) {}
