package node

import (
	"bufio"
	"fmt"
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
// slow those who are in. It is told with 503 and Retry-After.
type admission struct {
	limiter *rate.Limiter
	open    chan struct{}
}

func newAdmission(perSecond int) *admission {
	return &admission{limiter: rate.NewLimiter(rate.Limit(perSecond), perSecond), open: make(chan struct{}, handshakesOpen)}
}

// enter returns a function that ends the handshake, or nil after refusing it.
func (a *admission) enter(w http.ResponseWriter) func() {
	select {
	case a.open <- struct{}{}:
		if a.limiter.Allow() {
			return func() { <-a.open }
		}
		<-a.open
	default:
	}
	w.Header().Set("Retry-After", strconv.Itoa(1))
	http.Error(w, "too many connections at once: come back after the time in Retry-After", http.StatusServiceUnavailable)
	return nil
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
	done := n.admission.enter(w)
	if done == nil {
		n.metrics.refused.Add(1)
		return nil
	}
	defer done()
	if !n.mayStart() {
		n.metrics.refused.Add(1)
		w.Header().Set("Retry-After", strconv.Itoa(1))
		http.Error(w, "draining: connect again, to another node", http.StatusServiceUnavailable)
		return nil
	}
	number := n.counter.Add(1)
	s := &session{
		node: n, kind: k,
		shard:  n.shards[number%uint64(len(n.shards))],
		id:     fmt.Sprintf("%s-%d", n.id, number),
		since:  time.Now().UnixMilli(),
		bearer: bearer(r),
	}
	opts.OriginPatterns = n.origins
	opts.CompressionMode = websocket.CompressionDisabled // a frame is encoded once, for all
	h := &hijacker{ResponseWriter: w, session: s}
	ws, err := websocket.Accept(h, r, opts)
	if err != nil {
		n.metrics.refused.Add(1)
		if s.socket != nil {
			s.socket.abort()
		}
		n.readers.Done()
		return nil
	}
	ws.SetReadLimit(int64(n.maxFrame))
	s.ws = ws
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
	session *session
}

func (h *hijacker) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, buf, err := http.NewResponseController(h.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	conn.SetDeadline(time.Time{})
	early, _ := buf.Reader.Peek(buf.Reader.Buffered())
	k := newSocket(conn, append([]byte(nil), early...))
	h.session.socket, h.session.input = k, bufio.NewReaderSize(k, readBuffer)
	return k, bufio.NewReadWriter(h.session.input, bufio.NewWriterSize(k, writeBuffer)), nil
}
