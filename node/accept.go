package node

import (
	"fmt"
	"log/slog"
	"math"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/coder/websocket"
	"golang.org/x/time/rate"

	"github.com/rookery-chat/rookery/proxy"
	"github.com/rookery-chat/rookery/wire"
)

const handshakesOpen = 1000 // under way at once

// admission bounds how fast connections are taken, so that a storm of them does not
// slow those who are in. Who is not taken is told when to come back.
type admission struct {
	perSecond int           // Fixed at construction.
	limiter   *rate.Limiter // Fixed at construction.
	open      chan struct{} // Fixed at construction.

	mu    sync.Mutex
	queue meter // when all will have been taken who were told to come back. Guarded by mu.
}

func newAdmission(perSecond int) *admission {
	return &admission{
		perSecond: perSecond,
		limiter:   rate.NewLimiter(rate.Limit(perSecond), perSecond),
		open:      make(chan struct{}, handshakesOpen),
	}
}

// enter returns a function that ends the handshake, or nil when there are too many.
func (a *admission) enter() func() {
	select {
	case a.open <- struct{}{}:
		if a.limiter.Allow() {
			return func() { <-a.open }
		}
		<-a.open
	default:
	}
	return nil
}

// When those may come back who were not taken because of others. Those who only knock make the queue longer,
// too: so it has an end.
const (
	retryAfter = time.Second
	retryMost  = 10 * time.Second
)

// turn is when one more may come back who is not taken: as many a second as can be taken then. It is told a fifth
// early, because clients wait for a random part more, up to half.
func (a *admission) turn(now time.Duration) time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.queue.take(now, 1, a.perSecond)
	a.queue = min(a.queue, meter(now+retryMost))
	wait := (time.Duration(a.queue) - now) * 4 / 5
	return max(wait.Truncate(time.Second), retryAfter)
}

// A notNow tells why a connection is not taken, and when it may come back.
type notNow struct {
	wire.Error
	after time.Duration
}

func (e *notNow) tell(w http.ResponseWriter) {
	status := http.StatusServiceUnavailable
	if e.Code == wire.RateLimited {
		status = http.StatusTooManyRequests
	}
	w.Header().Set("Connection", "close") // a storm of those who have to wait must not wait in here
	w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(e.after.Seconds()))))
	http.Error(w, e.Message, status)
}

// take begins a session for a connection of a caller, on whichever listener, or tells why not.
// Who called take gives it a socket and an input, calls done when the handshake is over, and then
// either starts it or calls its depart.
func (n *Node) take(from netip.AddrPort, k kind) (s *session, done func(), e *notNow) {
	unavailable := func(message string, after time.Duration) *notNow {
		return &notNow{wire.Error{Code: wire.Unavailable, Retry: true, Message: message}, after}
	}
	if e = n.addresses.enter(from.Addr()); e == nil {
		if done = n.admission.enter(); done == nil {
			e = unavailable("too many connections at once: come back a little later", n.admission.turn(time.Since(n.started)))
		} else if !n.mayStart() {
			done()
			e = unavailable("draining: connect again, to another node", retryAfter)
		}
		if e != nil {
			n.addresses.leave(from.Addr())
		}
	}
	if e != nil {
		n.metrics.refused.Add(1)
		slog.Debug("connection refused", "from", address(from), "why", e.Message)
		return nil, nil, e
	}
	number := n.counter.Add(1)
	return &session{
		node: n, kind: k, from: from,
		shard: n.shards[number%uint64(len(n.shards))],
		id:    fmt.Sprintf("%s-%d", n.id, number),
		since: time.Now().UnixMilli(),
		agent: newAgent(""),
	}, done, nil
}

// depart is the end of a session that was taken.
func (s *session) depart() {
	s.node.addresses.leave(s.from.Addr())
	s.node.sessions.Done()
}

func (n *Node) serveProtocol(w http.ResponseWriter, r *http.Request) {
	s, done := n.accept(w, r, protocolKind{})
	if s == nil {
		return
	}
	defer done()
	if s.upgrade(w, r, &websocket.AcceptOptions{Subprotocols: []string{wire.Subprotocol}}) {
		s.start()
	}
}

// accept takes the session that a request asks for, or answers it with an error and returns nil.
func (n *Node) accept(w http.ResponseWriter, r *http.Request, k kind) (s *session, done func()) {
	peer, _ := netip.ParseAddrPort(r.RemoteAddr) // without one, nobody in particular calls
	s, done, e := n.take(n.proxies.Caller(peer, r.Header.Values("X-Forwarded-For")), k)
	if e != nil {
		e.tell(w)
		return nil, nil
	}
	s.bearer, s.agent = bearer(r), newAgent(r.UserAgent())
	return s, done
}

// upgrade makes a request's connection the session's, or answers with an error and ends the session.
// The caller must start it, and return: so the HTTP server's goroutine and buffers of the connection
// are freed.
func (s *session) upgrade(w http.ResponseWriter, r *http.Request, opts *websocket.AcceptOptions) bool {
	n := s.node
	opts.OriginPatterns = n.origins
	l, err := newLibrary(w, r, opts, 0, func() (_ *socket, err error) {
		s.socket, err = hijack(w)
		return s.socket, err
	})
	if err != nil {
		if s.socket != nil {
			s.socket.abort()
		}
		n.metrics.refused.Add(1)
		s.depart()
		return false
	}
	l.ws.CloseNow() // that was for the handshake; the reader borrows one with a buffer
	s.input = &webSocketInput{session: s}
	n.metrics.connections.Add(1)
	n.metrics.taken.Add(1)
	return true
}

// hijack takes a request's connection from the HTTP server.
func hijack(w http.ResponseWriter) (*socket, error) {
	conn, buf, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return nil, err
	}
	conn.SetDeadline(time.Time{})
	early, _ := buf.Reader.Peek(buf.Reader.Buffered())
	conn, held, err := proxy.Unwrap(conn)
	if err != nil {
		return nil, err // cannot be: the request came after the header
	}
	return newSocket(conn, slices.Concat(early, held)), nil
}

// mayStart counts a session in, unless the node is closing.
func (n *Node) mayStart() bool {
	n.acceptMu.Lock()
	defer n.acceptMu.Unlock()
	if n.closed {
		return false
	}
	n.sessions.Add(1)
	return true
}
