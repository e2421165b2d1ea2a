package node

import (
	"bufio"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/coder/websocket"
	"golang.org/x/time/rate"

	"github.com/rookery-chat/rookery/wire"
)

const (
	readBuffer     = 128  // what is larger is read past it
	writeBuffer    = 132  // holds a whole control frame: less would split a pong
	handshakesOpen = 1000 // under way at once
)

// admission bounds how fast connections are taken, so that a storm of them does not
// slow those who are in. Who is not taken is told when to come back.
type admission struct {
	limiter *rate.Limiter
	open    chan struct{}
}

func newAdmission(perSecond int) *admission {
	return &admission{limiter: rate.NewLimiter(rate.Limit(perSecond), perSecond), open: make(chan struct{}, handshakesOpen)}
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

// retryAfter is when those may come back who were not taken.
const retryAfter = time.Second

// take begins a session for a connection from remote, on whichever listener, or tells why not.
// Its caller gives it a socket and an input, calls done when the handshake is over, and then
// either runs it, on a goroutine of its own, or calls readers.Done.
func (n *Node) take(remote string, k kind) (s *session, done func(), e *wire.Error) {
	refuse := func(message string) (*session, func(), *wire.Error) {
		n.metrics.refused.Add(1)
		slog.Debug("connection refused", "remote", remote, "why", message)
		return nil, nil, &wire.Error{Code: wire.Unavailable, Retry: true, Message: message}
	}
	if done = n.admission.enter(); done == nil {
		return refuse("too many connections at once: come back a little later")
	}
	if !n.mayStart() {
		done()
		return refuse("draining: connect again, to another node")
	}
	number := n.counter.Add(1)
	return &session{
		node: n, kind: k,
		shard: n.shards[number%uint64(len(n.shards))],
		id:    fmt.Sprintf("%s-%d", n.id, number),
		since: time.Now().UnixMilli(),
	}, done, nil
}

func (n *Node) serveProtocol(w http.ResponseWriter, r *http.Request) {
	s := n.accept(w, r, protocolKind{}, &websocket.AcceptOptions{Subprotocols: []string{wire.Subprotocol}})
	if s != nil {
		go s.run()
	}
}

// accept upgrades a request to a session's connection, or answers it with an error and
// returns nil. The caller must run the session, on a goroutine of its own: so the HTTP server's
// goroutine and buffers of the connection are freed.
func (n *Node) accept(w http.ResponseWriter, r *http.Request, k kind, opts *websocket.AcceptOptions) *session {
	s, done, e := n.take(r.RemoteAddr, k)
	if e != nil {
		w.Header().Set("Retry-After", strconv.Itoa(int(retryAfter/time.Second)))
		http.Error(w, e.Message, http.StatusServiceUnavailable)
		return nil
	}
	defer done()
	s.bearer = bearer(r)
	opts.OriginPatterns = n.origins
	opts.CompressionMode = websocket.CompressionDisabled // a frame is encoded once, for all
	h := &hijacker{ResponseWriter: w}
	ws, err := websocket.Accept(h, r, opts)
	if err != nil {
		n.metrics.refused.Add(1)
		if h.socket != nil {
			h.socket.abort()
		}
		n.readers.Done()
		return nil
	}
	ws.SetReadLimit(int64(n.maxFrame))
	s.socket, s.input = h.socket, &webSocketInput{ws: ws, buffer: h.buffer, socket: h.socket}
	n.metrics.connections.Add(1)
	return s
}

// mayStart counts a reader in, unless the node is closing.
func (n *Node) mayStart() bool {
	n.acceptMu.Lock()
	defer n.acceptMu.Unlock()
	if n.closed {
		return false
	}
	n.readers.Add(1)
	return true
}

// A hijacker gives the WebSocket library our socket, with small buffers.
type hijacker struct {
	http.ResponseWriter
	socket *socket
	buffer *bufio.Reader // of socket
}

func (h *hijacker) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, buf, err := http.NewResponseController(h.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	conn.SetDeadline(time.Time{})
	early, _ := buf.Reader.Peek(buf.Reader.Buffered())
	k := newSocket(conn, append([]byte(nil), early...))
	h.socket, h.buffer = k, bufio.NewReaderSize(k, readBuffer)
	return k, bufio.NewReadWriter(h.buffer, bufio.NewWriterSize(k, writeBuffer)), nil
}
