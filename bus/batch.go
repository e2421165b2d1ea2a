package bus

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// patience is how long a call is tried at most.
const patience = 5 * time.Second

// A batcher sends the commands of concurrent callers in shared pipelines. A command
// that comes alone goes alone and at once; while flushers wait for Redis, more of them gather.
type batcher struct {
	client redis.UniversalClient
	room   chan struct{} // one token for each call under way: a full queue holds callers back
	crew   *crew[*call]
}

// A call is one command and the caller that waits for it.
type call struct {
	ctx  context.Context // the caller's: nobody sends what nobody waits for
	cmd  *redis.Cmd
	done chan struct{} // closed once cmd has its answer
}

func newBatcher(client redis.UniversalClient, flushers, batch int) *batcher {
	b := &batcher{client: client, room: make(chan struct{}, 4096)}
	b.crew = newCrew(flushers, batch, b.flush)
	return b
}

// do sends cmds and waits for their answers; the first error is returned.
func (b *batcher) do(ctx context.Context, cmds ...*redis.Cmd) ([]any, error) {
	calls := make([]*call, 0, len(cmds))
	for _, cmd := range cmds {
		select {
		case b.room <- struct{}{}:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		c := &call{ctx, cmd, make(chan struct{})}
		calls = append(calls, c)
		b.crew.add(c)
	}
	answers := make([]any, len(calls))
	var first error
	for i, c := range calls {
		select {
		case <-c.done:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		answer, err := c.cmd.Result()
		if answers[i] = answer; err != nil && first == nil {
			first = err
		}
	}
	return answers, first
}

// flush sends calls in one pipeline.
func (b *batcher) flush(calls []*call) {
	send(b.client, calls)
	for _, c := range calls {
		close(c.done)
		<-b.room
	}
}

// send sends calls in one pipeline, and once more, in full, the scripts that the server did not know.
func send(client redis.UniversalClient, calls []*call) {
	exec(client, calls, func(c *call) bool {
		if err := c.ctx.Err(); err != nil {
			c.cmd.SetErr(err)
			return false
		}
		return true
	})
	exec(client, calls, func(c *call) bool {
		if !unknownScript(c.cmd.Err()) {
			return false
		}
		c.cmd = inFull(c.cmd)
		return true
	})
}

// exec sends the calls that pick chooses in one pipeline.
func exec(client redis.UniversalClient, calls []*call, pick func(*call) bool) {
	ctx := context.Background()
	pipe := client.Pipeline()
	for _, c := range calls {
		if pick(c) {
			c.cmd.SetErr(errUnanswered)
			pipe.Process(ctx, c.cmd)
		}
	}
	if pipe.Len() == 0 {
		return
	}
	_, err := pipe.Exec(ctx)
	for _, c := range calls { // every command has its own error
		if err != nil && c.cmd.Err() == errUnanswered {
			c.cmd.SetErr(fmt.Errorf("%w: %w", errUnanswered, err))
		}
	}
}

// errUnanswered is the error of a command until its answer is read. When a new connection is
// refused with an error of Redis' own (BUSY, LOADING), the library runs no command of the pipeline
// and gives them no error either: each would seem to have succeeded, with nothing.
var errUnanswered = errors.New("the connection to Redis was refused")

// insist sends the command that attempt makes until Redis has answered it, as insist does.
func (b *batcher) insist(ctx context.Context, attempt func() *redis.Cmd) (any, error) {
	answers, err := insist(ctx, func(ctx context.Context) ([]any, error) { return b.do(ctx, attempt()) })
	if err != nil {
		return nil, err
	}
	return answers[0], nil
}

// insist calls attempt until Redis has answered it, patience or ctx is at its end, or an error
// says that trying again does not help. What is attempted must be safe to repeat.
func insist(ctx context.Context, attempt func(context.Context) ([]any, error)) ([]any, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var last error
	for wait := (backoff{}); ; {
		if err := ctx.Err(); err != nil {
			return nil, failure(cmp.Or(last, err))
		}
		answers, err := attempt(ctx)
		if err == nil {
			return answers, nil
		}
		if last == nil || ctx.Err() == nil {
			last = err
		}
		if judge(err) != unknown {
			return nil, failure(err)
		}
		wait.sleep(ctx)
	}
}

// A verdict is what an error of a command means.
type verdict int

const (
	unknown verdict = iota // the outcome is unknown, or soon will be another one: try again
	refused                // Redis did not do it, and will not for a while
	broken                 // Redis will never do it
)

func judge(err error) verdict {
	var reply redis.Error
	if !errors.As(err, &reply) {
		return unknown
	}
	code, _, _ := strings.Cut(strings.TrimPrefix(reply.Error(), "ERR max number of clients"), " ")
	switch code {
	case "", "LOADING", "READONLY", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN", "MOVED", "ASK", "BUSY", "NOSCRIPT":
		return unknown
	case "OOM", "MISCONF", "NOREPLICAS", "NOAUTH", "WRONGPASS", "NOPERM":
		return refused
	}
	return broken
}

// failure is what a caller is told of err.
func failure(err error) error {
	switch {
	case err == nil:
		return nil
	case judge(err) == broken:
		return fmt.Errorf("bus: %w", err)
	}
	return fmt.Errorf("%w: %w", ErrUnavailable, err)
}

// A backoff spaces attempts: 10 ms at first, then ever longer, up to 1 s, each
// with jitter.
type backoff struct{ tries int }

// sleep waits for the next attempt. It returns an error when ctx is done first.
func (b *backoff) sleep(ctx context.Context) error {
	d := min(10*time.Millisecond<<min(b.tries, 10), time.Second)
	b.tries++
	t := time.NewTimer(d/2 + rand.N(d/2))
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
