package node

import (
	"context"
	"log/slog"
	"slices"
	"sync"

	"github.com/rookery-chat/rookery/wire"
)

func (s *session) join(ctx context.Context, c wire.Command) error {
	r := request{topic: c.Topic, after: c.After, recent: min(c.Recent, recentMax), presence: c.Presence}
	switch {
	case c.Presence && wire.IsInbox(c.Topic):
		return refusal(wire.BadRequest, "an inbox has no roster: join it without presence")
	case len(s.joined) >= s.node.limits.Topics && s.member(c.Topic) == nil:
		s.node.metrics.limited("topics")
		return refusal(wire.RateLimited, "too many rooms: leave one first")
	}
	if c.Presence {
		if err := s.waitRoom(0); err != nil { // a roster can be large
			return err
		}
	}
	return s.joinRoom(ctx, c.ID, r)
}

// joinRoom joins one topic and answers with ok.
func (s *session) joinRoom(ctx context.Context, id uint64, r request) error {
	failed := (*wire.Error)(nil)
	err := s.joinAll(ctx, []request{r}, func(results []wire.Joined) []byte {
		if failed = results[0].Err; failed != nil {
			return nil
		}
		return wire.OK{ID: id, Topic: r.topic, Joined: &results[0]}.Append(nil)
	})
	if err == nil && failed != nil {
		err = failed
	}
	return err
}

// A request is one topic to join.
type request struct {
	topic    string
	after    *wire.Position
	recent   int
	presence bool
	ordered  bool // by the server API: the session's own permissions do not matter
}

// joinAll joins topics and sends what answer makes of the results, in the order of the
// requests; then come the messages after each cursor. A topic that cannot be joined has
// Err in its result. answer runs on the shard.
func (s *session) joinAll(ctx context.Context, requests []request, answer func([]wire.Joined) []byte) error {
	results := make([]wire.Joined, len(requests))
	members := make([]*membership, len(requests))
	var others sync.WaitGroup
	for i, r := range slices.Backward(requests) {
		members[i] = &membership{topic: r.topic}
		enter := func() { results[i].Err = s.enter(ctx, r, members[i]) }
		if i == 0 || wire.IsInbox(r.topic) {
			enter() // itself: it comes last, or has nothing to wait for
		} else {
			others.Go(enter)
		}
	}
	others.Wait()
	if err := s.findCursors(ctx, requests, members, results); err != nil {
		for _, m := range members {
			s.forget(m, lostGrace) // the node stops: its shards do not matter any more
		}
		return err
	}
	s.addRosters(ctx, requests, members, results)
	s.addReads(ctx, requests, results)
	var came []*subscription
	var replaced []*membership
	for i, m := range members {
		if results[i].Err != nil {
			s.drop(m)
			continue
		}
		came = append(came, m.sub)
		if old := s.member(m.topic); old != nil {
			replaced = append(replaced, old)
			s.joined = slices.DeleteFunc(s.joined, func(x *membership) bool { return x == old })
		}
		s.joined = append(s.joined, m)
	}
	err := s.onShard(func() {
		for i, m := range members {
			if results[i].Err == nil && m.presence {
				results[i].Roster, m.sub.rosterSeen = s.node.rosters.snapshot(m.topic)
			}
		}
		for _, old := range replaced {
			s.shard.leave(old.sub)
		}
		if b := answer(results); b != nil {
			b = s.kind.own(b)
			s.unread += len(b)
			s.shard.own(s, b)
		}
		s.shard.activate(came)
	})
	for _, old := range replaced {
		old.counted = false // the new membership counts instead
		s.forget(old, 0)
	}
	return err
}

// enter checks a request and counts the user in.
func (s *session) enter(ctx context.Context, r request, m *membership) *wire.Error {
	if e := s.mayJoin(r.topic); e != nil && !r.ordered {
		return e
	}
	if old := s.member(r.topic); old != nil {
		m.counted = old.counted
	}
	if !m.counted && !wire.IsInbox(r.topic) {
		m.counted = true
		if err := s.node.presence.Join(ctx, r.topic, s.user); err != nil {
			slog.Debug("presence", "topic", r.topic, "err", err) // presence says itself, once, what keeps it
			return unavailable()
		}
	}
	return nil
}

// addRosters takes hold of the rosters that are asked for. Their topics are live by now: a
// change that a roster lacks will be heard.
func (s *session) addRosters(ctx context.Context, requests []request, members []*membership, results []wire.Joined) {
	for i, r := range requests {
		if !r.presence || results[i].Err != nil {
			continue
		}
		if err := s.node.rosters.acquire(ctx, r.topic); err != nil {
			results[i].Err = unavailable()
			continue
		}
		members[i].presence = true
	}
}

// drop gives back a membership that did not come to be. An older one of the topic stays.
func (s *session) drop(m *membership) {
	if old := s.member(m.topic); old != nil && old.counted {
		m.counted = false
	}
	if m.sub != nil {
		s.shard.mail.post(func() { s.shard.leave(m.sub) })
	}
	s.forget(m, lostGrace) // who could not join will try again
}

// findCursors subscribes on the shard and waits until every cursor is known, or ctx ends.
// An older membership of the same topic goes on meanwhile.
func (s *session) findCursors(ctx context.Context, requests []request, members []*membership, results []wire.Joined) error {
	all := make(chan struct{})
	waiting := 1
	resolved := make([]bool, len(requests))
	step := func() {
		if waiting--; waiting == 0 {
			close(all)
		}
	}
	err := s.onShard(func() {
		for i, r := range requests {
			if results[i].Err != nil {
				continue
			}
			waiting++
			members[i].sub = s.shard.startJoin(s, r.topic, r.presence, &join{
				after: r.after, recent: r.recent,
				done: func(j wire.Joined) {
					resolved[i] = true
					results[i] = j
					step()
				},
			})
		}
		step()
	})
	if err != nil {
		return err
	}
	select {
	case <-all:
		return nil
	case <-ctx.Done():
	}
	return s.onShard(func() {
		for i, m := range members {
			if m.sub != nil && !resolved[i] {
				results[i].Err = unavailable()
				s.shard.leave(m.sub)
			}
		}
	})
}

// addReads puts the user's read offsets into the results.
func (s *session) addReads(ctx context.Context, requests []request, results []wire.Joined) {
	epochs := make(map[string]string, len(requests))
	for i, r := range requests {
		if results[i].Err == nil {
			epochs[r.topic] = results[i].Epoch
		}
	}
	reads, err := s.node.store.ReadOffsets(ctx, s.user, epochs)
	for i, r := range requests {
		switch {
		case results[i].Err != nil:
		case err != nil:
			results[i].Err = unavailable()
		default:
			results[i].Read = reads[r.topic]
		}
	}
	if err != nil {
		s.node.failures.Warn("read offsets", "err", err)
	}
}

func (s *session) leave(c wire.Command) error {
	m := s.member(c.Topic)
	switch {
	case m == nil:
		return refusal(wire.NotFound, "not joined: nothing to leave")
	case !isRoom(c.Topic):
		return refusal(wire.BadRequest, "every session stays in its inbox and in *")
	}
	s.quit(m)
	s.ok(wire.OK{ID: c.ID, Topic: c.Topic})
	return nil
}

// quit ends a membership.
func (s *session) quit(m *membership) {
	s.joined = slices.DeleteFunc(s.joined, func(x *membership) bool { return x == m })
	s.shard.mail.post(func() { s.shard.leave(m.sub) })
	s.forget(m, 0)
}

func isRoom(topic string) bool { return topic != wire.Everyone && !wire.IsInbox(topic) }
