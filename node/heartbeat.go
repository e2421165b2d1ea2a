package node

import "github.com/rookery-chat/rookery/wire"

// A heartbeat is a ping or a pong. Most of what idle sessions send is one alone: that is answered
// where the session is parked, and all else by a reader.
type heartbeat struct {
	pong []byte // the answer to a WebSocket's ping
	text int    // bytes of a ping in JSON; 0: it is a WebSocket's
	id   uint64 // of that one; 0: nobody wants an answer
}

func controlHeartbeat(p []byte) (heartbeat, bool) {
	size, pong := wire.Heartbeat(p)
	return heartbeat{pong: pong}, size > 0 && size == len(p)
}

func textHeartbeat(text []byte) (heartbeat, bool) {
	id, ok := wire.Ping(text)
	return heartbeat{text: len(text), id: id}, ok
}

// beat does what a reader would do with p, which is all that came, and reports whether it could: p has
// to be one heartbeat, for which there is nothing to wait. Else it has done nothing.
// The caller stands in for the session's reader.
func (s *session) beat(p []byte) bool {
	h, ok := s.kind.heartbeat(p)
	if !ok || s.closing.Load() || !s.turn.TryLock() {
		return false
	}
	defer s.turn.Unlock()
	switch {
	case s.unread > ownRoom || !s.mayNow(len(p)):
		return false
	case h.text > 0:
		s.node.metrics.framesIn.Add(1)
		s.node.metrics.bytesIn.Add(uint64(h.text))
		s.ok(wire.OK{ID: h.id})
	case h.pong != nil:
		_, err := s.socket.Write(h.pong)
		return err == nil // the reader will find it, too
	}
	return true
}
