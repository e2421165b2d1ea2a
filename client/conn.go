package client

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"

	"github.com/coder/websocket"

	"github.com/rookery-chat/rookery/wire"
)

const (
	dialTimeout  = 15 * time.Second // until the welcome
	grace        = 15 * time.Second // for a reply, beyond the heartbeat
	closeTimeout = time.Second      // for the node's answer to our close frame
	frameBound   = 16 << 20         // greatest frame that is accepted
)

// A conn is one connection, from the dial to its loss.
type conn struct {
	ws   *websocket.Conn // Fixed at construction.
	out  chan []byte     // Frames for the writer. Never closed.
	gone chan struct{}   // Closed when the connection is lost and nothing more comes from it.

	ctx     context.Context         // Fixed at construction. Done when the connection is to end.
	cancel  context.CancelCauseFunc // Fixed at construction.
	workers sync.WaitGroup          // Writer, closer, chores. Run waits for them.

	calls map[uint64]*call // Guarded by Client.mu. Waiting for a reply.

	// Owned by Run.
	watchdog  *time.Timer        // cancels the connection when nothing is heard
	silence   time.Duration      // how long nothing may be heard
	heartbeat chan time.Duration // Capacity 1: the welcome's heartbeat, for the writer.
	welcomed  time.Time          // zero until the welcome
	goodbye   *wire.Goodbye
	refused   *wire.Error // the answer to our hello
}

// An ending is how a connection, or the try to make one, came to its end.
type ending struct {
	err   error
	hint  time.Duration // how long the node asked us to stay away
	stood time.Duration // how long the connection was up
	final bool          // trying again is of no use
}

var (
	errCut     = errors.New("the connection was cut")
	errSilent  = errors.New("nothing was heard from the node for too long")
	errStalled = errors.New("the node does not take what is sent to it")
)

// connect makes a connection and serves it until it is lost.
func (c *Client) connect(ctx context.Context) ending {
	cn, end := c.dial(ctx)
	if cn == nil {
		return c.lost(end)
	}
	cn.workers.Go(func() { cn.write() })
	cn.workers.Go(func() { cn.closeWith(ctx) })
	err := c.receive(ctx, cn)
	cn.watchdog.Stop()
	if cause := context.Cause(cn.ctx); cause != nil {
		err = cause // why we ended it, rather than what the reader found then
	}
	cn.cancel(err)
	cn.ws.CloseNow()
	c.retire(cn)
	cn.workers.Wait()
	return c.lost(cn.ending(err))
}

// dial connects and says hello. It returns no conn when that failed.
func (c *Client) dial(ctx context.Context) (*conn, ending) {
	dialing, stop := context.WithTimeout(ctx, dialTimeout)
	defer stop()
	hello, err := c.hello(dialing)
	if err != nil {
		return nil, ending{err: err}
	}
	ws, answer, err := websocket.Dial(dialing, c.url, &websocket.DialOptions{
		HTTPClient:   c.opts.HTTPClient,
		Subprotocols: []string{wire.Subprotocol},
	})
	if err != nil {
		end := ending{err: brief(err)}
		if answer != nil && (answer.StatusCode == http.StatusServiceUnavailable || answer.StatusCode == http.StatusTooManyRequests) {
			end.err = fmt.Errorf("the node is busy (%s)", answer.Status)
			end.hint = retryAfter(answer.Header, time.Now())
		}
		return nil, end
	}
	if ws.Subprotocol() != wire.Subprotocol {
		ws.CloseNow()
		return nil, ending{err: fmt.Errorf("%s does not speak %s: is the path right?", c.url, wire.Subprotocol)}
	}
	ws.SetReadLimit(frameBound)
	if err := ws.Write(dialing, websocket.MessageText, hello); err != nil {
		ws.CloseNow()
		return nil, ending{err: brief(err)}
	}
	cn := &conn{
		ws:        ws,
		out:       make(chan []byte),
		gone:      make(chan struct{}),
		calls:     make(map[uint64]*call),
		heartbeat: make(chan time.Duration, 1),
		silence:   dialTimeout,
	}
	cn.ctx, cn.cancel = context.WithCancelCause(context.WithoutCancel(ctx))
	cn.watchdog = time.AfterFunc(cn.silence, func() { cn.cancel(errSilent) })
	return cn, ending{}
}

// hello builds the first frame: who we are and where we were. Topics that do not fit into
// it are joined later.
func (c *Client) hello(ctx context.Context) ([]byte, error) {
	cmd := wire.Command{Type: "hello", User: c.opts.User}
	if c.opts.Token != nil {
		token, err := c.opts.Token(ctx)
		if err != nil {
			return nil, fmt.Errorf("no token: %w", err)
		}
		cmd.Token, cmd.User = token, ""
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lastID++
	cmd.ID, cmd.Was = c.lastID, c.session
	room := maxHello
	if c.frame > 0 {
		room = c.frame
	}
	room -= len(cmd.Append(nil))
	cmd.Resume = make(map[string]wire.Position)
	for _, topic := range slices.SortedFunc(maps.Keys(c.topics), ownFirst) {
		at := c.topics[topic].at
		room -= 6*len(topic) + len(at.Epoch) + 64 // six bytes for one is the worst of JSON's escapes
		if room < 0 || len(cmd.Resume) == maxResume {
			break
		}
		if at != (wire.Position{}) {
			cmd.Resume[topic] = at
		}
	}
	return cmd.Append(nil), nil
}

// ownFirst orders topics. The ones that a session is in from its beginning must be in the
// hello: joined later, they would already have moved on to their heads.
func ownFirst(a, b string) int {
	own := func(topic string) int {
		if topic == wire.Everyone || wire.IsInbox(topic) {
			return 0
		}
		return 1
	}
	return cmp.Or(own(a)-own(b), cmp.Compare(a, b))
}

const (
	maxHello  = 16 << 10 // greatest first frame, before a welcome told what the node takes
	maxResume = 1000     // topics that one hello may resume
)

// write sends frames, and a ping when there was none to send for a heartbeat: each frame
// brings an answer, by which both sides know that the other lives.
func (cn *conn) write() {
	beat := dialTimeout
	idle := time.NewTimer(beat)
	defer idle.Stop()
	for {
		var frame []byte
		select {
		case beat = <-cn.heartbeat:
			idle.Reset(beat)
			continue
		case frame = <-cn.out:
		case <-idle.C:
			frame = wire.Command{Type: "ping", ID: 1}.Append(nil) // the hello had an id of 1 or more: no call waits for it
		case <-cn.ctx.Done():
			return
		}
		idle.Reset(beat)
		late, stop := context.WithTimeout(cn.ctx, beat+grace)
		err := cn.ws.Write(late, websocket.MessageText, frame)
		expired := late.Err() != nil
		stop()
		switch {
		case err == nil:
		case expired:
			cn.cancel(errStalled)
			return
		default:
			return // the reader finds the same error, or a close frame that explains it
		}
	}
}

// closeWith closes the connection as RFC 6455 wants it once ctx is done.
func (cn *conn) closeWith(ctx context.Context) {
	select {
	case <-ctx.Done():
		hurry := time.AfterFunc(closeTimeout, func() { cn.cancel(ctx.Err()) })
		defer hurry.Stop()
		cn.ws.Close(websocket.StatusNormalClosure, "")
	case <-cn.ctx.Done():
	}
}

// post hands a frame to the writer. It returns false when the connection ends first.
func (cn *conn) post(frame []byte) bool {
	select {
	case cn.out <- frame:
		return true
	case <-cn.ctx.Done():
		return false
	}
}

// ending judges the error that ended a welcome or a refused connection.
func (cn *conn) ending(err error) ending {
	end := ending{err: brief(err)}
	if !cn.welcomed.IsZero() {
		end.stood = time.Since(cn.welcomed)
	}
	var closed websocket.CloseError
	switch {
	case errors.As(err, &closed):
		code := wire.CloseCode(closed.Code)
		end.err = &CloseError{Code: code, Reason: closed.Reason, Err: cn.refused}
		end.final = !code.Reconnect()
	case cn.refused != nil:
		end.err = cn.refused
		end.final = !cn.refused.Retry
	}
	if cn.goodbye != nil {
		end.hint = time.Duration(cn.goodbye.After) * time.Millisecond
		end.final = !cn.goodbye.Reconnect
		if !errors.As(end.err, new(*CloseError)) {
			end.err = fmt.Errorf("the node said goodbye: %s", cn.goodbye.Code)
		}
	}
	return end
}

// brief takes an error of the network out of the layers that it came through.
func brief(err error) error {
	var request *url.Error
	var op *net.OpError
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return errCut
	case errors.As(err, &op):
		return op
	case errors.As(err, &request):
		return request.Err
	}
	return err
}
