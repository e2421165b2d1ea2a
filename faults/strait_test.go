package faults_test

import (
	"io"
	"net"
	"sync"
	"testing"

	"github.com/rookery-chat/rookery/internal/redistest"
)

// A strait is a way to a server that can be cut as a network is: nothing arrives any more, and no
// connection ends. What was on its way arrives when it heals, as TCP would see to.
type strait struct {
	addr string
	to   string

	mu     sync.Mutex
	open   chan struct{}         // closed while it is open. Guarded by mu.
	closed bool                  // the test is over. Guarded by mu.
	conns  map[net.Conn]struct{} // both ends of each. Guarded by mu.
}

// newStrait leads to a Redis server until the test ends.
func newStrait(t testing.TB, redis *redistest.Server) *strait {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &strait{addr: l.Addr().String(), to: redis.Addr, open: make(chan struct{}), conns: make(map[net.Conn]struct{})}
	close(s.open)
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { s.pass(c) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		s.mu.Lock()
		s.closed = true
		for c := range s.conns {
			c.Close()
		}
		s.mu.Unlock()
		s.heal()
		wg.Wait()
	})
	return s
}

// flag is how a node is told to use it.
func (s *strait) flag() string { return "--redis=redis://" + s.addr }

func (s *strait) cut() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open = make(chan struct{})
}

// heal is safe to repeat.
func (s *strait) heal() {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-s.open:
	default:
		close(s.open)
	}
}

func (s *strait) pass(near net.Conn) {
	defer near.Close()
	s.wait()
	far, err := net.Dial("tcp", s.to)
	if err != nil {
		return
	}
	defer far.Close()
	s.mu.Lock()
	over := s.closed
	s.conns[near], s.conns[far] = struct{}{}, struct{}{}
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		delete(s.conns, near)
		delete(s.conns, far)
		s.mu.Unlock()
	}()
	if over {
		return
	}
	var wg sync.WaitGroup
	for _, way := range [][2]net.Conn{{near, far}, {far, near}} {
		wg.Go(func() {
			io.Copy(way[1], ferry{s, way[0]})
			way[1].(*net.TCPConn).CloseWrite()
		})
	}
	wg.Wait()
}

// wait returns when the strait is open.
func (s *strait) wait() {
	s.mu.Lock()
	open := s.open
	s.mu.Unlock()
	<-open
}

// A ferry holds back what it has read, an end included, until the strait is open.
type ferry struct {
	s    *strait
	from net.Conn
}

func (f ferry) Read(b []byte) (int, error) {
	n, err := f.from.Read(b)
	f.s.wait()
	return n, err
}
