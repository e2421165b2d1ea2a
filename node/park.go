package node

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"sync"
	"syscall"
)

// A lot is where a shard's sessions are parked while their peers say nothing: without a goroutine, a
// stack and buffers. When there is something to read, or an error to be found by reading, the session
// gets a reader again, which is a new goroutine: so who sends half a frame keeps one, and nobody
// else waits for that.
//
// It is the reader that parks its session, and from then on leaves it alone. A session may be woken
// for nothing, because by the time that its descriptor is told of it can be another's: then its reader
// waits on its goroutine.
type lot struct {
	epoll *os.File        // Fixed at construction.
	fd    int             // of epoll. Fixed at construction.
	raw   syscall.RawConn // of epoll. Fixed at construction.

	mu     sync.Mutex
	parked []*session // by descriptor. Guarded by mu.
}

// A spot is a session's place in its shard's lot. Guarded by lot.mu.
type spot struct {
	fd    int32
	taken bool // the session is parked there
	known bool // epoll has been given the descriptor
}

// newLot returns nil where sessions cannot be parked.
func newLot() *lot {
	epoll, fd, err := newEpoll()
	if errors.Is(err, errors.ErrUnsupported) {
		return nil
	}
	var raw syscall.RawConn
	if err == nil {
		raw, err = epoll.SyscallConn()
	}
	if err != nil {
		slog.Warn("idle sessions will need more memory, a goroutine each", "err", err)
		return nil
	}
	return &lot{epoll: epoll, fd: fd, raw: raw}
}

// park leaves a session to the lot, and reports whether it could: if so, the caller must not touch
// it any more.
func (l *lot) park(s *session) bool {
	if l == nil || s.socket.raw == nil {
		return false
	}
	parked := false
	s.socket.raw.Control(func(fd uintptr) { // which keeps the descriptor from being closed
		l.mu.Lock()
		defer l.mu.Unlock()
		if arm(l.fd, int(fd), s.spot.known) != nil {
			return
		}
		for len(l.parked) <= int(fd) {
			l.parked = append(l.parked, nil)
		}
		l.parked[fd] = s
		s.spot = spot{fd: int32(fd), taken: true, known: true}
		parked = true
	})
	return parked
}

// run wakes the sessions that have something to read, until ctx is done.
func (l *lot) run(ctx context.Context) {
	stop := context.AfterFunc(ctx, func() { l.epoll.Close() })
	defer stop()
	var fds []int
	for l.raw.Read(func(fd uintptr) bool {
		fds = told(int(fd), fds[:0])
		return len(fds) > 0
	}) == nil {
		for _, fd := range fds {
			l.mu.Lock()
			s := l.parked[fd]
			l.mu.Unlock()
			if s != nil {
				l.wake(s)
			}
		}
	}
}

// wake gives a session a reader again, if it is parked.
func (l *lot) wake(s *session) {
	if l == nil {
		return
	}
	l.mu.Lock()
	parked := s.spot.taken
	if parked {
		s.spot.taken = false
		if l.parked[s.spot.fd] == s { // and not the next to have that descriptor, when s was cut
			l.parked[s.spot.fd] = nil
		}
	}
	l.mu.Unlock()
	if parked {
		s.shard.readers.Go(s.resume)
	}
}
