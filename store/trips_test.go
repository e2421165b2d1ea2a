package store_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/rookery-chat/rookery/internal/redistest"
	"github.com/rookery-chat/rookery/store"
)

// Who asks for read offsets at the same time as others shares a round trip with them, gets the own answers,
// and gets them too when who made the trip went away meanwhile.
func TestRedisSharedTrips(t *testing.T) {
	t.Parallel()
	c := dial(t, redistest.Start(t))
	s := store.NewRedis(c, "rookery:")
	const users = 50
	for n := range users {
		for _, topic := range []string{"*", "lobby"} {
			if _, _, err := s.MarkRead(t.Context(), topic, user(n), "k3", offset(topic, n)); err != nil {
				t.Fatal(err)
			}
		}
	}
	var trips leaving
	c.AddHook(&trips)
	for round := 0; !trips.left.Load() && round < 1000; round++ { // until some came at the same time
		var all sync.WaitGroup
		begin := make(chan struct{})
		for n := range users {
			all.Go(func() {
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				<-begin
				got, err := s.ReadOffsets(context.WithValue(ctx, canceler{}, cancel), user(n), map[string]string{"*": "k3", "lobby": "k3"})
				switch {
				case ctx.Err() != nil: // it was told to go away
				case err != nil:
					t.Errorf("user %d: %v", n, err)
				case got["*"] != offset("*", n) || got["lobby"] != offset("lobby", n):
					t.Errorf("user %d: %v", n, got)
				}
			})
		}
		close(begin)
		all.Wait()
	}
	if !trips.left.Load() {
		t.Error("nobody shared a round trip")
	}
}

func user(n int) string { return fmt.Sprintf("user-%d", n) }

func offset(topic string, n int) uint64 { return uint64(1000*len(topic) + n) }

type canceler struct{}

// leaving makes the first caller of one shared trip go away.
type leaving struct{ left atomic.Bool }

func (l *leaving) DialHook(next redis.DialHook) redis.DialHook          { return next }
func (l *leaving) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }

func (l *leaving) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		if cancel, ok := ctx.Value(canceler{}).(context.CancelFunc); ok && len(cmds) > 2 && !l.left.Swap(true) {
			cancel()
			return ctx.Err()
		}
		return next(ctx, cmds)
	}
}
