package bus

import "sync"

// A subscription is a cursor over one topic's log, moved on by what is heard live
// and, when that leaves a hole, by what is read from the log. Whoever moves it holds mu while the
// Handler is called, and that is what keeps the calls in order.
//
// What was heard before the log is asked is in the log's answer. So only messages
// that are heard while a question is under way need to be kept.
type subscription struct {
	r         *Redis
	topic     string
	partition int
	channel   string // live; the four are fixed at construction

	mu       sync.Mutex
	state    state
	at       Position // the last message delivered; no epoch until the first position is known
	asked    uint64   // counts questions: an answer to an older one is void
	announce bool     // Handler.Subscribed is due once at is level with the log
	kept     []heard  // heard while asking
	keptSize int
	lost     bool // kept overflowed
}

type heard struct {
	epoch string
	Entry
}

type state int

const (
	waiting state = iota // for Redis to confirm the subscription: what is heard does not count
	asking               // for the position, or for a page of the log
	live                 // level: each message is the next one
	behind               // there is a hole; a heal is queued
	ended                // Unsubscribe was called
)

// What a subscription keeps at most while it asks. Beyond that, it asks again.
const (
	keepEntries = 1024
	keepBytes   = 1 << 20
)

// be changes the state, and counts who is behind. mu is held.
func (s *subscription) be(next state) {
	if was, will := s.state.level(), next.level(); was && !will {
		s.r.behind.Add(1)
	} else if !was && will {
		s.r.behind.Add(-1)
	}
	s.state = next
}

// level tells whether nothing is to be got from the log.
func (st state) level() bool { return st == live || st == ended }

// ask begins a question if the subscription is in the state from, and returns what to
// ask after and the question's number.
func (s *subscription) ask(from state) (at Position, question uint64, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state != from {
		return Position{}, 0, false
	}
	s.be(asking)
	s.asked++
	s.kept, s.keptSize, s.lost = nil, 0, false
	return s.at, s.asked, true
}

// unasked takes the subscription back to a state, because the question got no answer.
func (s *subscription) unasked(question uint64, to state) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state == asking && s.asked == question {
		s.be(to)
	}
}

// positioned takes the answer of a question for the position.
func (s *subscription) positioned(question uint64, at Position) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state != asking || s.asked != question {
		return
	}
	if s.at.Epoch == "" {
		s.at = at
	}
	if s.at != at {
		s.gap(true)
		return
	}
	s.level()
}

// paged takes the answer of a question for what follows the cursor. It tells whether
// more must be asked by the same caller.
func (s *subscription) paged(question uint64, page Page) (more bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state != asking || s.asked != question {
		return false
	}
	after, reason, recovered := page.Judge(s.at)
	s.at = Position{page.Epoch, after}
	if reason != "" {
		s.r.resets.Add(1)
		s.r.handler.Reset(s.topic, s.at, reason, recovered)
	}
	for _, e := range page.Entries {
		if e.Offset == s.at.Offset+1 {
			s.deliver(e)
		}
	}
	if s.at.Offset < page.Head {
		s.be(behind)
		return true
	}
	s.level()
	return false
}

// level is called when the cursor has reached the head that the log answered. mu is held.
func (s *subscription) level() {
	s.be(live)
	if s.announce {
		s.announce = false
		s.r.handler.Subscribed(s.topic, s.at)
	}
	kept := s.kept
	s.kept = nil
	for _, m := range kept {
		s.take(m)
	}
	if s.lost && s.state == live {
		s.gap(true)
	}
}

// hear takes a message that came over the live channel.
func (s *subscription) hear(m heard) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.state == live:
		s.take(m)
	case s.state != asking || s.lost:
	case len(s.kept) == keepEntries || s.keptSize+len(m.Payload) > keepBytes:
		s.lost = true
	default:
		s.kept = append(s.kept, m)
		s.keptSize += len(m.Payload)
	}
}

// take moves a live cursor on by a message. mu is held.
func (s *subscription) take(m heard) {
	switch {
	case s.state != live:
	case m.epoch != s.at.Epoch:
		s.gap(false)
	case m.Offset == s.at.Offset+1:
		s.deliver(m.Entry)
	case m.Offset > s.at.Offset:
		s.gap(true)
	}
}

func (s *subscription) deliver(e Entry) {
	s.at.Offset = e.Offset
	s.r.handler.Message(s.topic, e)
}

// gap leaves the live state until the log has been asked. Missed tells that something
// was not heard, so that signals may be lost too. mu is held.
func (s *subscription) gap(missed bool) {
	s.be(behind)
	s.announce = s.announce || missed
	s.r.gaps.Add(1)
	s.r.heals.add(s)
}

// misses tells whether a live cursor is not as far as head.
func (s *subscription) misses(head Position) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state == live && (s.at.Epoch != head.Epoch || s.at.Offset < head.Offset)
}

// broken is a gap of a live cursor, found by other means than its offsets.
func (s *subscription) broken() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state == live {
		s.gap(true)
	}
}

// signal hands on a signal. What comes before Handler.Subscribed is not heard.
func (s *subscription) signal(payload []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.at.Epoch != "" && s.state != ended {
		s.r.handler.Signal(s.topic, payload)
	}
}

// interrupt notes that the live connection is gone.
func (s *subscription) interrupt() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state != ended {
		s.be(waiting)
		s.announce = true
	}
}

// end waits for a Handler call that is under way; there will be no other.
func (s *subscription) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.be(ended)
}
