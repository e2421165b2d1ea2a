package store_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/rookery-chat/rookery/internal/redistest"
	"github.com/rookery-chat/rookery/store"
)

// The key's name and life are what operators see, and what a cluster's slots go by.
func TestRedisKeys(t *testing.T) {
	c := dial(t, redistest.Start(t))
	s, ctx := store.NewRedis(c, "rookery:"), t.Context()
	life := func() time.Duration {
		t.Helper()
		if err := c.Persist(ctx, "rookery:read:{@alice}").Err(); err != nil {
			t.Fatal(err)
		}
		if _, _, err := s.MarkRead(ctx, "@alice", "alice", "k3", 1+uint64(c.Incr(ctx, "n").Val())); err != nil {
			t.Fatal(err)
		}
		return c.TTL(ctx, "rookery:read:{@alice}").Val()
	}
	for range 2 { // each move gives it its whole life again
		if got := life(); got < 89*24*time.Hour || got > 90*24*time.Hour {
			t.Errorf("the read offsets live for %v, want 90 days", got)
		}
	}
	keys, err := c.Keys(ctx, "rookery:*").Result()
	if err != nil || len(keys) != 1 {
		t.Errorf("keys %q, %v; want the topic's alone", keys, err)
	}
}

// What another hand wrote is no mark: it does not stop the user from reading on.
func TestRedisForeignMark(t *testing.T) {
	c := dial(t, redistest.Start(t))
	s, ctx := store.NewRedis(c, ""), t.Context()
	for _, foreign := range []string{"", "k3", "k3:5", "k3:x:", ":::", "k3:5:q9:1", "k3:-5:", "k3:5.5:"} {
		if err := c.HSet(ctx, "read:{lobby}", "alice", foreign).Err(); err != nil {
			t.Fatal(err)
		}
		at := map[string]string{"lobby": "k3"}
		if got, err := s.ReadOffsets(ctx, "alice", at); err != nil || got["lobby"] != 0 {
			t.Errorf("%q is read as %v, %v", foreign, got, err)
		}
		if stands, moved, err := s.MarkRead(ctx, "lobby", "alice", "k3", 2); err != nil || stands != 2 || !moved {
			t.Errorf("over %q: MarkRead = %d, %t, %v; want 2, true", foreign, stands, moved, err)
		}
		if got, err := s.ReadOffsets(ctx, "alice", at); err != nil || got["lobby"] != 2 {
			t.Errorf("after %q: read offsets %v, %v", foreign, got, err)
		}
	}
}

// Each call is one round trip, however many topics it concerns.
func TestRedisRoundTrips(t *testing.T) {
	c := dial(t, redistest.Start(t))
	s, ctx := store.NewRedis(c, ""), t.Context()
	// The first calls bring the script, and connections (pipelines have their own), whose greetings would count.
	all := map[string]string{"lobby": "k3", "attic": "k3", "cellar": "k3"}
	if _, _, err := s.MarkRead(ctx, "lobby", "alice", "k3", 1); err != nil {
		t.Fatal(err)
	}
	if _, err := s.ReadOffsets(ctx, "alice", all); err != nil {
		t.Fatal(err)
	}
	var trips counter
	c.AddHook(&trips)
	if _, _, err := s.MarkRead(ctx, "lobby", "alice", "k3", 2); err != nil {
		t.Fatal(err)
	}
	if trips != 1 {
		t.Errorf("MarkRead took %d round trips", trips)
	}
	trips = 0
	if _, err := s.ReadOffsets(ctx, "alice", all); err != nil {
		t.Fatal(err)
	}
	if trips != 1 {
		t.Errorf("ReadOffsets took %d round trips", trips)
	}
}

// A counter counts the round trips of a client that one goroutine uses.
type counter int

func (n *counter) DialHook(next redis.DialHook) redis.DialHook { return next }
func (n *counter) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error { *n++; return next(ctx, cmd) }
}
func (n *counter) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error { *n++; return next(ctx, cmds) }
}

// What Redis forgot of scripts it is told again; what it lost of data begins anew.
func TestRedisFaults(t *testing.T) {
	server := redistest.Start(t)
	c := dial(t, server)
	s, ctx := store.NewRedis(c, ""), t.Context()
	mark := func(offset uint64) {
		t.Helper()
		if stands, moved, err := s.MarkRead(ctx, "lobby", "alice", "k3", offset); err != nil || stands != offset || !moved {
			t.Fatalf("MarkRead(%d) = %d, %t, %v", offset, stands, moved, err)
		}
	}
	mark(5)
	if err := c.ScriptFlush(ctx).Err(); err != nil {
		t.Fatal(err)
	}
	mark(6)

	if err := c.ConfigSet(ctx, "maxmemory", "1").Err(); err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.MarkRead(ctx, "lobby", "alice", "k3", 7); err == nil || !strings.Contains(err.Error(), "OOM") {
		t.Errorf("MarkRead without memory returned %v", err)
	}
	got, err := s.ReadOffsets(ctx, "alice", map[string]string{"lobby": "k3"}) // needs none
	if err != nil || got["lobby"] != 6 {
		t.Errorf("ReadOffsets without memory returned %v, %v", got, err)
	}
	if err := c.ConfigSet(ctx, "maxmemory", "0").Err(); err != nil {
		t.Fatal(err)
	}
	mark(7)

	server.Kill()
	if _, _, err := s.MarkRead(ctx, "lobby", "alice", "k3", 8); err == nil {
		t.Error("MarkRead without a server returned no error")
	}
	if got, err := s.ReadOffsets(ctx, "alice", map[string]string{"lobby": "k3"}); err == nil || errors.Is(err, redis.Nil) {
		t.Errorf("ReadOffsets without a server returned %v, %v", got, err)
	}
	server.Restart()
	mark(2)

	if err := c.Do(ctx, "set", "read:{attic}", "foreign").Err(); err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.MarkRead(ctx, "attic", "alice", "k3", 1); err == nil {
		t.Error("MarkRead in a key of another type returned no error")
	}
	both := map[string]string{"attic": "k3", "lobby": "k3"}
	if got, err := s.ReadOffsets(ctx, "alice", both); err == nil || !strings.Contains(err.Error(), "attic") {
		t.Errorf("ReadOffsets in a key of another type returned %v, %v", got, err)
	}
}
