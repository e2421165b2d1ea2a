package store

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"

	"github.com/redis/go-redis/v9"
)

// ReadOffsets implements Store, in one round trip (one to each primary, in a cluster). Callers that come at the same
// time share it, as sessions do that presence has let in together.
func (r *Redis) ReadOffsets(ctx context.Context, user string, epochs map[string]string) (map[string]uint64, error) {
	offsets := make(map[string]uint64, len(epochs))
	if len(epochs) == 0 {
		return offsets, nil
	}
	marks := make(map[string]*redis.StringCmd, len(epochs))
	err := r.trips.share(ctx, func(pipe redis.Pipeliner) {
		for topic := range epochs {
			marks[topic] = pipe.HGet(ctx, r.marks(topic), user)
			// Until its answer is read. A connection that Redis itself refuses (BUSY, LOADING) leaves
			// the commands without one and without an error: "no mark", as it would seem.
			marks[topic].SetErr(errUnanswered)
		}
	})
	if err != nil {
		return nil, fmt.Errorf("store: read offsets of %q not read: see that Redis can be reached, then repeat: %w", user, err)
	}
	for topic, cmd := range marks {
		if err := cmd.Err(); err != nil && !errors.Is(err, redis.Nil) {
			return nil, fmt.Errorf("store: read offset of %q in %q not read: see that Redis can be reached, then repeat: %w", user, topic, err)
		}
		offsets[topic] = parseMark(cmd.Val()).in(epochs[topic])
	}
	return offsets, nil
}

// trips are round trips that callers share who come at the same time. In a Redis Cluster each makes its own: a
// primary that does not answer shall not keep those waiting who want nothing of it.
type trips struct {
	client redis.UniversalClient // Fixed at construction.

	mu   sync.Mutex
	next *trip // what callers may still join. Guarded by mu.
}

// A trip is one pipeline. Its first caller makes it.
type trip struct {
	pipe  redis.Pipeliner // Guarded by trips.mu, then owned by the first caller.
	ended chan struct{}
	short bool // the first caller went away meanwhile. Set before ended is closed.
}

// share has ask put commands into a pipeline, and returns when they have been answered, each with its own error.
// An error is that of ctx.
func (t *trips) share(ctx context.Context, ask func(redis.Pipeliner)) error {
	for {
		t.mu.Lock()
		_, alone := t.client.(*redis.ClusterClient)
		one, first := t.next, t.next == nil
		if first {
			one = &trip{pipe: t.client.Pipeline(), ended: make(chan struct{})}
			if !alone {
				t.next = one
			}
		}
		ask(one.pipe)
		t.mu.Unlock()
		if first {
			runtime.Gosched() // so that those come along who are about to ask
			t.mu.Lock()
			if t.next == one {
				t.next = nil
			}
			t.mu.Unlock()
			// Its error is that of one command, and "no mark" counts as one: each is asked for its own.
			one.pipe.Exec(ctx)
			one.short = ctx.Err() != nil
			close(one.ended)
			return nil
		}
		select {
		case <-one.ended:
			if !one.short {
				return nil
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
