package node

import (
	"context"
	"crypto/rand"
	"errors"
	"slices"
	"time"

	"github.com/rookery-chat/rookery/auth"
	"github.com/rookery-chat/rookery/bus"
	"github.com/rookery-chat/rookery/wire"
)

const (
	historyDefault = 50
	historyMax     = 256
	recentMax      = 1000
	readsMax       = 1000 // names of which members tells read offsets
)

// awaitHello gives the peer its time to say hello.
func (s *session) awaitHello() error {
	s.socket.SetReadDeadline(time.Now().Add(helloTimeout))
	return nil
}

// handleFrame runs one frame of rookery.v1.
func (s *session) handleFrame(b []byte) error {
	if s.user == "" {
		return s.hello(b)
	}
	return s.command(b)
}

// command runs one frame of a session that has said hello.
func (s *session) command(b []byte) error {
	c, err := wire.ParseCommand(b)
	if err != nil {
		s.store()
		s.fail(c, err)
		return s.waitRoom(ownRoom)
	}
	if err := s.waitRoom(ownRoom); err != nil {
		return err
	}
	if s.gathers(c) {
		if err := s.gather(c); err != nil {
			s.store()
			s.fail(c, err)
		}
		return nil
	}
	s.store()
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
		s.node.failures.Warn("command failed", "session", s.id, "type", c.Type, "err", err)
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
	who, code, e := s.identify(or(c.Token, s.bearer), c.User)
	if e != nil {
		e.ID = c.ID
		return s.refuse(code, e)
	}
	s.was = c.Was
	return s.welcome(who, c)
}

// welcome lets who in, joins what every session is in and what it resumes, and answers the hello.
func (s *session) welcome(who auth.Identity, c wire.Command) error {
	s.socket.SetReadDeadline(time.Time{})
	ctx, cancel := context.WithTimeout(s.node.stopped, commandTimeout)
	defer cancel()
	if err := s.node.sanctions.await(ctx); err != nil {
		return s.refuseUnavailable(c)
	}
	s.admit(who)
	if !s.node.users.add(s.user, s.node.limits.Sessions) {
		s.user = ""
		s.node.metrics.limited("sessions")
		return s.refuse(wire.CloseSessions, &wire.Error{ID: c.ID, Code: wire.RateLimited, Message: "too many sessions of this user: close one first"})
	}
	s.node.metrics.sessions.Add(1)
	requests := []request{{topic: wire.Everyone}, {topic: wire.Inbox(s.user)}}
	for topic, at := range c.Resume {
		after := at
		if i := slices.IndexFunc(requests, func(r request) bool { return r.topic == topic }); i >= 0 {
			requests[i].after = &after
			continue
		}
		requests = append(requests, request{topic: topic, after: &after})
	}
	var own *wire.Error // why it cannot be in * or in its inbox
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
	if own != nil && own.Code == wire.Forbidden {
		// Asked now that the session is counted and entered, so that a ban that comes later finds it.
		return s.refuse(wire.CloseKicked, &wire.Error{ID: c.ID, Code: wire.Forbidden, Message: "you are banned"})
	}
	if err != nil || own != nil {
		// Without its inbox a session would be deaf: let the client come again.
		return s.refuseUnavailable(c)
	}
	return nil
}

// refuseUnavailable ends a session that the cluster could not take in.
func (s *session) refuseUnavailable(c wire.Command) error {
	e := unavailable()
	e.ID = c.ID
	return s.refuse(wire.CloseInternal, e)
}

// publication makes of a command what is to be published, if it may be.
func (s *session) publication(c wire.Command) (Publication, error) {
	if err := s.mayWrite(c.Topic, s.grants().MayPublish); err != nil {
		return Publication{}, err
	}
	if err := s.mayAct(); err != nil {
		return Publication{}, err
	}
	p := Publication{Data: c.Data, From: s.user, Session: s.id, Key: c.Key}
	if c.NoEcho {
		p.Except = []string{s.id}
	}
	return p, nil
}

func (s *session) publish(ctx context.Context, c wire.Command) error {
	p, err := s.publication(c)
	if err != nil {
		return err
	}
	if s.node.review != nil {
		data, err := s.node.review(ctx, c.Topic, p)
		if err != nil {
			return err
		}
		p.Data = data
	}
	if p.Key == "" && wire.IsInbox(c.Topic) {
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
	if err := s.mayWrite(c.Topic, s.grants().MaySignal); err != nil {
		return err
	}
	if err := s.mayAct(); err != nil {
		return err
	}
	if _, err := s.node.bus.Signal(ctx, c.Topic, wire.AppendPayload(nil, s.user, s.id, "", c.Data)); err != nil {
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
	if c.Reads && !isRoom(c.Topic) {
		return refusal(wire.BadRequest, "read offsets of others are shown in rooms only")
	}
	if err := s.waitRoom(0); err != nil {
		return err
	}
	m := wire.Members{ID: c.ID, Topic: c.Topic}
	if r, found := s.node.rosters.kept(c.Topic, c.Cursor); found && c.Reads {
		// Before the roster that is told, which has to take its turn among the presence frames.
		var err error
		if m.Reads, err = s.readBy(ctx, c.Topic, r.Members); err != nil {
			return err
		}
	}
	found := false
	err := s.onShard(func() {
		if m.Roster, found = s.node.rosters.kept(c.Topic, c.Cursor); found {
			s.shard.own(s, s.kind.own(m.Append(nil)))
		}
	})
	if found || err != nil {
		s.unread = ownRoom + 1 // of unknown length: see it drained before the next
		return err
	}
	m.Roster, err = s.node.rosters.fetch(ctx, c.Topic, c.Cursor)
	switch {
	case err != nil && c.Cursor != "" && ctx.Err() == nil:
		return refusal(wire.BadRequest, "the cursor leads nowhere: start again without one")
	case err != nil:
		return err
	}
	if c.Reads {
		if m.Reads, err = s.readBy(ctx, c.Topic, m.Members); err != nil {
			return err
		}
	}
	s.reply(m.Append(nil))
	return nil
}

// readBy returns how far the first of users have read a topic.
func (s *session) readBy(ctx context.Context, topic string, users []string) (map[string]uint64, error) {
	at, live := s.node.interest.position(topic)
	if !live {
		return nil, unavailable()
	}
	return s.node.store.ReadBy(ctx, topic, at.Epoch, users[:min(len(users), readsMax)])
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
		if _, err := s.node.bus.Signal(ctx, tell, frame); err != nil {
			return err
		}
	}
	s.ok(wire.OK{ID: c.ID, Topic: c.Topic})
	return nil
}
