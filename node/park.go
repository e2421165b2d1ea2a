package node

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"slices"
	"sync"
	"syscall"
)

// A lot is where a shard's sessions are parked while their peers say nothing: without a goroutine, a
// stack and buffers. When there is something to read, the lot reads it, and answers it if it is a heartbeat
// alone (heartbeat.go). With all else, the session gets a reader again, which is a new goroutine: so who
// sends half a frame keeps one, and nobody else waits for that.
//
// It is the reader that parks its session, and from then on leaves it alone. Who takes a session out of
// the lot is its reader.
type lot struct {
	epoll *os.File        // Fixed at construction.
	fd    int             // of epoll. Fixed at construction.
	raw   syscall.RawConn // of epoll. Fixed at construction.

	read *attempt         // Owned by run.
	came [readBuffer]byte // what was read of one session. Owned by run.

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
	return &lot{epoll: epoll, fd: fd, raw: raw, read: newAttempt(readOnce)}
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

// run serves the sessions that have something to read, until ctx is done.
func (l *lot) run(ctx context.Context) {
	stop := context.AfterFunc(ctx, func() { l.epoll.Close() })
	defer stop()
	fds := make([]int, 0, toldAtOnce)
	l.raw.Read(func(fd uintptr) bool {
		for {
			fds = told(int(fd), fds[:0])
			for _, fd := range fds {
				l.serve(fd)
			}
			if len(fds) < toldAtOnce {
				return false // wait for more
			}
		}
	})
}

// serve reads what came for the session that is parked under fd, if there is one. By now that can be
// another than the one that was told of, for which nothing may have come.
func (l *lot) serve(fd int) {
	s := l.take(fd)
	if s == nil {
		return
	}
	came, err := s.socket.readNow(l.came[:], l.read)
	switch {
	case err == nil && (len(came) == 0 || s.beat(came)):
		if l.park(s) {
			return
		}
		came = nil
	case err == io.EOF:
		err = nil // the reader will find it, too
	}
	s.socket.early = slices.Clone(came)
	s.wake(err)
}

// take takes out the session that is parked under fd, if there is one.
func (l *lot) take(fd int) *session {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.parked[fd]
	if s != nil {
		l.parked[fd], s.spot.taken = nil, false
	}
	return s
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
		s.wake(nil)
	}
}

// wake gives a session that was parked a reader, unless it is over with an error.
func (s *session) wake(err error) {
	s.shard.readers.Go(func() { s.resume(err) })
}
