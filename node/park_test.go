package node_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/rookery-chat/rookery/node"
	"github.com/rookery-chat/rookery/wire"
)

// What users see does not depend on whether their sessions can be parked: the same tests for
// sessions that keep their goroutines.
func TestAwake(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]func(*testing.T){
		"Reach": TestAnyNodeReachesEveryClient, "Resume": TestResumeOnAnotherNode, "DirectMessage": TestDirectMessage,
		"History": TestHistory, "Roster": TestRoster, "Plain": TestPlain, "BadFrames": TestBadFrames,
		"CloseCodes": TestCloseCodes, "NoHello": TestNoHello, "Drain": TestDrain, "Grace": TestGrace, "Expiry": TestExpiry,
		"LineTalk": TestLineTalk, "LinesInPieces": TestLinesInPieces, "LineHalfClose": TestLineHalfClose,
		"LineDrain": TestLineDrain, "Halves": TestHalves, "Pings": TestPings, "Reset": TestReset, "UnansweredClose": TestUnansweredClose,
	} {
		t.Run(name, test)
	}
}

// isAwake tells whether a test is one of TestAwake's.
func isAwake(t testing.TB) bool { return strings.HasPrefix(t.Name(), "TestAwake") }

// readers counts the goroutines that read for sessions, of all nodes.
func readers() int {
	for size := 1 << 20; ; size *= 2 {
		b := make([]byte, size)
		if n := runtime.Stack(b, true); n < size {
			return strings.Count(string(b[:n]), "node.(*session).run(") + strings.Count(string(b[:n]), "node.(*session).resume(")
		}
	}
}

// await waits until a number is as wanted.
func await(t *testing.T, what string, wanted int, number func() int) {
	t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		got := number()
		if got == wanted {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%s: %d, want %d", what, got, wanted)
		}
	}
}

// Sessions whose peers say nothing need no goroutine, and are as quick to answer and to hear as ever.
// Not parallel: it counts the goroutines of all sessions that there are.
func TestParkedSessionsNeedNoGoroutine(t *testing.T) {
	c := newCluster(t, 1, nil)
	e := c.nodes[0]
	addr := serveTCP(t, e)
	var peers []*peer
	for i := range 100 {
		peers = append(peers, enter(t, e, fmt.Sprint("web", i)), enterLine(t, addr, fmt.Sprint("line", i)))
	}
	plain := dial(t, e, "/plain?as=plain&topic=lobby")
	await(t, "readers of parked sessions", 0, readers)
	for _, p := range peers {
		p.join(wire.Command{Topic: "lobby"})
	}
	plain.write("hello")
	for _, p := range peers {
		if m := want[*wire.Message](p); text(m) != "hello" || m.From != "plain" {
			t.Errorf("got %+v", m)
		}
	}
	await(t, "readers after all have spoken", 0, readers)
	for i := range 10 {
		r := enterRaw(t, e, fmt.Sprint("raw", i))
		r.writeRaw(masked(maskedPong, ""))
		r.writeRaw(masked(maskedPing, "ping"))
		go r.conn.Read(context.Background()) // until the end of the test
		select {
		case <-r.pongs:
		case <-time.After(patience):
			t.Fatal("no pong")
		}
	}
	await(t, "readers after pings and pongs", 0, readers)
}

// Nor do they need much memory: a field that every session has is thought about.
func TestIdleSize(t *testing.T) {
	t.Parallel()
	const most = 1100
	if node.IdleSize > most {
		t.Errorf("%d bytes, want at most %d: is there another place for what came, or should there be more?", node.IdleSize, most)
	}
	t.Logf("%d bytes", node.IdleSize)
}

// Where they cannot be parked, they have one.
func TestAwakeSessionsHaveAGoroutine(t *testing.T) {
	c := newCluster(t, 0, nil)
	e := c.run(t, node.Options{Drain: 2 * time.Second}, c.facts, true)
	for i := range 10 {
		enter(t, e, fmt.Sprint("user", i))
	}
	if n := readers(); n != 10 {
		t.Errorf("10 sessions have %d readers", n)
	}
}

// What sessions borrow to read can be made when there is too little: the library takes our handshake.
func TestLibrary(t *testing.T) {
	t.Parallel()
	node.MakeLibraries() // panics, or not
}

// A rawPeer can also write bytes past its WebSocket library.
type rawPeer struct {
	*peer
	raw   net.Conn
	pongs chan string
}

func enterRaw(t *testing.T, e *edge, user string) *rawPeer {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	r := &rawPeer{pongs: make(chan string, 100)}
	dialer := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, network, addr string) (c net.Conn, err error) {
		c, err = new(net.Dialer).DialContext(ctx, network, addr)
		r.raw = c
		return c, err
	}}}
	conn, _, err := websocket.Dial(ctx, e.url("/ws"), &websocket.DialOptions{
		HTTPClient:     dialer,
		OnPongReceived: func(_ context.Context, payload []byte) { r.pongs <- string(payload) },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.CloseNow() })
	r.peer = &peer{t: t, conn: conn}
	r.send(wire.Command{Type: "hello", ID: 1, User: user})
	want[*wire.Welcome](r.peer)
	return r
}

func (r *rawPeer) writeRaw(b []byte) {
	r.t.Helper()
	r.raw.SetWriteDeadline(time.Now().Add(patience))
	if _, err := r.raw.Write(b); err != nil {
		r.t.Fatal(err)
	}
}

// masked is a frame as clients send it (RFC 6455, section 5.2), of at most 125 bytes.
func masked(first byte, payload string) []byte {
	key := [4]byte{1, 2, 3, 4}
	b := append([]byte{first, 0x80 | byte(len(payload))}, key[:]...)
	for i := range len(payload) {
		b = append(b, payload[i]^key[i%4])
	}
	return b
}

const (
	maskedText     = 0x81
	maskedContinue = 0x80
	maskedBegin    = 0x01
	maskedPing     = 0x89
	maskedPong     = 0x8a
)

// Peers that send half a frame, as many as like, are in nobody's way, and may go on when they like.
func TestHalves(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 1, nil)
	e := c.nodes[0]
	addr := serveTCP(t, e)
	const ping = `{"type":"ping","id":9}`
	whole := masked(maskedText, ping)
	var halves []*rawPeer
	var lines []*peer
	for cut := range len(whole) - 1 {
		r := enterRaw(t, e, fmt.Sprint("half", cut))
		r.writeRaw(whole[:cut+1])
		halves = append(halves, r)
		l := enterLine(t, addr, fmt.Sprint("line", cut))
		l.line.write(t, ping[:min(cut+1, len(ping))])
		lines = append(lines, l)
	}
	other := enter(t, e, "other")
	for range 3 {
		other.join(wire.Command{Topic: "lobby"})
	}
	for cut, r := range halves {
		for _, b := range whole[cut+1:] {
			r.writeRaw([]byte{b})
		}
		if ok := want[*wire.OK](r.peer); ok.ID != 9 {
			t.Errorf("cut after byte %d: %+v", cut, ok)
		}
		lines[cut].line.write(t, ping[min(cut+1, len(ping)):]+"\n")
		if ok := want[*wire.OK](lines[cut]); ok.ID != 9 {
			t.Errorf("line %d: %+v", cut, ok)
		}
		r.send(wire.Command{Type: "ping", ID: 10})
		if ok := want[*wire.OK](r.peer); ok.ID != 10 {
			t.Errorf("then: %+v", ok)
		}
	}
}

// Pings are answered with what they carry, pongs are taken, wherever they stand.
func TestPings(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 1, nil)
	r := enterRaw(t, c.nodes[0], "alice")
	text := func(id int) string { return fmt.Sprintf(`{"type":"ping","id":%d}`, id) }
	long := strings.Repeat("x", 125)
	for i, step := range []struct {
		frames [][]byte
		pongs  []string
		id     uint64 // of the ping among them in JSON, 0: there is none
	}{
		{frames: [][]byte{masked(maskedPing, "one")}, pongs: []string{"one"}},
		{frames: [][]byte{masked(maskedPing, "")}, pongs: []string{""}},
		{frames: [][]byte{masked(maskedPing, long), masked(maskedPong, "unasked"), masked(maskedPing, "two")}, pongs: []string{long, "two"}},
		{frames: [][]byte{masked(maskedText, text(7)), masked(maskedPing, "behind")}, pongs: []string{"behind"}, id: 7},
		{frames: [][]byte{masked(maskedPing, "before"), masked(maskedText, text(8))}, pongs: []string{"before"}, id: 8},
		{frames: [][]byte{masked(maskedBegin, text(9)[:5]), masked(maskedPing, "within"), masked(maskedContinue, text(9)[5:])}, pongs: []string{"within"}, id: 9},
	} {
		for _, whole := range []bool{true, false} {
			all := slices.Concat(step.frames...)
			if whole {
				r.writeRaw(all)
			} else {
				for _, b := range all {
					r.writeRaw([]byte{b})
				}
			}
			if step.id != 0 {
				if ok := want[*wire.OK](r.peer); ok.ID != step.id {
					t.Errorf("step %d: %+v", i, ok)
				}
			}
			r.send(wire.Command{Type: "ping", ID: 100}) // the library takes pongs only while it reads
			want[*wire.OK](r.peer)
			for _, p := range step.pongs {
				select {
				case got := <-r.pongs:
					if got != p {
						t.Errorf("step %d: pong %q, want %q", i, got, p)
					}
				default:
					t.Errorf("step %d: no pong %q", i, p)
				}
			}
		}
	}
}

// Whose connection is reset, or ends, in the midst of silence is lost: the user leaves after the grace.
func TestReset(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 1, nil)
	e := c.nodes[0]
	watch := enter(t, e, "watch")
	j := watch.join(wire.Command{Topic: "lobby", Presence: true})
	reset, ended, line := enterRaw(t, e, "reset"), enterRaw(t, e, "ended"), enterLine(t, serveTCP(t, e), "line")
	for _, p := range []*peer{reset.peer, ended.peer, line} {
		p.join(wire.Command{Topic: "lobby"})
	}
	watch.until(j.Roster.Members, "ended", "line", "reset", "watch")
	began := time.Now()
	reset.raw.(*net.TCPConn).SetLinger(0)
	reset.raw.Close()
	ended.raw.Close()
	line.line.SetLinger(0)
	line.line.Close()
	watch.until([]string{"ended", "line", "reset", "watch"}, "watch")
	if took := time.Since(began); took < 4*time.Second {
		t.Errorf("seen leaving after %v: lost connections have 5 s to come back", took)
	}
}

// A peer that is kicked, and does not answer the close frame, is gone in the end.
func TestUnansweredClose(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 1, nil)
	e := c.nodes[0]
	watch := enter(t, e, "watch")
	j := watch.join(wire.Command{Topic: "lobby", Presence: true})
	mute := enterRaw(t, e, "mute")
	mute.join(wire.Command{Topic: "lobby"})
	watch.until(j.Roster.Members, "mute", "watch")
	if n, err := e.Kick(t.Context(), "mute"); n != 1 || err != nil {
		t.Fatalf("Kick: %d, %v", n, err)
	}
	watch.until([]string{"mute", "watch"}, "watch")
}
