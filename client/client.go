package client

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/rookery-chat/rookery/wire"
)

// Options are the optional arguments of [New].
type Options struct {
	// User is the name to go by, on a cluster that lets anonymous users in.
	User string
	// Token returns the token to say who the user is. It is asked anew for each connection,
	// so tokens may expire.
	Token func(ctx context.Context) (string, error)
	// Resume are the topics to be in from the first connection on, and how far the program
	// got in each: what [Client.Cursors] returned to an earlier run of it.
	Resume map[string]wire.Position
	// HTTPClient makes the connections; nil means http.DefaultClient. It is the place for
	// own TLS roots and proxies.
	HTTPClient *http.Client
}

// A Client is one session after another with a cluster: see the package comment.
// Its methods may be called by any goroutine. Calls wait for a connection while there is none.
type Client struct {
	url    string                                  // Fixed at construction.
	opts   Options                                 // Fixed at construction.
	queue  *queue                                  // Fixed at construction.
	jitter func(limit time.Duration) time.Duration // Fixed at construction.

	mu      sync.Mutex
	topics  map[string]*membership // Guarded by mu.
	live    *conn                  // Guarded by mu. The connection that is welcome and not lost; nil between two.
	session string                 // Guarded by mu. The newest session's id.
	user    string                 // Guarded by mu. The name that the newest welcome gave us.
	frame   int                    // Guarded by mu. The greatest frame that the node takes, in bytes; 0 before the first welcome.
	lastID  uint64                 // Guarded by mu.
	started bool                   // Guarded by mu.
	trouble error                  // Guarded by mu. Why there is no connection.
	ended   error                  // Guarded by mu. Why Run returned.
	changed chan struct{}          // Guarded by mu. Closed, and replaced, when live, ended or a membership's in changed.
}

var (
	// ErrClosed is wrapped by what calls return once Run has returned.
	ErrClosed = errors.New("the client is closed")
	// ErrDisconnected is wrapped by what calls that are not repeated return when there is no
	// connection or when it was lost before the reply came.
	ErrDisconnected = errors.New("no connection")
	// ErrBacklog is returned by a call whose reply is behind too many events that the program
	// did not read. A publish may have been stored.
	ErrBacklog = errors.New("too many events are waiting: read Client.Events faster than messages come in")
	// ErrUnknown is wrapped by what Publish returns when it gave up without knowing whether
	// the message is stored: repeating it any later could store it twice.
	ErrUnknown = errors.New("whether the message is stored is not known")
)

// A CloseError tells how the node closed the connection.
type CloseError struct {
	Code   wire.CloseCode
	Reason string
	Err    *wire.Error // what the node said before; may be nil
}

func (e *CloseError) Error() string {
	s := fmt.Sprintf("the node closed the connection with code %d", e.Code)
	switch {
	case e.Err != nil:
		return s + ": " + e.Err.Error()
	case e.Reason != "":
		return s + ": " + e.Reason
	}
	return s + ": " + e.Code.String()
}

func (e *CloseError) Unwrap() error {
	if e.Err == nil {
		return nil
	}
	return e.Err
}

// New returns a client of the cluster at url (ws:// or wss://, with the path /ws). It
// connects when Run is called.
func New(url string, opts *Options) *Client {
	c := &Client{
		url:     url,
		queue:   newQueue(),
		jitter:  jitter,
		topics:  make(map[string]*membership),
		changed: make(chan struct{}),
	}
	if opts != nil {
		c.opts = *opts
		c.opts.Resume = maps.Clone(opts.Resume)
	}
	for topic, at := range c.opts.Resume {
		c.topics[topic] = &membership{at: at}
		c.queue.push(context.Background(), item{topic: topic, at: at}) // does not wait: the queue is empty
	}
	return c
}

// Run connects, and connects again whenever the connection is lost, until ctx is done: then
// it returns nil. It returns an error when trying again is of no use: for a url that cannot
// be one, and a [*CloseError] when the node says so. It may be called once.
func (c *Client) Run(ctx context.Context) error {
	c.mu.Lock()
	again := c.started
	c.started = true
	c.mu.Unlock()
	if again {
		return errors.New("client: Run was called before")
	}
	err := c.run(ctx)
	c.mu.Lock()
	c.ended = ErrClosed
	if err != nil {
		c.ended = fmt.Errorf("%w: %w", ErrClosed, err)
	}
	c.notify()
	c.mu.Unlock()
	c.queue.close()
	return err
}

func (c *Client) run(ctx context.Context) error {
	if err := checkURL(c.url); err != nil {
		return err
	}
	wait := backoff{jitter: c.jitter}
	for {
		end := c.connect(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if end.final {
			return end.err
		}
		if end.stood >= settled {
			wait.tries = 0
		}
		delay := wait.next(end.hint)
		if c.queue.push(ctx, item{event: &Disconnected{Err: end.err, Delay: delay}}) != nil || !sleep(ctx, delay) {
			return nil
		}
	}
}

func checkURL(s string) error {
	u, err := url.Parse(s)
	if err != nil {
		return fmt.Errorf("client: the address is not a URL: %w", err)
	}
	if u.Scheme != "ws" && u.Scheme != "wss" || u.Host == "" {
		return fmt.Errorf("client: the address %q should look like ws://host:8000/ws or wss://host/ws", s)
	}
	return nil
}

// notify tells those who wait in await that something changed. mu is held.
func (c *Client) notify() {
	close(c.changed)
	c.changed = make(chan struct{})
}

// await waits for a connection on which k can be made: a topic that the client is in must be
// resumed first.
func (c *Client) await(ctx context.Context, k *call, stuck <-chan struct{}) (*conn, error) {
	for {
		c.mu.Lock()
		m := c.topics[k.cmd.Topic]
		if k.cmd.Type == "join" {
			m = nil
		}
		live, ended, changed := c.live, c.ended, c.changed
		there := live != nil && (m == nil || m.in)
		c.mu.Unlock()
		switch {
		case ended != nil:
			return nil, ended
		case there:
			return live, nil
		}
		select {
		case <-changed:
		case <-stuck:
			return nil, ErrBacklog
		case <-ctx.Done():
			return nil, c.explain(ctx.Err())
		}
	}
}

// explain adds why there is no connection to the error of waiting for one.
func (c *Client) explain(err error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.live == nil && c.trouble != nil {
		return fmt.Errorf("%w: %w (%w)", ErrDisconnected, c.trouble, err)
	}
	return err
}

// retire ends cn for those who wait for it.
func (c *Client) retire(cn *conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.live == cn {
		c.live = nil
	}
	for _, m := range c.topics {
		m.in = false
	}
	close(cn.gone)
	c.notify()
}

// lost notes why there is no connection.
func (c *Client) lost(end ending) ending {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.trouble = end.err
	return end
}

// Session returns the id of the newest session, and the name of its user; "" before the first.
func (c *Client) Session() (id, user string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.session, c.user
}

// Roster returns who is in a topic that was joined with [JoinOptions.Presence], as of the
// newest news, with the members' names sorted. More is set where the topic is so large that
// only some names are kept. It returns false while nothing is known.
func (c *Client) Roster(topic string) (wire.Roster, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if name, err := wire.ParseTopic(topic); err == nil {
		topic = name
	}
	m := c.topics[topic]
	if m == nil || m.roster == nil {
		return wire.Roster{}, false
	}
	return m.roster.wire(), true
}
