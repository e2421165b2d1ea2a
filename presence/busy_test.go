package presence_test

import (
	"context"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/rookery-chat/rookery/internal/redistest"
	"github.com/rookery-chat/rookery/presence"
)

// A Redis that refuses connections with an error of its own has taken nobody in.
func TestRedisRefusesConnections(t *testing.T) {
	t.Parallel()
	opts, err := redis.ParseURL(redistest.StartBusy(t))
	if err != nil {
		t.Fatal(err)
	}
	opts.MaxRetries, opts.DialerRetries, opts.ClientName = -1, 1, "test" // a name is told to Redis first
	c := redis.NewClient(opts)
	t.Cleanup(func() { c.Close() })
	p := presence.NewRedis(c, live, &presence.Options{Prefix: "rookery:"})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); p.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })

	joining, stop := context.WithTimeout(t.Context(), 2*time.Second)
	defer stop()
	if err := p.Join(joining, "lobby", "alice"); err == nil {
		t.Error("joined, without an answer")
	}
	if r, err := p.Roster(joining, "lobby", "", 10); err == nil {
		t.Errorf("a roster %v, without an answer", r)
	}
}
