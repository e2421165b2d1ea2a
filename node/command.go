package node

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/rookery-chat/rookery/bus"
	"github.com/rookery-chat/rookery/wire"
)

const (
	historyDefault = 50
	historyMax     = 256
	recentMax      = 1000
	maxTopics      = 1002 // that a session may be in: as many rooms as a hello may resume, its inbox and *
)

// command runs one frame of a session that has said hello.
func (s *session) command(b []byte) error {
	c, err := wire.ParseCommand(b)
	if err != nil {
		s.fail(c, err)
		return s.waitRoom(ownRoom)
	}
	if err := s.waitRoom(ownRoom); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(s.node.stopped, commandTimeout)
	defer cancel()
	switch c.Type {
	case "publish":
		err = s.publish(ctx, c)
	case "signal":
		err = s.signal(ctx, c)
	case "join":
		err = s.join(ctx, c)
	case "leave":
		err = s.leave(c)
	case "history":
		err = s.history(ctx, c)
	case "members":
		err = s.members(ctx, c)
	case "read":
		err = s.markRead(ctx, c)
	case "ping":
		s.ok(wire.OK{ID: c.ID})
	case "hello":
		err = s.renew(c)
	}
	if err != nil {
		s.fail(c, err)
	}
	return nil
}

// ok answers a command whose sender wants to know.
func (s *session) ok(o wire.OK) {
	if o.ID != 0 {
		s.reply(o.Append(nil))
	}
}

// refusal makes the error of a command that must not be repeated as it is.
func refusal(code wire.Code, message string) *wire.Error {
	return &wire.Error{Code: code, Message: message}
}

// fail answers a command with an error frame.
func (s *session) fail(c wire.Command, err error) {
	var e *wire.Error
	switch {
	case errors.As(err, &e):
		copied := *e
		e = &copied
	case errors.Is(err, bus.ErrUnavailable), errors.Is(err, errClosed), errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		e = unavailable()
	default:
		slog.Error("command failed", "session", s.id, "type", c.Type, "err", err)
		e = unavailable()
	}
	if e.ID == 0 {
		e.ID = c.ID
	}
	if e.Topic == "" {
		e.Topic = c.Topic
	}
	s.node.metrics.failed(e.Code)
	s.reply(e.Append(nil))
}

func unavailable() *wire.Error {
	return &wire.Error{Code: wire.Unavailable, Retry: true, Message: "the cluster did not answer: try again, a publish with the same key"}
}

// hello makes the connection a user's session.
func (s *session) hello(b []byte) error {
	c, err := wire.ParseCommand(b)
	var e *wire.Error
	switch {
	case errors.As(err, &e):
		return s.refuse(wire.ClosePolicy, e)
	case c.Type != "hello":
		return s.refuse(wire.ClosePolicy, &wire.Error{ID: c.ID, Code: wire.BadRequest, Message: "the first frame must be a hello"})
	}
	who, code, e := s.node.identify(or(c.Token, s.bearer), c.User)
	if e != nil {
		e.ID = c.ID
		return s.refuse(code, e)
	}
	s.was = c.Was
	s.admit(who)
	return s.welcome(c)
}

// welcome joins what every session is in and what it resumes, and answers the hello.
func (s *session) welcome(c wire.Command) error {
	s.socket.SetReadDeadline(time.Time{})
	s.node.metrics.sessions.Add(1)
	s.node.users.add(s.user)
	requests := []request{{topic: wire.Everyone}, {topic: wire.Inbox(s.user)}}
	for topic, at := range c.Resume {
		after := at
		if i := slices.IndexFunc(requests, func(r request) bool { return r.topic == topic }); i >= 0 {
			requests[i].after = &after
			continue
		}
		requests = append(requests, request{topic: topic, after: &after})
	}
	ctx, cancel := context.WithTimeout(s.node.stopped, commandTimeout)
	defer cancel()
	own := error(nil)
	err := s.joinAll(ctx, requests, func(results []wire.Joined) []byte {
		w := wire.Welcome{
			ID: c.ID, Session: s.id, User: s.user, Node: s.node.id,
			Heartbeat: int(s.node.heartbeat / time.Second), MaxFrame: s.node.maxFrame,
			Topics: make(map[string]wire.Joined, len(results)),
		}
		for i, r := range results {
			w.Topics[requests[i].topic] = r
			if i < 2 && r.Err != nil {
				own = r.Err
			}
		}
		if own != nil {
			return nil
		}
		return w.Append(nil)
	})
	if err == nil {
		err = own
	}
	if err != nil {
		// Without its inbox a session would be deaf: let the client come again.
		e := unavailable()
		e.ID = c.ID
		return s.refuse(wire.CloseInternal, e)
	}
	return nil
}

func (s *session) join(ctx context.Context, c wire.Command) error {
	r := request{topic: c.Topic, after: c.After, recent: min(c.Recent, recentMax), presence: c.Presence}
	switch {
	case c.Presence && wire.IsInbox(c.Topic):
		return refusal(wire.BadRequest, "an inbox has no roster: join it without presence")
	case len(s.joined) >= maxTopics && s.member(c.Topic) == nil:
		return refusal(wire.BadRequest, "too many rooms: leave one first")
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
	var wg sync.WaitGroup
	for i, r := range requests {
		members[i] = &membership{topic: r.topic}
		wg.Go(func() { results[i].Err = s.enter(ctx, r, members[i]) })
	}
	wg.Wait()
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
			slog.Warn("presence", "topic", r.topic, "err", err)
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
		slog.Warn("read offsets", "err", err)
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

func (s *session) publish(ctx context.Context, c wire.Command) error {
	if err := s.mayWrite(c.Topic, s.may.MayPublish); err != nil {
		return err
	}
	p := Publication{Data: c.Data, From: s.user, Session: s.id, Key: c.Key}
	if c.NoEcho {
		p.Except = []string{s.id}
	}
	if p.Key == "" {
		p.Key = rand.Text() // so that the copy of a direct message, too, is stored once
	}
	receipt, err := s.node.Publish(ctx, c.Topic, p)
	if err != nil {
		return err
	}
	done := wire.Published{Position: wire.Position(receipt.Position), Duplicate: receipt.Duplicate}
	if wire.IsInbox(c.Topic) {
		done.Reached = &receipt.Receivers
		if own := wire.Inbox(s.user); own != c.Topic {
			p.To = wire.InboxUser(c.Topic)
			if _, err := s.node.Publish(ctx, own, p); err != nil {
				return err
			}
		}
	}
	s.ok(wire.OK{ID: c.ID, Topic: c.Topic, Published: &done})
	return nil
}

func (s *session) signal(ctx context.Context, c wire.Command) error {
	if err := s.mayWrite(c.Topic, s.may.MaySignal); err != nil {
		return err
	}
	if err := s.node.bus.Signal(ctx, c.Topic, wire.AppendPayload(nil, s.user, s.id, "", c.Data)); err != nil {
		return err
	}
	s.ok(wire.OK{ID: c.ID, Topic: c.Topic})
	return nil
}

func (s *session) history(ctx context.Context, c wire.Command) error {
	if err := s.mayRead(c.Topic); err != nil {
		return err
	}
	limit := uint64(historyDefault)
	if c.Limit > 0 {
		limit = uint64(min(c.Limit, historyMax))
	}
	before := c.Before
	if before == 0 {
		at, _ := s.node.interest.position(c.Topic)
		before = at.Offset + 1
	}
	page, before, err := s.node.readBefore(ctx, c.Topic, before, limit)
	if err != nil {
		return err
	}
	if err := s.waitRoom(0); err != nil {
		return err
	}
	h := wire.History{ID: c.ID, Topic: c.Topic}
	oldest, bytes := before, 0
	for _, e := range slices.Backward(page.Entries) {
		if e.Offset >= before {
			continue
		}
		if bytes += len(e.Payload) + 64; bytes > wire.MaxReply && len(h.Messages) > 0 {
			break
		}
		oldest = e.Offset
		if e.Payload == nil {
			continue // removed
		}
		m, err := wire.ParsePayload(e.Payload)
		if err != nil {
			return err
		}
		m.Topic, m.Offset, m.Time = c.Topic, e.Offset, e.Time
		h.Messages = append(h.Messages, m)
	}
	slices.Reverse(h.Messages)
	h.More = oldest > page.First && oldest > 1 && page.First <= page.Head
	s.reply(h.Append(nil))
	return nil
}

// readBefore reads the newest entries before an offset, at most limit and as many as fit into
// a page. It returns the offset too, which is at most one after the head.
func (n *Node) readBefore(ctx context.Context, topic string, before, limit uint64) (bus.Page, uint64, error) {
	for {
		page, err := n.bus.Read(ctx, topic, before-1-min(before-1, limit), int(limit))
		switch {
		case err != nil:
			return page, before, err
		case before > page.Head+1:
			before = page.Head + 1
		case limit == 1 || len(page.Entries) == 0 || page.Entries[len(page.Entries)-1].Offset+1 >= before:
			return page, before, nil
		default:
			limit = max(1, limit/2) // the page ended by its bytes, before the newest
		}
	}
}

func (s *session) members(ctx context.Context, c wire.Command) error {
	if err := s.mayRead(c.Topic); err != nil {
		return err
	}
	if wire.IsInbox(c.Topic) {
		return refusal(wire.BadRequest, "an inbox has no roster")
	}
	if err := s.waitRoom(0); err != nil {
		return err
	}
	found := false
	err := s.onShard(func() {
		var r wire.Roster
		if r, found = s.node.rosters.kept(c.Topic, c.Cursor); found {
			s.shard.own(s, s.kind.own(wire.Members{ID: c.ID, Topic: c.Topic, Roster: r}.Append(nil)))
		}
	})
	if found || err != nil {
		s.unread = ownRoom + 1 // of unknown length: see it drained before the next
		return err
	}
	r, err := s.node.rosters.fetch(ctx, c.Topic, c.Cursor)
	switch {
	case err != nil && c.Cursor != "" && ctx.Err() == nil:
		return refusal(wire.BadRequest, "the cursor leads nowhere: start again without one")
	case err != nil:
		return err
	}
	s.reply(wire.Members{ID: c.ID, Topic: c.Topic, Roster: r}.Append(nil))
	return nil
}

// markRead moves the user's read offset and tells the user's other sessions, and in
// a room its members.
func (s *session) markRead(ctx context.Context, c wire.Command) error {
	if err := s.mayRead(c.Topic); err != nil {
		return err
	}
	at, live := s.node.interest.position(c.Topic)
	if !live {
		return unavailable()
	}
	offset, moved, err := s.node.store.MarkRead(ctx, c.Topic, s.user, at.Epoch, min(c.Offset, at.Offset))
	if err != nil {
		return err
	}
	if moved {
		tell := c.Topic
		if !isRoom(tell) {
			tell = wire.Inbox(s.user)
		}
		frame := wire.Read{Topic: c.Topic, From: s.user, Offset: offset}.Append([]byte{readSignal})
		if err := s.node.bus.Signal(ctx, tell, frame); err != nil {
			return err
		}
	}
	s.ok(wire.OK{ID: c.ID, Topic: c.Topic})
	return nil
}
