package bus

import (
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"
)

// positionsAtOnce is how many topics one call of positions.lua is asked for, so that
// it keeps Redis busy for about a millisecond at most.
const positionsAtOnce = 256

// healPage is how many messages one step of a heal reads at most.
const healPage = 1000

// heal reads the log on from the cursor of a subscription until it is level, or until
// somebody else is to see to it. It runs on the crew of healers.
func (r *Redis) heal(s *subscription) {
	for wait := (backoff{}); r.ctx.Err() == nil; {
		at, question, ok := s.ask(behind)
		if !ok {
			return
		}
		page, err := r.Read(r.ctx, s.topic, at.Offset, healPage)
		if err != nil {
			if !errors.Is(err, ErrUnavailable) {
				r.warn("bus: a topic cannot be heard on, because its log cannot be read", "topic", s.topic, "error", err)
			}
			s.unasked(question, behind)
			wait.sleep(r.ctx)
			continue
		}
		if !s.paged(question, page) {
			return
		}
	}
}

// locate asks for the positions of subscriptions that Redis has confirmed: one script
// for each partition (or several, for many topics), all at once. Those that have not moved are
// live then, the others are healed.
func (r *Redis) locate(ctx context.Context, confirmed []*subscription) error {
	type question struct {
		*subscription
		number uint64
	}
	var parts [partitions][]question
	for _, s := range confirmed {
		if _, number, ok := s.ask(waiting); ok {
			parts[s.partition] = append(parts[s.partition], question{s, number})
		}
	}
	all := make([]question, 0, len(confirmed))
	for _, part := range parts {
		all = append(all, part...)
	}
	topics := make([]string, len(all))
	for i, q := range all {
		topics[i] = q.topic
	}
	positions, err := r.positions(ctx, topics)
	if err != nil && judge(err) == broken {
		r.warn("bus: topics cannot be subscribed, because their positions cannot be read", "error", err)
	}
	for i, q := range all {
		if err != nil {
			q.unasked(q.number, waiting)
		} else {
			q.positioned(q.number, positions[i])
		}
	}
	return err
}

// positions returns the positions of topics, which are sorted by partition, and all of one link.
func (r *Redis) positions(ctx context.Context, topics []string) ([]Position, error) {
	var cmds []*redis.Cmd
	for rest := topics; len(rest) > 0; {
		p := partitionOf(rest[0])
		keys := []string{r.key(p, "history", "id")}
		args := []any{newEpoch()}
		for len(rest) > 0 && len(args) <= positionsAtOnce && partitionOf(rest[0]) == p {
			keys = append(keys, r.key(p, "meta", rest[0]), r.key(p, "log", rest[0]))
			args = append(args, r.positionLife(rest[0]))
			rest = rest[1:]
		}
		cmds = append(cmds, positionsScript.cmd(keys, args...))
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if len(cmds) == 0 {
		return nil, nil
	}
	answers, err := r.of(partitionOf(topics[0])).reads.do(ctx, cmds...)
	if err != nil {
		return nil, err
	}
	found := make([]Position, 0, len(topics))
	for _, a := range answers {
		list, _ := a.([]any)
		for i := 0; i+1 < len(list); i += 2 {
			epoch, _ := list[i].(string)
			head, _ := list[i+1].(string)
			offset, err := strconv.ParseUint(head, 10, 64)
			if err != nil {
				return nil, err
			}
			found = append(found, Position{epoch, offset})
		}
	}
	if len(found) != len(topics) {
		return nil, errRecord
	}
	return found, nil
}

// sweepEvery is how often a partition is looked at: each has its turn in about two minutes.
const sweepEvery = 2 * time.Second

// sweep looks at one partition after the other: it keeps the positions of quiet topics
// alive, and it finds the message that was lost with no other after it to show the gap.
func (r *Redis) sweep(ctx context.Context) {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	suspects := make(map[*subscription]Position)
	for p := 0; ; p = (p + 1) % partitions {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		for s, head := range suspects { // had time to catch up
			if s.misses(head) {
				s.broken()
			}
		}
		clear(suspects)
		subs := r.links[p%len(r.links)].live(p)
		topics := make([]string, len(subs))
		for i, s := range subs {
			topics[i] = s.topic
		}
		positions, err := r.positions(ctx, topics)
		if err != nil {
			continue
		}
		for i, s := range subs {
			if s.misses(positions[i]) {
				suspects[s] = positions[i]
			}
		}
	}
}
