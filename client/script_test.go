package client_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"sync"
	"testing"

	"github.com/coder/websocket"

	"github.com/rookery-chat/rookery/client"
	"github.com/rookery-chat/rookery/wire"
)

// A script plays the node towards one client, connection by connection, over pipes, so that
// it works within testing/synctest.
type script struct {
	t     *testing.T
	conns chan net.Conn
	done  chan struct{} // closed by Close
	peers chan *peer    // connections that were upgraded

	mu     sync.Mutex
	refuse []func(http.ResponseWriter) // Guarded by mu. Answers to the next handshakes.
}

// newScript starts the node's side. It ends with the test.
func newScript(t *testing.T) *script {
	s := &script{t: t, conns: make(chan net.Conn), done: make(chan struct{}), peers: make(chan *peer, 16)}
	server := &http.Server{Handler: s}
	served := make(chan struct{})
	go func() { server.Serve(s); close(served) }()
	t.Cleanup(func() { server.Close(); <-served })
	return s
}

// client returns a client that connects to the script.
func (s *script) client(opts *client.Options) *client.Client {
	if opts == nil {
		opts = &client.Options{User: "alice"}
	}
	opts.HTTPClient = &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			ours, theirs := net.Pipe()
			select {
			case s.conns <- theirs:
				return ours, nil
			case <-s.done:
				return nil, net.ErrClosed
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		},
	}}
	return client.New("ws://script/ws", opts)
}

// Accept, Close and Addr make the script a net.Listener.
func (s *script) Accept() (net.Conn, error) {
	select {
	case c := <-s.conns:
		return c, nil
	case <-s.done:
		return nil, net.ErrClosed
	}
}
func (s *script) Close() error   { close(s.done); return nil }
func (s *script) Addr() net.Addr { return &net.UnixAddr{Name: "script"} }

// refuseNext answers the next handshakes otherwise than with an upgrade.
func (s *script) refuseNext(answers ...func(http.ResponseWriter)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refuse = append(s.refuse, answers...)
}

func (s *script) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	var refuse func(http.ResponseWriter)
	if len(s.refuse) > 0 {
		refuse, s.refuse = s.refuse[0], s.refuse[1:]
	}
	s.mu.Unlock()
	if refuse != nil {
		refuse(w)
		return
	}
	ws, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{wire.Subprotocol}})
	if err != nil {
		s.t.Error(err)
		return
	}
	ws.SetReadLimit(1 << 20)
	s.t.Cleanup(func() { ws.CloseNow() })
	s.peers <- &peer{t: s.t, ws: ws}
}

// A peer is the node's side of one connection.
type peer struct {
	t  *testing.T
	ws *websocket.Conn
}

// next reads the client's next frame.
func (p *peer) next() wire.Command {
	p.t.Helper()
	c, err := p.read()
	if err != nil {
		p.t.Fatalf("the client's next frame: %v", err)
	}
	return c
}

func (p *peer) read() (wire.Command, error) {
	_, b, err := p.ws.Read(context.Background())
	if err != nil {
		return wire.Command{}, err
	}
	return wire.ParseCommand(b)
}

// expect reads the client's next frame, which must be of a type.
func (p *peer) expect(typ string) wire.Command {
	p.t.Helper()
	c := p.next()
	if c.Type != typ {
		p.t.Fatalf("got a %s, want a %s: %+v", c.Type, typ, c)
	}
	return c
}

// ended waits until the client's side of the connection is closed, passing by what comes.
func (p *peer) ended() error {
	for {
		_, err := p.read()
		if bad := (*wire.Error)(nil); err != nil && !errors.As(err, &bad) {
			return err
		}
	}
}

type frame interface{ Append([]byte) []byte }

func (p *peer) send(frames ...frame) {
	p.t.Helper()
	for _, f := range frames {
		if err := p.ws.Write(context.Background(), websocket.MessageText, f.Append(nil)); err != nil {
			p.t.Errorf("sending a frame: %v", err)
		}
	}
}

// welcome reads the hello and lets the client in, resuming everything as it wants.
func (p *peer) welcome() wire.Command {
	p.t.Helper()
	hello := p.expect("hello")
	w := wire.Welcome{ID: hello.ID, Session: "s-" + hello.Was, User: "alice", Node: "n1", Heartbeat: 25, MaxFrame: 4096, Topics: map[string]wire.Joined{
		"*":      {Position: wire.Position{Epoch: "e*"}, Recovered: true},
		"@alice": {Position: wire.Position{Epoch: "e@"}, Recovered: true},
	}}
	for topic, at := range hello.Resume {
		w.Topics[topic] = wire.Joined{Position: at, After: at.Offset, Recovered: true}
	}
	p.send(w)
	return hello
}

// join lets the client into a room whose log ends at offset.
func (p *peer) join(epoch string, offset uint64) wire.Command {
	p.t.Helper()
	c := p.expect("join")
	p.send(wire.OK{ID: c.ID, Topic: c.Topic, Joined: &wire.Joined{Position: wire.Position{Epoch: epoch, Offset: offset}, After: offset, Recovered: true}})
	return c
}

func message(topic string, offset uint64) wire.Message {
	return wire.Message{Topic: topic, Offset: offset, From: "bob", Session: "s", Time: 1, Data: []byte(`"hi"`)}
}
