package node

import (
	"context"
	"sync"
	"time"

	"github.com/rookery-chat/rookery/bus"
	"github.com/rookery-chat/rookery/wire"
)

const (
	batchBytes  = 64 << 10        // most that one write carries
	closeLinger = 5 * time.Second // so long a peer has to answer a close frame
	unusedTicks = 2               // a room without sessions is kept heard so long, for those who come back
)

// A rhythm is how sessions are looked after. All of it follows from the heartbeat: with
// 25 s, sessions are looked at every 5 s; one without a sign of life for 30 s gets a ping,
// and is closed after 40 s. One that takes nothing of what waits for it is closed after 30 s.
type rhythm struct {
	tick, ping, lost, stuck time.Duration
}

func newRhythm(heartbeat time.Duration) rhythm {
	fifth := heartbeat / 5
	return rhythm{tick: fifth, ping: 6 * fifth, lost: 8 * fifth, stuck: 6 * fifth}
}

// A shard owns a part of the node's sessions, with their cursors and the rings of
// their topics. Only who holds mu touches them, so that joining, leaving and
// delivering cannot race: its run goroutine, to which others talk through its mailbox, and
// while that sleeps, who takes a step.
type shard struct {
	node  *Node    // Fixed at construction.
	index int      // Fixed at construction.
	mail  *mailbox // Fixed at construction.
	lot   *lot     // nil where sessions cannot be parked. Fixed at construction.

	readers sync.WaitGroup // of its sessions; Node.Run waits for them

	mu sync.Mutex // held by run while it is awake

	// Guarded by mu.
	topics   map[string]*topic
	sessions []*session
	dirty    []*session  // have something to write
	retry    []*topic    // behind, to be looked at again after this round
	ringSize int         // bytes in all rings
	expiry   *time.Timer // fires when the next token ends
	expires  time.Time   // when that is; zero when no session has a token
	away     bool        // the node is draining: who still comes is sent away
	frames   [][]byte    // flush's, reused
	entries  []entry     // flush's, reused
	attempt  *attempt    // flush's, reused
}

// An entry says what a frame in a flush is: a message of sub, or one of the session's own.
type entry struct {
	sub    *subscription
	offset uint64
}

func newShard(n *Node, index int) *shard {
	return &shard{node: n, index: index, mail: newMailbox(), lot: newLot(), topics: make(map[string]*topic), expiry: time.NewTimer(time.Hour), attempt: newAttempt(writeOnce)}
}

// run works off the mailbox until ctx is done.
func (sh *shard) run(ctx context.Context) {
	tick := time.NewTicker(sh.node.rhythm.tick)
	defer tick.Stop()
	defer sh.expiry.Stop()
	var letters []letter
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			sh.mu.Lock()
			sh.tick(time.Now())
		case <-sh.expiry.C:
			sh.mu.Lock()
			sh.expire(time.Now())
		case <-sh.mail.wake:
			sh.mu.Lock()
		}
		var lost map[string]uint64
		letters, lost = sh.mail.take(letters)
		for i := range letters {
			if l := &letters[i]; l.do != nil {
				l.do()
			} else {
				sh.deliver(l.topic, l.frame)
			}
			letters[i] = letter{}
		}
		for name, offset := range lost {
			sh.overflow(name, offset)
		}
		sh.flushAll()
		sh.evict()
		sh.mail.done()
		sh.mu.Unlock()
	}
}

// step does something of the shard's: at once when the shard sleeps, which then need not be woken for it,
// else when its turn comes. The caller must not hold a lock that the shard could want.
func (sh *shard) step(do func()) {
	if !sh.mu.TryLock() {
		sh.mail.post(do)
		return
	}
	defer sh.mu.Unlock()
	if !sh.mail.isEmpty() {
		sh.mail.post(do) // behind what came before it
		return
	}
	do()
	sh.flushAll()
}

// deliver appends a message to its topic's ring, or hands out a signal.
func (sh *shard) deliver(name string, f *frame) {
	t := sh.topics[name]
	if t == nil || !t.live {
		return
	}
	if f.offset == 0 {
		sh.signal(t, f)
		return
	}
	if f.offset <= t.head {
		return
	}
	if f.offset != t.head+1 {
		sh.ringSize -= t.clear()
	}
	sh.ringSize += t.push(f)
	for _, sub := range t.subs {
		if sub.state == active {
			sh.mark(sub)
		}
	}
}

// signal gives an unstored message to the sessions that are not behind.
func (sh *shard) signal(t *topic, f *frame) {
	for _, sub := range t.subs {
		if s := sub.session; sub.state == active && !sub.isBehind && s.hasRoom() {
			sh.own(s, s.kind.signal(f))
		}
	}
}

// overflow forgets the ring of a topic of which the mailbox left messages out.
func (sh *shard) overflow(name string, offset uint64) {
	t := sh.topics[name]
	if t == nil || offset <= t.head {
		return
	}
	sh.node.metrics.overflows.Add(1)
	sh.ringSize -= t.clear()
	t.head = offset
	for _, sub := range t.subs {
		if sub.state == active {
			sh.mark(sub)
		}
	}
}

// mark puts a subscription, and its session, among those to flush.
func (sh *shard) mark(sub *subscription) {
	if sub.dirty {
		return
	}
	sub.dirty = true
	s := sub.session
	if s.lastDirty == nil {
		s.firstDirty = sub
	} else {
		s.lastDirty.next = sub
	}
	s.lastDirty = sub
	sh.markSession(s)
}

func (sh *shard) markSession(s *session) {
	if !s.dirty {
		s.dirty = true
		sh.dirty = append(sh.dirty, s)
	}
}

// own appends a frame of the session's own: a reply, a roster, a reset.
func (sh *shard) own(s *session, b []byte) {
	if len(b) == 0 || s.gone || s.last {
		return
	}
	s.out = append(s.out, b)
	s.outBytes += len(b)
	sh.markSession(s)
}

func (sh *shard) flushAll() {
	for len(sh.dirty) > 0 || len(sh.retry) > 0 {
		for i := 0; i < len(sh.dirty); i++ {
			s := sh.dirty[i]
			s.dirty = false
			sh.dirty[i] = nil
			sh.flush(s)
		}
		sh.dirty = sh.dirty[:0]
		retry := sh.retry
		sh.retry = nil
		for _, t := range retry {
			sh.catchUp(t)
		}
	}
}

// flush writes what waits for a session, as much as its socket takes: its own frames,
// then the messages after its cursors.
func (sh *shard) flush(s *session) {
	for !s.gone && !s.socket.isBlocked() {
		sh.collect(s)
		if len(sh.frames) == 0 {
			sh.account(s, 0)
			return
		}
		last := s.last && len(s.out) <= len(sh.frames)
		taken, err := s.socket.write(sh.frames, sh.attempt, last)
		sh.account(s, taken)
		if err != nil {
			sh.cut(s)
			return
		}
		if taken < len(sh.frames) || (s.firstDirty == nil && len(s.out) == 0) {
			return
		}
	}
}

// collect gathers in sh.frames what a session is to get next.
func (sh *shard) collect(s *session) {
	sh.frames, sh.entries = sh.frames[:0], sh.entries[:0]
	bytes := 0
	for _, b := range s.out {
		if bytes > 0 && bytes+len(b) > batchBytes {
			return
		}
		sh.frames = append(sh.frames, b)
		sh.entries = append(sh.entries, entry{})
		bytes += len(b)
	}
	if s.last {
		return
	}
	for sub := s.firstDirty; sub != nil; {
		next := sub.next
		full := false
		after := sub.after
		for sub.state == active && after < sub.topic.head && sub.epoch == sub.topic.epoch {
			f := sub.topic.find(after + 1)
			if f == nil {
				break
			}
			b := s.kind.message(f, s)
			if bytes > 0 && bytes+len(b) > batchBytes {
				full = true
				break
			}
			after++
			sh.frames = append(sh.frames, b)
			sh.entries = append(sh.entries, entry{sub, after})
			bytes += len(b)
		}
		if full {
			return
		}
		if sub.state == active && (after < sub.topic.head || sub.epoch != sub.topic.epoch) {
			sh.fallBehind(sub)
		}
		sub = next
	}
}

// account moves the cursors over what was taken, and drops from the dirty list those
// that have nothing more at hand.
func (sh *shard) account(s *session, taken int) {
	own, delivered, bytes := 0, 0, 0
	for i, e := range sh.entries[:taken] {
		bytes += len(sh.frames[i])
		if e.sub == nil {
			s.outBytes -= len(s.out[own])
			s.out[own] = nil
			own++
			continue
		}
		e.sub.after = e.offset
		delivered++
	}
	if own == len(s.out) {
		s.out = s.out[:0]
		if cap(s.out) > 2 {
			s.out = nil // a session that is idle again keeps little
		}
	} else {
		s.out = s.out[own:]
	}
	if s.outBytes == 0 {
		s.free()
	}
	if taken > 0 {
		sh.node.metrics.delivered.Add(uint64(delivered))
		sh.node.metrics.bytesOut.Add(uint64(bytes))
	}
	for sub := s.firstDirty; sub != nil; sub = s.firstDirty {
		if sub.state == active && !sub.isBehind && (sub.after < sub.topic.head || sub.stale && !s.hasRoom()) {
			break
		}
		s.firstDirty = sub.next
		if s.firstDirty == nil {
			s.lastDirty = nil
		}
		sub.dirty, sub.next = false, nil
		if !sub.isBehind {
			sub.resuming = false
		}
		if sub.stale && !sub.isBehind && sub.state == active {
			sub.stale = false
			sh.node.rosters.refresh(sh, sub)
		}
	}
	if sub := s.firstDirty; sub != nil && sub.next != nil {
		// One that has more to come takes its turn behind the others: a busy room does not
		// starve the inbox.
		s.firstDirty, sub.next = sub.next, nil
		s.lastDirty.next, s.lastDirty = sub, sub
	}
}

// evict keeps the rings within the node's budget. Which ring goes is left to chance:
// a cursor that needed it reads the log.
func (sh *shard) evict() {
	if sh.ringSize <= sh.node.ringBudget {
		return
	}
	for _, t := range sh.topics {
		sh.ringSize -= t.clear()
		if sh.ringSize <= sh.node.ringBudget*3/4 {
			return
		}
	}
}

// attach takes a session in.
func (sh *shard) attach(s *session) {
	s.index = len(sh.sessions)
	sh.sessions = append(sh.sessions, s)
	if sh.away {
		sh.sayGoodbye(s)
	}
}

// detach forgets a session, whose reader has ended. The peer closed with code, unless
// the node did before.
func (sh *shard) detach(s *session, code wire.CloseCode) {
	s.gone = true
	sh.node.metrics.closed(or(s.code, code))
	last := len(sh.sessions) - 1
	sh.sessions[s.index] = sh.sessions[last]
	sh.sessions[s.index].index = s.index
	sh.sessions[last] = nil
	sh.sessions = sh.sessions[:last]
	s.out = nil
	s.free()
}

// cut ends a connection at once, and forgets what waits for it. The reader notices, and
// detaches the session.
func (sh *shard) cut(s *session) {
	s.gone = true
	s.closing.Store(true)
	s.socket.abort()
	sh.lot.wake(s)
	s.out, s.outBytes = nil, 0
	s.free()
}

// free lets a reader go on that waits for room.
func (s *session) free() {
	if s.drained != nil {
		close(s.drained)
		s.drained = nil
	}
}

// close says goodbye, with a reason, and closes the session when that is written.
func (sh *shard) close(s *session, g *wire.Goodbye, code wire.CloseCode, reason string) {
	if s.gone || s.last {
		return
	}
	sh.own(s, s.kind.close(g, code, reason))
	s.last, s.code = true, code
	s.closing.Store(true)
	s.closeBy = time.Now().Add(closeLinger).UnixMilli()
	sh.markSession(s)
}

// finish lets a session end whose peer has said its last: what waits for it is written, and
// nothing more.
func (sh *shard) finish(s *session) {
	if s.gone || s.last {
		return
	}
	s.last = true
	s.closeBy = time.Now().Add(sh.node.rhythm.stuck).UnixMilli()
	sh.markSession(s)
}

// tick looks after silent, stuck and closing sessions and unused topics.
func (sh *shard) tick(now time.Time) {
	for _, s := range sh.sessions {
		sh.examine(s, now)
	}
	for name, t := range sh.topics {
		sh.ringSize -= t.tick()
		if len(t.subs) > 0 {
			continue
		}
		if t.unused++; t.unused > unusedTicks {
			sh.drop(name, t)
		}
	}
}

// examine pings a session that has been silent, where its kind does, and closes one that is dead
// or stuck. Bytes that the peer's TCP acknowledges are a sign of life too.
func (sh *shard) examine(s *session, now time.Time) {
	switch {
	case s.gone:
		return
	case s.last:
		if now.UnixMilli() > s.closeBy {
			sh.cut(s)
		}
		return
	}
	r := sh.node.rhythm
	heard, blocked, pings := s.socket.heard.Load(), s.socket.isBlocked(), s.kind.ping() != nil
	since := func(ms int64) time.Duration { return time.Duration(now.UnixMilli()-ms) * time.Millisecond }
	if !blocked && (!pings || since(heard) < r.ping-r.tick) {
		s.pinged, s.ackedAt = false, 0
		return
	}
	if acked := s.socket.acknowledged(); s.ackedAt == 0 {
		s.acked, s.ackedAt, s.lifeAt = acked, now.UnixMilli(), heard
	} else if acked > s.acked {
		s.acked, s.ackedAt, s.lifeAt, s.pinged = acked, now.UnixMilli(), now.UnixMilli(), false
	}
	idle := since(max(heard, s.lifeAt))
	switch {
	case blocked && since(s.ackedAt) >= r.stuck, blocked && pings && idle >= r.lost:
		s.code = wire.CloseLost
		sh.cut(s)
	case !pings: // whether it lives is the kernel's to find out
	case idle >= r.lost && s.pinged: // not even its TCP answers: nobody waits for more, but its kernel may still get the word
		sh.close(s, nil, wire.CloseLost, "heartbeat lost")
		sh.flush(s)
		sh.cut(s)
	case idle >= r.ping && !s.pinged:
		s.pinged = true
		sh.own(s, s.kind.ping())
	}
}

// drop stops hearing a topic.
func (sh *shard) drop(name string, t *topic) {
	sh.ringSize -= t.clear()
	delete(sh.topics, name)
	sh.node.interest.remove(name, sh.index)
}

// subscribed: the topic is live from at; nothing was missed since the last message.
func (sh *shard) subscribed(name string, at bus.Position) {
	t := sh.topics[name]
	if t == nil {
		return
	}
	if !t.live || t.epoch != at.Epoch || t.head != at.Offset {
		if t.head != at.Offset || t.epoch != at.Epoch {
			sh.ringSize -= t.clear()
		}
		t.live, t.epoch, t.head = true, at.Epoch, at.Offset
		for _, sub := range t.subs {
			if sub.state == active {
				sh.mark(sub)
			}
		}
	}
	if c := t.catchup; c != nil {
		waiting := c.waiting
		c.waiting = nil
		for _, j := range waiting {
			sh.judge(j)
		}
	}
}

// reset: the log goes on at another place. Who has everything up to there is told so;
// who is behind is judged by the log itself.
func (sh *shard) reset(name string, at bus.Position, reason string, recovered bool) {
	t := sh.topics[name]
	if t == nil {
		return
	}
	sh.node.metrics.resets.Add(1)
	sh.flushAll()
	level := bus.Position{Epoch: t.epoch, Offset: t.head}
	sh.ringSize -= t.clear()
	t.epoch, t.head = at.Epoch, at.Offset
	for _, sub := range t.subs {
		if sub.state != active {
			continue
		}
		if sub.epoch == level.Epoch && sub.after == level.Offset {
			sub.epoch, sub.after = at.Epoch, at.Offset
			sh.tellReset(sub, wire.Position(at), reason, recovered)
		} else {
			sh.mark(sub)
		}
	}
}

func (sh *shard) tellReset(sub *subscription, head wire.Position, reason string, recovered bool) {
	r := wire.Reset{Topic: sub.topic.name, Position: head, After: sub.after, Reason: reason, Recovered: recovered}
	sh.own(sub.session, sub.session.kind.own(r.Append(nil)))
}
