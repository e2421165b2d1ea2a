package node

import (
	"time"

	"github.com/rookery-chat/rookery/wire"
)

// Limits are what one session, or one user's sessions on one node, may do. The zero value
// of each is its default.
type Limits struct {
	Frames    int // of one session a second; more are read more slowly. 1,000
	Bytes     int // of one session's frames a second; more are read more slowly. 1 MiB
	Publishes int // and signals of one session a second; more are refused. 500
	Topics    int // of one session, its inbox and * included. 1,002: as many rooms as a hello may resume
	Sessions  int // of one user on one node. 1,000
}

func (l Limits) withDefaults() Limits {
	return Limits{
		Frames:    or(l.Frames, 1000),
		Bytes:     or(l.Bytes, 1<<20),
		Publishes: or(l.Publishes, 500),
		Topics:    or(l.Topics, 1002),
		Sessions:  or(l.Sessions, 1000),
	}
}

// burst is how much may come at once: what the limit permits in so long a time.
const burst = 2 * time.Second

// A meter measures a rate in eight bytes, because every session has three: it is when
// what was taken will have been earned, as a time since the node's start. The algorithm is the
// virtual scheduling of ITU-T I.371 (GCRA).
type meter time.Duration

// early returns how long before its time something comes that is taken now: 0 or less
// when it is within the burst.
func (m meter) early(now time.Duration) time.Duration { return time.Duration(m) - now - burst }

// take charges n units of which perSecond are earned a second.
func (m *meter) take(now time.Duration, n, perSecond int) {
	*m = max(*m, meter(now)) + meter(n)*meter(time.Second)/meter(perSecond)
}

// slowDown makes the reader wait when the session sends more frames or bytes than it may:
// the peer's own buffers fill up then.
func (s *session) slowDown(bytes int) error {
	n := s.node
	now := time.Since(n.started)
	s.frames.take(now, 1, n.limits.Frames)
	s.bytes.take(now, bytes, n.limits.Bytes)
	wait := max(s.frames.early(now), s.bytes.early(now))
	if wait <= 0 {
		return nil
	}
	n.metrics.limited("frames")
	select {
	case <-time.After(wait):
		return nil
	case <-n.stopped.Done():
		return errClosed
	}
}

// mayAct refuses a publish or signal of a session that makes too many.
func (s *session) mayAct() error {
	n := s.node
	now := time.Since(n.started)
	if s.acts.early(now) > 0 {
		n.metrics.limited("publishes")
		return &wire.Error{Code: wire.RateLimited, Retry: true, Message: "too many publishes: slow down, and repeat this one with the same key"}
	}
	s.acts.take(now, 1, n.limits.Publishes)
	return nil
}
