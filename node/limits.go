package node

import (
	"io"
	"time"

	"github.com/rookery-chat/rookery/wire"
)

// Limits are what one session, one user's sessions on one node, or those from one address may
// do. The zero value of each is its default.
type Limits struct {
	Frames    int // of one session a second, pings and pongs included; more are read more slowly. 1,000
	Bytes     int // that one session sends a second; more are read more slowly. 1 MiB
	Publishes int // and signals of one session a second; more are refused. 500
	Topics    int // of one session, its inbox and * included. 1,002: as many rooms as a hello may resume
	Sessions  int // of one user on one node. 1,000

	UserPublishes int // and signals of one user's sessions on one node a second, together; more are refused. Twice Publishes
	IPHandshakes  int // from one address a second; more are refused. 100
	IPSessions    int // from one address on one node. 10,000
}

func (l Limits) withDefaults() Limits {
	publishes := or(l.Publishes, 500)
	return Limits{
		Frames:    or(l.Frames, 1000),
		Bytes:     or(l.Bytes, 1<<20),
		Publishes: publishes,
		Topics:    or(l.Topics, 1002),
		Sessions:  or(l.Sessions, 1000),

		UserPublishes: or(l.UserPublishes, 2*publishes),
		IPHandshakes:  or(l.IPHandshakes, 100),
		IPSessions:    or(l.IPSessions, 10_000),
	}
}

// How much may come at once: what the limit permits in so long a time.
const (
	burst  = 2 * time.Second        // where more is refused
	breath = 100 * time.Millisecond // where more is only read more slowly: what comes at once keeps others waiting
	sip    = 10 * time.Millisecond  // where that is used up, and more is there already
)

// A meter measures a rate in eight bytes, because every session has three: it is when
// what was taken will have been earned, as a time since the node's start. The algorithm is the
// virtual scheduling of ITU-T I.371 (GCRA).
type meter time.Duration

// early returns how long before its time something comes that is taken now: 0 or less
// when it is within what may come at once.
func (m meter) early(now, atOnce time.Duration) time.Duration {
	return time.Duration(m) - now - atOnce
}

// left returns how many units may come without waiting.
func (m meter) left(now, atOnce time.Duration, perSecond int) int {
	return int(max(0, min(atOnce, -m.early(now, atOnce))) * time.Duration(perSecond) / time.Second)
}

// take charges n units of which perSecond are earned a second.
func (m *meter) take(now time.Duration, n, perSecond int) {
	*m = max(*m, meter(now)) + meter(n)*meter(time.Second)/meter(perSecond)
}

// charge makes the session pay for what has just come in, in bytes and in frames: also those of a message
// that never ends, and pieces that carry nothing. The reader of one that sends more than it may has to wait,
// and the peer's own buffers fill up then. It gets few frames at a time: hundreds of them, answered
// in one go, would keep others waiting.
func (s *session) charge(p []byte) (size int, err error) {
	limits := s.node.limits
	most := max(1, int(sip*time.Duration(limits.Frames)/time.Second), s.frames.left(time.Since(s.node.started), breath, limits.Frames))
	size, frames, err := s.input.count(p, most)
	if err != nil {
		return 0, err
	}
	if err := s.earn(&s.bytes, size, limits.Bytes, "bytes"); err != nil {
		return 0, err
	}
	return size, s.earn(&s.frames, frames, limits.Frames, "frames")
}

// mayNow charges a frame of so many bytes, unless the session would have to wait for it.
func (s *session) mayNow(bytes int) bool {
	n := s.node
	now := time.Since(n.started)
	f, b := s.frames, s.bytes
	f.take(now, 1, n.limits.Frames)
	b.take(now, bytes, n.limits.Bytes)
	if f.early(now, breath) > 0 || b.early(now, breath) > 0 {
		return false
	}
	s.frames, s.bytes = f, b
	return true
}

func (s *session) earn(m *meter, count, perSecond int, limit string) error {
	n := s.node
	now := time.Since(n.started)
	m.take(now, count, perSecond)
	wait := m.early(now, breath)
	if wait <= 0 {
		return nil
	}
	n.metrics.limited(limit)
	if s.socket.hungUp() {
		return io.ErrUnexpectedEOF // else all that its kernel and ours hold of a flood would keep us for minutes
	}
	select {
	case <-time.After(wait):
		return nil
	case <-n.stopped.Done():
		return errClosed
	}
}

// mayAct refuses a publish or signal of a session, or of a user, that makes too many.
func (s *session) mayAct() error {
	n := s.node
	now := time.Since(n.started)
	refuse := func(limit, message string) error {
		n.metrics.limited(limit)
		return &wire.Error{Code: wire.RateLimited, Retry: true, Message: message + ": slow down, and repeat this one with the same key"}
	}
	if s.acts.early(now, burst) > 0 {
		return refuse("publishes", "too many publishes")
	}
	over := false
	n.publishers.change(s.user, now, func(a account) account {
		if over = a.rate.early(now, burst) > 0; !over {
			a.rate.take(now, 1, n.limits.UserPublishes)
		}
		return a
	})
	if over {
		return refuse("user_publishes", "too many publishes of this user's sessions")
	}
	s.acts.take(now, 1, n.limits.Publishes)
	return nil
}
