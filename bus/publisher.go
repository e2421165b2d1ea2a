package bus

import (
	"context"
	"fmt"

	"github.com/redis/go-redis/v9"
)

// What one call of publish.lua takes, so that it keeps Redis busy for about a millisecond at most.
const (
	callMessages = 64
	callBytes    = 256 << 10
)

// A publisher sends the publishes of concurrent callers together, as a batcher does with commands, and
// many of them in one call of the script, which costs Redis less than a call for each.
type publisher struct {
	client redis.UniversalClient
	cache  string        // the key of the history's cache in the publisher's partition, or in any of them
	room   chan struct{} // one token for each publish under way: a full queue holds callers back
	crew   *crew[*publish]
}

// A publish is one group and the caller that waits for it.
type publish struct {
	ctx     context.Context // the caller's: nobody sends what nobody waits for
	group   *group
	answers []any
	err     error
	done    chan struct{} // closed once answers or err is set
}

func newPublisher(client redis.UniversalClient, cache string, flushers int) *publisher {
	p := &publisher{client: client, cache: cache, room: make(chan struct{}, 4096)}
	p.crew = newCrew(flushers, 256, p.flush)
	return p
}

// publish sends g once and waits for its answers.
func (p *publisher) publish(ctx context.Context, g *group) ([]any, error) {
	select {
	case p.room <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	w := &publish{ctx: ctx, group: g, done: make(chan struct{})}
	p.crew.add(w)
	select {
	case <-w.done:
		return w.answers, w.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// flush sends all in one pipeline of as few calls as may be.
func (p *publisher) flush(all []*publish) {
	waiting := all[:0:0]
	for _, w := range all {
		if w.err = w.ctx.Err(); w.err == nil {
			waiting = append(waiting, w)
		}
	}
	var calls []*call
	var parts [][]*publish // of each call
	for rest := waiting; len(rest) > 0; {
		n := fit(rest)
		calls = append(calls, &call{ctx: context.Background(), cmd: p.cmd(rest[:n])})
		parts = append(parts, rest[:n])
		rest = rest[n:]
	}
	send(p.client, calls)
	for i, c := range calls {
		distribute(c.cmd, parts[i])
	}
	for _, w := range all {
		close(w.done)
		<-p.room
	}
}

// fit returns how many go into the next call: one at least.
func fit(waiting []*publish) int {
	messages, bytes := 0, 0
	for i, w := range waiting {
		messages += w.group.messages
		bytes += w.group.bytes
		if i > 0 && (messages > callMessages || bytes > callBytes) {
			return i
		}
	}
	return len(waiting)
}

func (p *publisher) cmd(part []*publish) *redis.Cmd {
	keys, args := 1, 0
	for _, w := range part {
		keys += len(w.group.keys)
		args += len(w.group.args)
	}
	all := append(make([]any, 0, 3+keys+args), "evalsha", publishScript.hash, keys, p.cache)
	for _, w := range part {
		for _, key := range w.group.keys {
			all = append(all, key)
		}
	}
	for _, w := range part {
		all = append(all, w.group.args...)
	}
	return newScriptCmd(all)
}

// distribute gives everybody what cmd was answered.
func distribute(cmd *redis.Cmd, part []*publish) {
	answer, err := cmd.Result()
	answers, _ := answer.([]any)
	if err == nil && len(answers) != len(part) {
		err = fmt.Errorf("Redis answered %d publishes with %q", len(part), answer)
	}
	for i, w := range part {
		if w.err = err; err != nil {
			continue
		}
		switch answer := answers[i].(type) {
		case []any:
			w.answers = answer
		case string:
			w.err = replyError(answer)
		default:
			w.err = fmt.Errorf("Redis answered a publish with %q", answer)
		}
	}
}

// A replyError is an error of Redis within an answer. As one of its own error replies the library would lose its
// place in what follows: it reads those only where they stand alone.
type replyError string

func (e replyError) Error() string { return string(e) }
func (replyError) RedisError()     {}
