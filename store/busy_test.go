package store_test

import (
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/rookery-chat/rookery/internal/redistest"
	"github.com/rookery-chat/rookery/store"
)

// A Redis that refuses connections with an error of its own has not said that nothing was read.
func TestRedisRefusesConnections(t *testing.T) {
	t.Parallel()
	opts, err := redis.ParseURL(redistest.StartBusy(t))
	if err != nil {
		t.Fatal(err)
	}
	opts.MaxRetries, opts.DialerRetries, opts.ClientName = -1, 1, "test" // a name is told to Redis first
	c := redis.NewClient(opts)
	t.Cleanup(func() { c.Close() })
	s := store.NewRedis(c, "rookery:")
	if offsets, err := s.ReadOffsets(t.Context(), "alice", map[string]string{"lobby": "e"}); err == nil {
		t.Errorf("read offsets %v, without an answer", offsets)
	}
	if offsets, err := s.ReadBy(t.Context(), "lobby", "e", []string{"alice"}); err == nil {
		t.Errorf("read offsets by users %v, without an answer", offsets)
	}
}
