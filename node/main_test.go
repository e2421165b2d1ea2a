package node_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"go.uber.org/goleak"

	"github.com/rookery-chat/rookery/bus"
	"github.com/rookery-chat/rookery/node"
	"github.com/rookery-chat/rookery/presence"
	"github.com/rookery-chat/rookery/store"
	"github.com/rookery-chat/rookery/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds every wait. It is only reached when something is wrong.
const patience = time.Minute

// A cluster is several nodes of one process on one bus in memory.
type cluster struct {
	memory *bus.Memory
	people *presence.Memory
	facts  *store.Memory
	nodes  []*edge
	wrap   func(bus.Bus) bus.Bus // what a node gets in the place of its bus; may be nil
}

// An edge is one node of a cluster, with the server that its sessions connect to.
type edge struct {
	*node.Node
	bus    bus.Bus
	server *httptest.Server
	stop   context.CancelFunc
	done   chan error
}

// newCluster runs count nodes until the test ends.
func newCluster(t testing.TB, count int, opts *node.Options) *cluster {
	t.Helper()
	return newClusterWith(t, count, opts, nil)
}

func newClusterWith(t testing.TB, count int, opts *node.Options, busOpts *bus.Options) *cluster {
	t.Helper()
	c := &cluster{memory: bus.NewMemory(busOpts), people: presence.NewMemory(), facts: store.NewMemory()}
	for range count {
		c.add(t, opts)
	}
	return c
}

func (c *cluster) add(t testing.TB, opts *node.Options) *edge {
	t.Helper()
	return c.addWith(t, opts, c.facts)
}

func (c *cluster) addWith(t testing.TB, opts *node.Options, facts store.Store) *edge {
	t.Helper()
	o := node.Options{Drain: 2 * time.Second}
	if opts != nil {
		o = *opts
	}
	return c.run(t, o, facts, isAwake(t))
}

func (c *cluster) run(t testing.TB, o node.Options, facts store.Store, awake bool) *edge {
	o.ID = node.NewID()
	b := c.memory.Attach()
	if c.wrap != nil {
		b = c.wrap(b)
	}
	p := c.people.Attach(o.ID, func(topic string, change []byte) { b.Signal(context.Background(), topic, change) })
	e := &edge{Node: node.New(b, p, facts, &o), bus: b, done: make(chan error, 1)}
	if awake {
		node.KeepAwake(e.Node)
	}
	ctx, stop := context.WithCancel(context.Background())
	e.stop = stop
	go func() { e.done <- e.Run(ctx) }()
	e.server = httptest.NewServer(e.Handler())
	c.nodes = append(c.nodes, e)
	t.Cleanup(func() { e.end(t) })
	return e
}

// end drains the node and waits for it. It is safe to repeat.
func (e *edge) end(t testing.TB) {
	e.stop()
	if e.done == nil {
		return
	}
	select {
	case err := <-e.done:
		if err != nil {
			t.Errorf("Run: %v", err)
		}
	case <-time.After(patience):
		t.Error("Run did not return")
	}
	e.done = nil
	e.server.Close()
}

func (e *edge) url(path string) string { return "ws" + strings.TrimPrefix(e.server.URL, "http") + path }

// A peer is a raw connection: what a test sends is what the node gets.
type peer struct {
	t    *testing.T
	conn *websocket.Conn
	line *lineConn      // of a peer without a WebSocket, conn is nil
	skip func(any) bool // frames that want does not look at
}

func dial(t *testing.T, e *edge, path string) *peer {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn, _, err := websocket.Dial(ctx, e.url(path), &websocket.DialOptions{Subprotocols: []string{wire.Subprotocol}})
	if err != nil {
		t.Fatalf("dial: %v", err)
	}
	conn.SetReadLimit(1 << 20)
	t.Cleanup(func() { conn.CloseNow() })
	return &peer{t: t, conn: conn}
}

// enter dials and says hello.
func enter(t *testing.T, e *edge, user string) *peer {
	t.Helper()
	p := dial(t, e, "/ws")
	p.send(wire.Command{Type: "hello", ID: 1, User: user})
	want[*wire.Welcome](p)
	return p
}

func (p *peer) send(c wire.Command) { p.t.Helper(); p.write(string(c.Append(nil))) }

func (p *peer) write(text string) {
	p.t.Helper()
	if p.line != nil {
		p.line.write(p.t, text+"\n")
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := p.conn.Write(ctx, websocket.MessageText, []byte(text)); err != nil {
		p.t.Fatalf("write: %v", err)
	}
}

func (p *peer) read() ([]byte, error) {
	if p.line != nil {
		return p.line.read()
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	_, b, err := p.conn.Read(ctx)
	return b, err
}

// next returns the next frame.
func (p *peer) next() any {
	p.t.Helper()
	b, err := p.read()
	if err != nil {
		p.t.Fatalf("read: %v", err)
	}
	f, err := wire.ParseFrame(b)
	if err != nil || f == nil {
		p.t.Fatalf("frame %s: %v", b, err)
	}
	return f
}

// want returns the next frame of type T. Presence frames, which come when they come, are
// passed over; any other frame in between fails the test.
func want[T any](p *peer) T {
	p.t.Helper()
	for {
		f := p.next()
		if t, ok := f.(T); ok {
			return t
		}
		if _, ok := f.(*wire.Presence); ok {
			continue
		}
		if p.skip != nil && p.skip(f) {
			continue
		}
		var zero T
		b, _ := json.Marshal(f)
		p.t.Fatalf("got %T %s, want %T", f, b, zero)
	}
}

func (p *peer) join(c wire.Command) *wire.Joined {
	p.t.Helper()
	c.Type, c.ID = "join", 2
	p.send(c)
	ok := want[*wire.OK](p)
	if ok.ID != 2 || ok.Topic != c.Topic || ok.Joined == nil {
		p.t.Fatalf("join answered %+v", ok)
	}
	return ok.Joined
}

// say publishes text and returns its receipt, passing over the message itself.
func (p *peer) say(topic, text string) *wire.Published {
	p.t.Helper()
	p.send(wire.Command{Type: "publish", ID: 3, Topic: topic, Data: quote(text), NoEcho: true})
	for {
		switch f := p.next().(type) {
		case *wire.OK:
			if f.ID != 3 || f.Published == nil {
				p.t.Fatalf("publish answered %+v", f)
			}
			return f.Published
		case *wire.Error:
			p.t.Fatalf("publish: %v", f)
		}
	}
}

func quote(text string) json.RawMessage {
	b, _ := json.Marshal(text)
	return b
}

// closed waits for the close frame and returns its code.
func (p *peer) closed() wire.CloseCode {
	p.t.Helper()
	for {
		if _, err := p.read(); err != nil {
			code := websocket.CloseStatus(err)
			if code < 0 {
				p.t.Fatalf("no close frame: %v", err)
			}
			return wire.CloseCode(code)
		}
	}
}

// text is what a message says.
func text(m *wire.Message) string {
	var s string
	if json.Unmarshal(m.Data, &s) != nil {
		return fmt.Sprintf("not a string: %s", m.Data)
	}
	return s
}
