package node_test

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"net"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rookery-chat/rookery/internal/rawtest"
	"github.com/rookery-chat/rookery/node"
	"github.com/rookery-chat/rookery/wire"
)

// unlimited lets a fuzzed peer do what it wants at once.
func unlimited() *node.Options {
	const most = 1 << 40
	return &node.Options{Drain: time.Second, Limits: node.Limits{Frames: most, Bytes: most, Publishes: most, UserPublishes: most}}
}

// A tally counts what a peer asked and what it was answered.
type tally map[uint64]int

func (a tally) asked(frame []byte) {
	if c, _ := wire.ParseCommand(frame); c.ID != 0 {
		a[c.ID]++
	}
}

// answered takes a frame of the node, which must be one. It is no answer to more than was asked.
func (a tally) answered(t *testing.T, frame []byte) {
	f, err := wire.ParseFrame(frame)
	if err != nil || f == nil {
		t.Fatalf("the node sent %q: %v", frame, err)
	}
	var id uint64
	switch f := f.(type) {
	case *wire.Welcome:
		id = f.ID
	case *wire.OK:
		id = f.ID
	case *wire.Error:
		id = f.ID
	case *wire.History:
		id = f.ID
	case *wire.Members:
		id = f.ID
	}
	if id == 0 {
		return
	}
	if a[id]--; a[id] < 0 {
		t.Fatalf("%d is answered more often than it was asked: %s", id, frame)
	}
}

// documented are the codes with which a node may end what a peer broke, or wanted.
var documented = []wire.CloseCode{wire.CloseNormal, wire.CloseProtocol, wire.CloseUnsupported, wire.CloseInvalid, wire.ClosePolicy, wire.CloseTooBig, wire.CloseUnauthorized}

// settled waits until no more goroutines run than before a peer came.
func settled(t *testing.T, before int) {
	t.Helper()
	for deadline := time.Now().Add(patience); runtime.NumGoroutine() > before; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			b := make([]byte, 1<<20)
			t.Fatalf("%d goroutines, before the peer came %d:\n%s", runtime.NumGoroutine(), before, b[:runtime.Stack(b, true)])
		}
	}
}

func quietly(tb testing.TB) {
	was := slog.Default()
	slog.SetDefault(slog.New(slog.DiscardHandler))
	tb.Cleanup(func() { slog.SetDefault(was) })
}

// Whatever a session says, line by line a text frame: every id is answered, once; then it lives, or it
// ended with a documented code; and nothing of it is left.
func FuzzSession(f *testing.F) {
	for _, script := range []string{
		`{"type":"join","id":2,"topic":"lobby","presence":true}` + "\n" + `{"type":"publish","id":3,"topic":"lobby","data":{"a":[1]},"key":"k"}` + "\n" +
			`{"type":"history","id":4,"topic":"lobby","limit":5}` + "\n" + `{"type":"leave","id":5,"topic":"lobby"}`,
		`{"type":"join","id":2,"topic":"r","recent":50}` + "\n" + `{"type":"join","id":2,"topic":"r","after":{"epoch":"x","offset":7}}` + "\n" + `{"type":"members","id":2,"topic":"r","cursor":"a"}`,
		`{"type":"publish","id":3,"topic":"@bob","data":"hi","echo":false}` + "\n" + `{"type":"read","id":6,"topic":"@alice","offset":9}` + "\n" + `{"type":"signal","id":7,"topic":"@bob","data":null}`,
		`{"type":"hello","id":9,"user":"bob","resume":{"*":{"epoch":"e","offset":1}}}` + "\n" + `{"type":"ping","id":1}` + "\n\n" + `{"type":"ping","id":18446744073709551615}`,
		`{"type":"history","id":1,"topic":"*","before":1}` + "\n" + `[]` + "\n" + "\xff" + "\n" + `{"type":"ping","id":2}`,
		`{"type":"publish","id":3,"topic":"@alice","data":` + strings.Repeat("[", 70) + strings.Repeat("]", 70) + `}`,
	} {
		f.Add(script)
	}
	quietly(f)
	c := newCluster(f, 1, unlimited())
	host := c.nodes[0].host()
	before := 0
	run := func(t *testing.T, script string) {
		p := rawtest.Enter(t, host, "alice")
		asked := tally{}
		const last = 1<<53 - 9 // no script's
		end := fmt.Sprintf(`{"type":"ping","id":%d}`, last)
		var sent []byte
		for line := range strings.SplitSeq(script, "\n") {
			asked.asked([]byte(line))
			sent = append(sent, rawtest.Frame(rawtest.TextWhole, line)...)
		}
		if asked[last] > 0 {
			return
		}
		asked.asked([]byte(end))
		go p.Send(append(sent, rawtest.Frame(rawtest.TextWhole, end)...))
		whole := false
		code := wire.CloseCode(p.Ended(func(text []byte) {
			asked.answered(t, text)
			if asked[last] == 0 && !whole {
				whole = true
				p.Send(rawtest.Frame(rawtest.CloseWhole, "\x03\xe8"))
			}
		}))
		p.Close()
		if !slices.Contains(documented, code) {
			t.Errorf("closed with %d", code)
		}
		if whole {
			for id, n := range asked {
				if n != 0 {
					t.Errorf("%d is asked and not answered, %d times", id, n)
				}
			}
		}
	}
	f.Fuzz(func(t *testing.T, script string) {
		if before == 0 { // what the node begins once and for all with its first session
			run(t, script)
			time.Sleep(50 * time.Millisecond)
			before = runtime.NumGoroutine()
		}
		run(t, script)
		settled(t, before)
	})
}

// Whatever bytes a session's connection carries: it ends with a documented code, or none when they
// end first, and nothing of it is left.
func FuzzBytes(f *testing.F) {
	ping := rawtest.Frame(rawtest.TextWhole, `{"type":"ping","id":2}`)
	for _, b := range [][]byte{
		ping, ping[:9], rawtest.Unmasked(rawtest.TextWhole, "x"), rawtest.Frame(rawtest.PingWhole, "p"), rawtest.Frame(rawtest.Final|rawtest.Binary, string(ping)),
		slices.Concat(rawtest.Frame(rawtest.Text, `{"type":"ping",`), rawtest.Frame(rawtest.PingWhole, ""), rawtest.Frame(rawtest.Final, `"id":3}`), ping),
		rawtest.Frame(rawtest.CloseWhole, "\x03\xe8bye"), rawtest.Frame(rawtest.CloseWhole, "\x00"), rawtest.Frame(rawtest.TextWhole|rawtest.RSV1, "\xaa"),
		[]byte("\x81\xff\xff\xff\xff\xff\xff\xff\xff\xff"), []byte("\x81\xfe\x00\x00mask"), []byte("GET / HTTP/1.1\r\n\r\n"),
	} {
		f.Add(b)
	}
	quietly(f)
	c := newCluster(f, 1, unlimited())
	host := c.nodes[0].host()
	before := 0
	f.Fuzz(func(t *testing.T, b []byte) {
		if before == 0 {
			rawtest.Enter(t, host, "alice").Close()
			time.Sleep(50 * time.Millisecond)
			before = runtime.NumGoroutine()
		}
		p := rawtest.Enter(t, host, "alice")
		go func() {
			p.Send(b)
			p.Conn.(*net.TCPConn).CloseWrite()
		}()
		code := wire.CloseCode(p.Ended(func(text []byte) {
			if f, err := wire.ParseFrame(text); err != nil || f == nil {
				t.Errorf("the node sent %q: %v", text, err)
			}
		}))
		p.Close()
		if code != 0 && !slices.Contains(documented, code) && !bytes.Contains(b, []byte{0x88}) { // a close frame's code comes back
			t.Errorf("closed with %d", code)
		}
		settled(t, before)
	})
}

// Whatever bytes a raw TCP connection carries, from its first: what comes back is frames, one
// a line, answers each id at most once, and nothing of it is left.
func FuzzTCP(f *testing.F) {
	hello := `{"type":"hello","id":1,"user":"alice"}` + "\n"
	for _, s := range []string{
		"", hello, hello + `{"type":"ping","id":2}`, hello + "\r\n\n" + `{"type":"join","id":2,"topic":"lobby"}` + "\r\n" + `{"type":"leave","id":3,"topic":"lobby"}` + "\n",
		"GET / HTTP/1.1\r\n\r\n", "\x16\x03\x01", "{", hello + "\x00\n" + hello, hello + "\xff\n", hello + hello, `{"type":"ping","id":1}` + "\n",
		hello + `{"type":"publish","id":2,"topic":"@bob","data":"` + "\\u2028" + `"}` + "\n",
	} {
		f.Add([]byte(s))
	}
	quietly(f)
	c := newCluster(f, 1, unlimited())
	addr := serveTCP(f, c.nodes[0])
	before := 0
	run := func(t *testing.T, b []byte) {
		asked := tally{}
		for line := range bytes.SplitSeq(b, []byte("\n")) {
			asked.asked(bytes.TrimSuffix(line, []byte("\r")))
		}
		p := rawtest.Dial(t, addr)
		go func() {
			p.Send(b)
			p.Conn.(*net.TCPConn).CloseWrite()
		}()
		p.SetReadDeadline(time.Now().Add(patience))
		got, err := io.ReadAll(p)
		if err != nil {
			t.Fatalf("%q: %v", got, err)
		}
		p.Close()
		lines := bytes.Split(got, []byte("\n"))
		for _, line := range lines[:len(lines)-1] {
			asked.answered(t, line)
		}
		if end := lines[len(lines)-1]; len(end) > 0 {
			t.Errorf("the last line is cut off: %q", end)
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if before == 0 {
			run(t, []byte(hello))
			time.Sleep(50 * time.Millisecond)
			before = runtime.NumGoroutine()
		}
		run(t, b)
		settled(t, before)
	})
}
