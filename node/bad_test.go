package node_test

import (
	"context"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/rookery-chat/rookery/node"
	"github.com/rookery-chat/rookery/wire"
)

// Bad frames get the documented error, and the session lives on.
func TestBadFrames(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 1, nil)
	p := enter(t, c.nodes[0], "alice")
	p.join(wire.Command{Topic: "lobby"})
	for _, row := range []struct {
		frame string
		id    uint64
		code  wire.Code
	}{
		{`not JSON`, 0, wire.BadRequest},
		{``, 0, wire.BadRequest},
		{`[]`, 0, wire.BadRequest},
		{`null`, 0, wire.BadRequest},
		{`{"type":"ping","id":4} {}`, 0, wire.BadRequest},
		{`{"type":"dance","id":4}`, 4, wire.BadRequest},
		{`{"id":4}`, 4, wire.BadRequest},
		{`{"type":"ping","id":-1}`, 0, wire.BadRequest},
		{`{"type":"ping","id":1.5}`, 0, wire.BadRequest},
		{`{"type":"hello","id":4,"user":"bob"}`, 4, wire.BadRequest},
		{`{"type":"join","id":4}`, 4, wire.BadRequest},
		{`{"type":"join","id":4,"topic":""}`, 4, wire.BadRequest},
		{`{"type":"join","id":4,"topic":"two words"}`, 4, wire.BadRequest},
		{`{"type":"join","id":4,"topic":"a{b}"}`, 4, wire.BadRequest},
		{`{"type":"join","id":4,"topic":"team*"}`, 4, wire.BadRequest},
		{`{"type":"join","id":4,"topic":"@"}`, 4, wire.BadRequest},
		{`{"type":"join","id":4,"topic":"@@bob"}`, 4, wire.BadRequest},
		{`{"type":"join","id":4,"topic":"a\u0000b"}`, 4, wire.BadRequest},
		{`{"type":"join","id":4,"topic":"` + strings.Repeat("x", 129) + `"}`, 4, wire.BadRequest},
		{`{"type":"join","id":4,"topic":"@bob"}`, 4, wire.Forbidden},
		{`{"type":"join","id":4,"topic":"@alice","presence":true}`, 4, wire.BadRequest},
		{`{"type":"join","id":4,"topic":"x","recent":-3}`, 4, wire.BadRequest},
		{`{"type":"join","id":4,"topic":"x","after":{"offset":1}}`, 4, wire.BadRequest},
		{`{"type":"publish","id":4,"topic":"lobby"}`, 4, wire.BadRequest},
		{`{"type":"publish","id":4,"topic":"elsewhere","data":1}`, 4, wire.Forbidden},
		{`{"type":"publish","id":4,"topic":"*","data":1}`, 4, wire.Forbidden},
		{`{"type":"publish","id":4,"topic":"lobby","data":1,"key":"` + strings.Repeat("k", 129) + `"}`, 4, wire.BadRequest},
		{`{"type":"publish","id":4,"topic":"lobby","data":` + strings.Repeat("[", 10_000) + strings.Repeat("]", 10_000) + `}`, 0, wire.BadRequest},
		{`{"type":"signal","id":4,"topic":"elsewhere","data":1}`, 4, wire.Forbidden},
		{`{"type":"history","id":4,"topic":"elsewhere"}`, 4, wire.Forbidden},
		{`{"type":"history","id":4,"topic":"@bob"}`, 4, wire.Forbidden},
		{`{"type":"members","id":4,"topic":"elsewhere"}`, 4, wire.Forbidden},
		{`{"type":"members","id":4,"topic":"@alice"}`, 4, wire.BadRequest},
		{`{"type":"read","id":4,"topic":"elsewhere","offset":1}`, 4, wire.Forbidden},
		{`{"type":"read","id":4,"topic":"lobby"}`, 4, wire.BadRequest},
		{`{"type":"leave","id":4,"topic":"elsewhere"}`, 4, wire.NotFound},
		{`{"type":"leave","id":4,"topic":"*"}`, 4, wire.BadRequest},
		{`{"type":"leave","id":4,"topic":"@alice"}`, 4, wire.BadRequest},
	} {
		p.write(row.frame)
		e := want[*wire.Error](p)
		if e.Code != row.code || e.ID != row.id || e.Message == "" || e.Retry {
			t.Errorf("%.80s: answered %+v, want %s for id %d", row.frame, e, row.code, row.id)
		}
	}
	p.write(`{"type":"ping","id":9,"unknown":[1,2,{"x":null}]}`)
	if ok := want[*wire.OK](p); ok.ID != 9 {
		t.Fatalf("after all that: %+v", ok)
	}
}

// What cannot go on is closed, with the documented code.
func TestCloseCodes(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 1, nil)
	hello := string(wire.Command{Type: "hello", ID: 1, User: "alice"}.Append(nil))
	for _, row := range []struct {
		name   string
		frames []string // a prefix "binary:" makes it a binary frame
		code   wire.CloseCode
	}{
		{"first frame is no hello", []string{`{"type":"ping","id":1}`}, wire.ClosePolicy},
		{"first frame is no JSON", []string{`hello`}, wire.ClosePolicy},
		{"hello without a name", []string{`{"type":"hello","id":1}`}, wire.CloseUnauthorized},
		{"hello with a bad name", []string{`{"type":"hello","id":1,"user":"a b"}`}, wire.ClosePolicy},
		{"hello as everyone", []string{`{"type":"hello","id":1,"user":"*"}`}, wire.ClosePolicy},
		{"hello as an inbox", []string{`{"type":"hello","id":1,"user":"@bob"}`}, wire.ClosePolicy},
		{"binary", []string{hello, "binary:x"}, wire.CloseUnsupported},
		{"invalid UTF-8", []string{hello, "\xff\xfe"}, wire.CloseInvalid},
		{"invalid UTF-8 in a string", []string{hello, `{"type":"publish","topic":"@alice","data":"` + "\xc3\x28" + `"}`}, wire.CloseInvalid},
		{"too large", []string{hello, `{"type":"publish","topic":"@alice","data":"` + strings.Repeat("x", wire.MaxFrame) + `"}`}, wire.CloseTooBig},
		{"too large by far", []string{hello, strings.Repeat("x", 900_000)}, wire.CloseTooBig},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			p := dial(t, c.nodes[0], "/ws")
			for _, f := range row.frames {
				typ := websocket.MessageText
				if data, ok := strings.CutPrefix(f, "binary:"); ok {
					typ, f = websocket.MessageBinary, data
				}
				p.conn.Write(context.Background(), typ, []byte(f)) // a large one may fail half-way
			}
			if got := p.closed(); got != row.code {
				t.Errorf("closed with %d, want %d", got, row.code)
			}
		})
	}
	t.Run("the node lives on", func(t *testing.T) {
		enter(t, c.nodes[0], "bob")
	})
}

func TestNoHello(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 1, nil)
	p := dial(t, c.nodes[0], "/ws")
	begin := time.Now()
	if e := want[*wire.Error](p); e.Code != wire.BadRequest || !strings.Contains(e.Message, "hello") {
		t.Errorf("told %+v", e)
	}
	if got := p.closed(); got != wire.ClosePolicy {
		t.Errorf("closed with %d, want %d", got, wire.ClosePolicy)
	}
	if waited := time.Since(begin); waited < 4*time.Second {
		t.Errorf("closed after %v, too early", waited)
	}
}

// Handshakes beyond the rate are told when to come back: the more of them, the later, within bounds.
func TestAdmission(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 1, &node.Options{Handshakes: 1, Drain: time.Second})
	var told []int
	for range 20 {
		conn, r, err := websocket.Dial(t.Context(), c.nodes[0].url("/ws"), nil)
		if err == nil {
			conn.CloseNow()
			continue
		}
		if r == nil || r.StatusCode != http.StatusServiceUnavailable {
			t.Fatalf("refused with %v", r)
		}
		after, err := strconv.Atoi(r.Header.Get("Retry-After"))
		if err != nil {
			t.Fatalf("refused with %v", r)
		}
		told = append(told, after)
	}
	if len(told) == 0 || told[0] != 1 || slices.Max(told) == 1 || slices.Max(told) > 10 {
		t.Errorf("20 handshakes at once, one a second allowed: those refused are told to come back after %d s", told)
	}
}

// A page of another site cannot open a session in its visitor's name.
func TestForeignOrigin(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 1, nil)
	for _, path := range []string{"/ws", "/plain?as=alice"} {
		_, r, err := websocket.Dial(t.Context(), c.nodes[0].url(path), &websocket.DialOptions{HTTPHeader: http.Header{"Origin": {"https://evil.example"}}})
		if err == nil || r.StatusCode != http.StatusForbidden {
			t.Errorf("%s from a foreign origin: %v", path, r)
		}
	}
}
