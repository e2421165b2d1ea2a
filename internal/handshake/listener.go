// Package handshake takes WebSocket handshakes off a listener, and leaves all else that comes to an HTTP server.
//
// The server could serve them as well. But before it calls a handler it gets ready for a body and for further requests:
// buffers, contexts, a goroutine that reads on; and takes it all back when the handler wants the connection itself.
// That costs more than the handshake.
package handshake

import (
	"bytes"
	"errors"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/rookery-chat/rookery/internal/nowait"
	"github.com/rookery-chat/rookery/proxy"
)

// A Listener is what an HTTP server accepts from in the place of another listener.
type Listener struct {
	net.Listener               // Fixed at construction.
	handler      http.Handler  // Fixed at construction.
	passed       chan accepted // to the server
	ended        chan struct{} // closed when Run ends

	mu     sync.Mutex
	silent map[net.Conn]struct{} // nothing has come of them yet; nil once Run ends. Guarded by mu.
}

// accepted is what a listener's Accept returned.
type accepted struct {
	conn net.Conn
	err  error
}

// firstWait is how long a connection's first bytes may take. What begins and goes on slowly is the server's.
const firstWait = 5 * time.Second

// Listen returns a listener that gives handshakes for /ws to h, and all other connections to who accepts from it. Of
// these, every byte is still to be read. Closing it ends Run.
func Listen(l net.Listener, h http.Handler) *Listener {
	return &Listener{Listener: l, handler: h, passed: make(chan accepted), ended: make(chan struct{}), silent: make(map[net.Conn]struct{})}
}

// Run takes connections until the listener is closed.
func (l *Listener) Run() {
	var receiving sync.WaitGroup
	defer receiving.Wait()
	defer l.end()
	for {
		conn, err := l.Listener.Accept()
		switch {
		case err == nil:
			receiving.Go(func() { l.receive(conn) })
		case errors.Is(err, net.ErrClosed):
			return
		default:
			l.pass(accepted{err: err}) // the server knows when to try again
		}
	}
}

// end lets go whoever waits.
func (l *Listener) end() {
	close(l.ended)
	l.mu.Lock()
	defer l.mu.Unlock()
	for conn := range l.silent {
		conn.Close()
	}
	l.silent = nil
}

// Accept implements net.Listener for the server.
func (l *Listener) Accept() (net.Conn, error) {
	select {
	case a := <-l.passed:
		return a.conn, a.err
	case <-l.ended:
		return nil, net.ErrClosed
	}
}

// pass leaves a connection, or an error, to the server.
func (l *Listener) pass(a accepted) {
	select {
	case l.passed <- a:
	case <-l.ended:
		if a.conn != nil {
			a.conn.Close()
		}
	}
}

// receive answers a connection's first request if that is a handshake, or passes the connection on.
func (l *Listener) receive(conn net.Conn) {
	p := parsers.Get().(*parser)
	defer parsers.Put(p)
	came, err := l.first(conn, p.room[:])
	if err != nil {
		conn.Close()
		return
	}
	r, size := p.parse(came)
	if r == nil {
		l.pass(accepted{conn: proxy.PutBack(conn, bytes.Clone(came))})
		return
	}
	r.RemoteAddr = conn.RemoteAddr().String()
	a := &answer{conn: conn, early: bytes.Clone(came[size:]), header: make(http.Header)}
	l.handler.ServeHTTP(a, r)
	a.finish()
}

// first waits for a connection's first bytes, and reads them into p.
func (l *Listener) first(conn net.Conn, p []byte) ([]byte, error) {
	l.mu.Lock()
	ended := l.silent == nil
	if !ended {
		l.silent[conn] = struct{}{}
	}
	l.mu.Unlock()
	if ended {
		return nil, net.ErrClosed
	}
	conn.SetReadDeadline(time.Now().Add(firstWait))
	n, err := nowait.NewConn(conn).Read(p)
	l.mu.Lock()
	delete(l.silent, conn)
	l.mu.Unlock()
	return p[:n], err
}
