package node_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/rookery-chat/rookery/bus"
	"github.com/rookery-chat/rookery/node"
	"github.com/rookery-chat/rookery/proxy"
	"github.com/rookery-chat/rookery/wire"
)

// A lineConn is what nc has: a connection that carries one frame a line.
type lineConn struct {
	*net.TCPConn
	lines *bufio.Reader
}

func (c *lineConn) write(t *testing.T, bytes string) {
	t.Helper()
	c.SetWriteDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(c, bytes); err != nil {
		t.Fatalf("write: %v", err)
	}
}

// read returns the next line without its end. A last line without one is an error.
func (c *lineConn) read() ([]byte, error) {
	c.SetReadDeadline(time.Now().Add(patience))
	b, err := c.lines.ReadBytes('\n')
	if err == io.EOF && len(b) > 0 {
		err = fmt.Errorf("cut off: %q", b)
	}
	return bytes.TrimSuffix(b, []byte("\n")), err
}

// serveTCP makes a node take raw TCP sessions until it has ended, and returns where.
func serveTCP(t testing.TB, e *edge) string {
	t.Helper()
	return serveTCPOn(t, e, func(ln net.Listener) net.Listener { return ln })
}

// serveTCPOn is serveTCP behind something.
func serveTCPOn(t testing.TB, e *edge, behind func(net.Listener) net.Listener) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ln = behind(ln)
	ctx, stop := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- e.ServeTCP(ctx, ln) }()
	t.Cleanup(func() {
		e.end(t)
		stop()
		if err := <-served; err != nil {
			t.Errorf("ServeTCP: %v", err)
		}
	})
	return ln.Addr().String()
}

func dialLine(t *testing.T, addr string) *peer {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return &peer{t: t, line: &lineConn{conn.(*net.TCPConn), bufio.NewReader(conn)}}
}

// enterLine dials and says hello.
func enterLine(t *testing.T, addr, user string) *peer {
	t.Helper()
	p := dialLine(t, addr)
	p.send(wire.Command{Type: "hello", ID: 1, User: user})
	want[*wire.Welcome](p)
	return p
}

// leaves reads what is left, and returns it when the node has ended the connection in order.
func (p *peer) leaves() (frames []any) {
	p.t.Helper()
	for {
		b, err := p.read()
		if errors.Is(err, io.EOF) {
			return frames
		}
		if err != nil {
			p.t.Fatalf("after %d frames: %v", len(frames), err)
		}
		f, err := wire.ParseFrame(b)
		if err != nil || f == nil {
			p.t.Fatalf("frame %q: %v", b, err)
		}
		frames = append(frames, f)
	}
}

// Somebody with nc and somebody with a WebSocket talk as if there were no difference.
func TestLineTalk(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 2, nil)
	alice, bob := enterLine(t, serveTCP(t, c.nodes[0]), "alice"), enter(t, c.nodes[1], "bob")
	if j := alice.join(wire.Command{Topic: "lobby", Presence: true}); !slices.Equal(j.Roster.Members, []string{"alice"}) {
		t.Errorf("members: %+v", j.Roster)
	}
	bob.join(wire.Command{Topic: "lobby"})
	if f := alice.next().(*wire.Presence); !slices.Equal(f.Joined, []string{"bob"}) {
		t.Errorf("presence: %+v", f)
	}
	bob.say("lobby", "hello\nyou")
	if m := want[*wire.Message](alice); text(m) != "hello\nyou" || m.From != "bob" || m.Offset != 1 {
		t.Errorf("alice got %+v", m)
	}
	alice.say("lobby", "hi")                                           // and gets a skip of her own
	bob.skip = func(f any) bool { _, ok := f.(*wire.Skip); return ok } // of his own, where it came after the ok
	if m := want[*wire.Message](bob); text(m) != "hi" || m.From != "alice" || m.Offset != 2 {
		t.Errorf("bob got %+v", m)
	}
	alice.skip = func(f any) bool { _, ok := f.(*wire.Skip); return ok }
	alice.send(wire.Command{Type: "history", ID: 5, Topic: "lobby"})
	if h := want[*wire.History](alice); len(h.Messages) != 2 || h.ID != 5 {
		t.Errorf("history: %+v", h)
	}
	bob.send(wire.Command{Type: "signal", Topic: "lobby", Data: quote("typing")})
	if s := want[*wire.Signal](alice); s.From != "bob" {
		t.Errorf("signal: %+v", s)
	}
	alice.send(wire.Command{Type: "members", ID: 6, Topic: "lobby"})
	if m := want[*wire.Members](alice); m.ID != 6 || !slices.Equal(m.Members, []string{"alice", "bob"}) {
		t.Errorf("members: %+v", m)
	}
	alice.write(`{"type":"dance","id":7}`)
	if e := want[*wire.Error](alice); e.ID != 7 || e.Code != wire.BadRequest {
		t.Errorf("a bad frame: %+v", e)
	}
	if _, err := c.nodes[1].Kick(t.Context(), "alice"); err != nil {
		t.Fatal(err)
	}
	if left := alice.leaves(); len(left) != 1 || *left[0].(*wire.Goodbye) != (wire.Goodbye{Code: "kicked"}) {
		t.Errorf("kicked with %+v", left)
	}
}

// Lines come as TCP has cut them: in pieces, several at once, ended by LF or CRLF, with
// nothing in between.
func TestLinesInPieces(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 1, nil)
	p := enterLine(t, serveTCP(t, c.nodes[0]), "alice")
	ping := func(id int) string { return fmt.Sprintf(`{"type":"ping","id":%d}`, id) }
	answers := func(ids ...uint64) {
		t.Helper()
		for _, id := range ids {
			if ok := want[*wire.OK](p); ok.ID != id {
				t.Fatalf("answer to %d, want %d", ok.ID, id)
			}
		}
	}
	for _, b := range []byte(ping(1) + "\r\n") {
		p.line.write(t, string(b))
		runtime.Gosched()
	}
	answers(1)
	p.line.write(t, "\n\r\n"+ping(2)+"\n"+ping(3)+"\r\n\n  "+ping(4)+"  \n"+ping(5)[:9])
	answers(2, 3, 4)
	p.line.write(t, ping(5)[9:]+"\n")
	answers(5)
	p.line.write(t, "\n")
	var many strings.Builder
	var ids []uint64
	for id := 10; id < 500; id++ {
		many.WriteString(ping(id) + "\n")
		ids = append(ids, uint64(id))
	}
	p.line.write(t, many.String())
	answers(ids...)
	// The largest frame that is taken, and then one that is no larger for its CRLF.
	for id, end := range []string{"\n", "\r\n"} {
		frame := fmt.Sprintf(`{"type":"ping","id":%d,"x":"`, 1000+id)
		p.line.write(t, frame+strings.Repeat("x", wire.MaxFrame-len(frame)-2)+`"}`+end)
		answers(uint64(1000 + id))
	}
}

// A trusted proxy tells whose connection it brings; in place of what is no header, nothing gets in.
func TestLineBehindProxy(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 1, nil)
	trusted, err := proxy.ParseTrusted([]string{"loopback"})
	if err != nil {
		t.Fatal(err)
	}
	addr := serveTCPOn(t, c.nodes[0], func(ln net.Listener) net.Listener { return proxy.Listen(ln, trusted) })
	alice := dialLine(t, addr)
	alice.line.write(t, "PROXY TCP4 203.0.113.7 127.0.0.1 4711 7000\r\n")
	alice.send(wire.Command{Type: "hello", ID: 1, User: "alice"})
	want[*wire.Welcome](alice)
	if s, _, err := c.nodes[0].Sessions(t.Context(), "alice"); err != nil || len(s) != 1 || s[0].Address != "203.0.113.7:4711" {
		t.Errorf("sessions: %+v, %v", s, err)
	}
	bad := dialLine(t, addr)
	bad.line.write(t, "PROXY nonsense\r\n"+`{"type":"hello","id":1,"user":"mallory"}`+"\n")
	if b, err := bad.read(); err == nil {
		t.Errorf("told %q", b)
	}
}

// A raw TCP session that was lost goes on where it was, on another node.
func TestLineResume(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 2, nil)
	alice := enterLine(t, serveTCP(t, c.nodes[0]), "alice")
	j := alice.join(wire.Command{Topic: "lobby"})
	publish(t, c.nodes[1], "lobby", 1, 3)
	wantMessages(t, alice, 1, 3)
	alice.line.SetLinger(0) // a reset: lost
	alice.line.Close()
	publish(t, c.nodes[1], "lobby", 4, 300)
	alice = dialLine(t, serveTCP(t, c.nodes[1]))
	alice.send(wire.Command{Type: "hello", ID: 1, User: "alice", Resume: map[string]wire.Position{"lobby": {Epoch: j.Epoch, Offset: 3}}})
	if w := want[*wire.Welcome](alice); !w.Topics["lobby"].Recovered || w.Topics["lobby"].After != 3 {
		t.Errorf("welcome: %+v", w.Topics["lobby"])
	}
	wantMessages(t, alice, 4, 300)
}

// A draining node's last word is a goodbye; then it ends the connection, though nc does not.
func TestLineDrain(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 1, &node.Options{Drain: 5 * time.Second})
	addr := serveTCP(t, c.nodes[0])
	alice, silent := enterLine(t, addr, "alice"), dialLine(t, addr)
	alice.join(wire.Command{Topic: "lobby"})
	c.nodes[0].stop()
	for _, p := range []*peer{alice, silent} {
		left := p.leaves()
		if len(left) != 1 {
			t.Fatalf("left with %+v", left)
		}
		if g := left[0].(*wire.Goodbye); g.Code != "draining" || !g.Reconnect || g.After < 0 || g.After > 2000 {
			t.Errorf("goodbye: %+v", g)
		}
	}
	late := dialLine(t, addr).leaves()
	if e := late[0].(*wire.Error); len(late) != 2 || e.Code != wire.Unavailable || !e.Retry {
		t.Errorf("one who comes too late is told %+v", late)
	}
	alice.line.Close()
	silent.line.Close()
}

// What cannot go on ends with an error that says what to do, and a goodbye. What was sent
// behind it is not looked at, be it a web page's request whose body holds good frames.
func TestLineBreaches(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 1, nil)
	addr := serveTCP(t, c.nodes[0])
	hello := `{"type":"hello","id":1,"user":"mallory"}` + "\n"
	frames := hello + `{"type":"publish","topic":"@victim","data":1}` + "\n"
	victim := enter(t, c.nodes[0], "victim")
	for _, row := range []struct {
		name, bytes string
		code        wire.Code
		goodbye     wire.CloseCode
	}{
		{"GET", "GET / HTTP/1.1\r\nHost: x\r\n\r\n", wire.BadRequest, wire.ClosePolicy},
		{"POST", "POST / HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\n\r\n" + frames, wire.BadRequest, wire.ClosePolicy},
		{"POST after an empty line", "\r\nPOST / HTTP/1.1\r\n\r\n" + frames, wire.BadRequest, wire.ClosePolicy},
		{"TLS", "\x16\x03\x01\x02\x00\x01", wire.BadRequest, wire.ClosePolicy},
		{"NUL without a line", "\x00", wire.BadRequest, wire.ClosePolicy},
		{"invalid UTF-8 without a line", "\xff", wire.BadRequest, wire.ClosePolicy},
		{"PROXY", "PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n" + frames, wire.BadRequest, wire.ClosePolicy},
		{"no JSON", "{hello\n" + frames, wire.BadRequest, wire.ClosePolicy},
		{"no hello", `{"type":"ping","id":1}` + "\n" + frames, wire.BadRequest, wire.ClosePolicy},
		{"no name", `{"type":"hello","id":1}` + "\n" + frames, wire.Unauthorized, wire.CloseUnauthorized},
		{"invalid UTF-8", hello + "{\"type\":\"ping\",\"x\":\"\xc3\x28\"}\n" + frames, wire.BadRequest, wire.CloseInvalid},
		{"NUL", hello + "{\"type\":\"ping\"}\x00\n" + frames, wire.BadRequest, wire.CloseUnsupported},
		{"too long", hello + strings.Repeat("x", wire.MaxFrame+1) + "\n" + frames, wire.TooLarge, wire.CloseTooBig},
		{"too long for a hello", "{" + strings.Repeat(" ", wire.MaxFrame+100), wire.TooLarge, wire.CloseTooBig},
		{"too long by far", hello + strings.Repeat("x", 900_000), wire.TooLarge, wire.CloseTooBig},
		{"too long without an end", hello + strings.Repeat("x", wire.MaxFrame+3), wire.TooLarge, wire.CloseTooBig},
	} {
		t.Run(row.name, func(t *testing.T) {
			p := dialLine(t, addr)
			go io.WriteString(p.line, row.bytes) // more than the node takes may fail half-way
			if strings.HasPrefix(row.bytes, hello) {
				want[*wire.Welcome](p)
			}
			left := p.leaves()
			if len(left) != 2 {
				t.Fatalf("left with %+v", left)
			}
			if e, ok := left[0].(*wire.Error); !ok || e.Code != row.code || e.Message == "" || e.Retry {
				t.Errorf("told %+v, want %s", left[0], row.code)
			}
			if g, ok := left[1].(*wire.Goodbye); !ok || g.Code != row.goodbye.String() || g.Reconnect {
				t.Errorf("left with %+v, want %s", left[1], row.goodbye)
			}
			p.line.Close()
		})
	}
	publish(t, c.nodes[0], "@victim", 1, 1)
	wantMessages(t, victim, 1, 1)
}

// Who says no hello in time is told so; half a line is none.
func TestLineNoHello(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 1, nil)
	addr := serveTCP(t, c.nodes[0])
	for _, begun := range []string{"", "\n", `{"type":"hel`} {
		t.Run(begun, func(t *testing.T) {
			t.Parallel()
			p := dialLine(t, addr)
			p.line.write(t, begun)
			left := p.leaves()
			if e, ok := left[0].(*wire.Error); !ok || e.Code != wire.BadRequest || !strings.Contains(e.Message, "hello") {
				t.Errorf("told %+v", left[0])
			}
		})
	}
}

// Who ends his side, as `printf … | nc -N` does, still gets all answers, however slowly he takes
// them; a last line needs no end. Others see him leave at once, and not as one who is lost.
func TestLineHalfClose(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 1, nil)
	addr := serveTCP(t, c.nodes[0])
	publish(t, c.nodes[0], "lobby", 1, 300)
	watch := enter(t, c.nodes[0], "watch")
	j := watch.join(wire.Command{Topic: "door", Presence: true})
	bob := enter(t, c.nodes[0], "bob")
	bob.join(wire.Command{Topic: "door"})
	p := dialLine(t, addr)
	p.line.write(t, `{"type":"hello","user":"alice"}`+"\n"+`{"type":"join","id":2,"topic":"door"}`+"\n"+`{"type":"join","id":3,"topic":"lobby"}`+"\n")
	watch.until(j.Roster.Members, "alice", "bob", "watch")
	script := ""
	const pages = 40 // more than the connection holds
	for i := range pages {
		script += fmt.Sprintf(`{"type":"history","id":%d,"topic":"lobby","limit":250}`+"\n", 10+i)
	}
	p.line.write(t, script+`{"type":"ping","id":99}`)
	p.line.CloseWrite()
	want[*wire.Welcome](p)
	for i := range pages + 3 {
		if i < 2 || i == pages+2 {
			if ok := want[*wire.OK](p); i < 2 && ok.ID != uint64(2+i) || i > 2 && ok.ID != 99 {
				t.Errorf("answer %d: %+v", i, ok)
			}
			continue
		}
		if h := want[*wire.History](p); h.ID != uint64(10+i-2) || len(h.Messages) != 250 {
			t.Fatalf("answer %d: %d messages", h.ID, len(h.Messages))
		}
	}
	if left := p.leaves(); len(left) != 0 {
		t.Errorf("and then %+v", left)
	}
	bob.conn.CloseNow() // lost: seen leaving later than alice
	watch.until([]string{"alice", "bob", "watch"}, "bob", "watch")
}

// A peer that does not read is not in the way of others, and finds everything when it does.
func TestLineSlowReader(t *testing.T) {
	t.Parallel()
	c := newClusterWith(t, 1, nil, &bus.Options{LogLength: 20_000})
	e := c.nodes[0]
	slow, quick := enterLine(t, serveTCP(t, e), "slow"), enter(t, e, "quick")
	slow.join(wire.Command{Topic: "lobby"})
	quick.join(wire.Command{Topic: "lobby"})
	const count = 5_000
	padding := strings.Repeat(".", 1000)
	go func() {
		for i := 1; i <= count; i++ {
			e.Publish(t.Context(), "lobby", node.Publication{Data: quote(fmt.Sprint(i, padding)), From: "backend"})
		}
	}()
	for _, p := range []*peer{quick, slow} {
		for i := 1; i <= count; i++ {
			if m := want[*wire.Message](p); m.Offset != uint64(i) || text(m) != fmt.Sprint(i, padding) {
				t.Fatalf("message %d came as number %d", i, m.Offset)
			}
		}
	}
}

// The node sends no pings to raw TCP sessions and wants none: one that is silent for longer than
// a WebSocket would be let stays. One that takes nothing at all is closed in the end.
func TestLineLife(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 1, &node.Options{Heartbeat: 3 * time.Second, Drain: time.Second})
	e := c.nodes[0]
	addr := serveTCP(t, e)
	silent := enterLine(t, addr, "silent")
	pings := make(chan struct{}, 100)
	pinged, _, err := websocket.Dial(t.Context(), e.url("/ws"), &websocket.DialOptions{
		OnPingReceived: func(context.Context, []byte) bool { pings <- struct{}{}; return true },
	})
	if err != nil {
		t.Fatal(err)
	}
	defer pinged.CloseNow()
	p := &peer{t: t, conn: pinged}
	p.send(wire.Command{Type: "hello", ID: 1, User: "pinged"})
	want[*wire.Welcome](p)
	go pinged.Read(t.Context())
	for range 2 { // so long that the first of them alone would have been too much silence
		select {
		case <-pings:
		case <-time.After(patience):
			t.Fatal("no pings")
		}
	}
	silent.send(wire.Command{Type: "ping", ID: 2})
	if ok := want[*wire.OK](silent); ok.ID != 2 {
		t.Errorf("the silent one: %+v", ok)
	}

	stuck := enterLine(t, addr, "stuck")
	stuck.join(wire.Command{Topic: "lobby"})
	stuck.join(wire.Command{Topic: "door"})
	watch := enterLine(t, addr, "watch")
	j := watch.join(wire.Command{Topic: "door", Presence: true})
	for range 300 {
		if _, err := e.Publish(t.Context(), "lobby", node.Publication{Data: quote(strings.Repeat("x", 60_000))}); err != nil {
			t.Fatal(err)
		}
	}
	watch.until(j.Roster.Members, "stuck", "watch")
	watch.until([]string{"stuck", "watch"}, "watch")
}

// Connections beyond the rate are told when to come back.
func TestLineAdmission(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 1, &node.Options{Handshakes: 1, Drain: time.Second})
	addr := serveTCP(t, c.nodes[0])
	refused := 0
	for range 20 {
		p := dialLine(t, addr)
		p.line.write(t, `{"type":"hello","id":1,"user":"alice"}`+"\n")
		f := p.next()
		if _, in := f.(*wire.Welcome); !in {
			refused++
			left := p.leaves()
			if e, ok := f.(*wire.Error); !ok || e.Code != wire.Unavailable || !e.Retry || len(left) != 1 {
				t.Fatalf("refused with %+v, %+v", f, left)
			}
			if g := left[0].(*wire.Goodbye); !g.Reconnect || g.After < 1000 {
				t.Fatalf("refused with %+v", g)
			}
		}
		p.line.Close()
	}
	if refused == 0 {
		t.Error("20 connections at once, one a second allowed, and none was refused")
	}
}
