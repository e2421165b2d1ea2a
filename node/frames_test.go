package node_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/rookery-chat/rookery/internal/rawtest"
	"github.com/rookery-chat/rookery/node"
	"github.com/rookery-chat/rookery/wire"
)

func (e *edge) host() string { return e.server.Listener.Addr().String() }

// What is no WebSocket frame ends the connection with the documented code, at once, and
// what was sent behind it is not looked at.
func TestMalformedFrames(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 1, nil)
	host := c.nodes[0].host()
	longLength := func(n uint64) string {
		return string(binary.BigEndian.AppendUint64([]byte{rawtest.TextWhole, 0x80 | 127}, n)) + "mask"
	}
	ping := `{"type":"ping","id":9}`
	whole := string(rawtest.Frame(rawtest.TextWhole, ping))
	for name, row := range map[string]struct {
		bytes string
		code  wire.CloseCode
	}{
		"unmasked":                       {string(rawtest.Unmasked(rawtest.TextWhole, ping)), wire.CloseProtocol},
		"unmasked ping":                  {string(rawtest.Unmasked(rawtest.PingWhole, "")), wire.CloseProtocol},
		"compressed without agreement":   {string(rawtest.Frame(rawtest.TextWhole|rawtest.RSV1, "\xaa\x56\x2a")), wire.CloseProtocol},
		"a compressed ping":              {string(rawtest.Frame(rawtest.PingWhole|rawtest.RSV1, "")), wire.CloseProtocol},
		"RSV2":                           {string(rawtest.Frame(rawtest.TextWhole|rawtest.RSV2, ping)), wire.CloseProtocol},
		"RSV3":                           {string(rawtest.Frame(rawtest.TextWhole|rawtest.RSV3, ping)), wire.CloseProtocol},
		"reserved opcode 3":              {string(rawtest.Frame(rawtest.Final|3, ping)), wire.CloseProtocol},
		"reserved opcode 7":              {string(rawtest.Frame(rawtest.Final|7, ping)), wire.CloseProtocol},
		"reserved control opcode 11":     {string(rawtest.Frame(rawtest.Final|11, "")), wire.CloseProtocol},
		"reserved control opcode 15":     {string(rawtest.Frame(rawtest.Final|15, "")), wire.CloseProtocol},
		"a fragmented ping":              {string(rawtest.Frame(rawtest.Ping, "")), wire.CloseProtocol},
		"a long ping":                    {string(rawtest.Frame(rawtest.PingWhole, strings.Repeat("x", 126))), wire.CloseProtocol},
		"a continuation of nothing":      {string(rawtest.Frame(rawtest.Final|rawtest.Continuation, ping)), wire.CloseProtocol},
		"a beginning within a message":   {string(rawtest.Frame(rawtest.Text, ping)) + whole, wire.CloseProtocol},
		"a negative length":              {longLength(1 << 63), wire.CloseProtocol},
		"the greatest length":            {longLength(1<<63-1) + strings.Repeat("x", wire.MaxFrame+1), wire.CloseTooBig},
		"too large in pieces":            {string(rawtest.Frame(rawtest.Text, ping)) + strings.Repeat(string(rawtest.Frame(0, strings.Repeat(" ", 1000))), 66), wire.CloseTooBig},
		"a binary frame":                 {string(rawtest.Frame(rawtest.Final|rawtest.Binary, ping)), wire.CloseUnsupported},
		"too many pieces":                {string(rawtest.Frame(rawtest.Text, "{")) + strings.Repeat(string(rawtest.Frame(rawtest.Continuation, " ")), 3000), wire.ClosePolicy},
		"too many empty pieces":          {string(rawtest.Frame(rawtest.Text, "")) + strings.Repeat(string(rawtest.Frame(rawtest.Continuation, "")), 3000), wire.ClosePolicy},
		"a close frame with half a code": {string(rawtest.Frame(rawtest.CloseWhole, "\x03")), wire.CloseProtocol},
		"a close frame with no code":     {string(rawtest.Frame(rawtest.CloseWhole, "\x00\x00")), wire.CloseProtocol},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := rawtest.Enter(t, host, "mallory")
			p.Send([]byte(row.bytes + whole + whole))
			if code := p.Ended(nil); code != int(row.code) {
				t.Errorf("closed with %d, want %d", code, row.code)
			}
		})
	}
}

// Control frames stand where the RFC lets them, also within a message in a thousand pieces.
func TestFragments(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 1, nil)
	p := rawtest.Enter(t, c.nodes[0].host(), "alice")
	text := `{"type":"ping","id":9,"x":"` + strings.Repeat("é", 300) + `"}`
	sent := rawtest.Frame(rawtest.Text, "")
	pings := 0
	for i := range len(text) {
		sent = append(sent, rawtest.Frame(rawtest.Continuation, text[i:i+1])...)
		if i%10 == 0 {
			sent = append(sent, rawtest.Frame(rawtest.PingWhole, fmt.Sprint(pings))...)
			sent = append(sent, rawtest.Frame(rawtest.PongWhole, "unasked")...)
			pings++
		}
	}
	p.Send(append(sent, rawtest.Frame(rawtest.Final|rawtest.Continuation, "")...))
	for pong := 0; ; {
		opcode, b, err := p.Next()
		if err != nil {
			t.Fatal(err)
		}
		if opcode == rawtest.Pong {
			if string(b) != fmt.Sprint(pong) {
				t.Fatalf("pong %q is number %d", b, pong)
			}
			pong++
			continue
		}
		if ok, _ := wire.ParseFrame(b); ok.(*wire.OK).ID != 9 || pong != pings {
			t.Fatalf("after %d pongs of %d: %s", pong, pings, b)
		}
		return
	}
}

// A message whose last piece never comes was never said; and whoever comes next, with whatever that
// reader had, is not taken for its rest.
func TestUnfinishedMessages(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 1, nil)
	host := c.nodes[0].host()
	alice := rawtest.Enter(t, host, "alice")
	talkers := make([]*rawtest.Conn, 20)
	for i := range talkers {
		talkers[i] = rawtest.Enter(t, host, fmt.Sprint("talker", i))
	}
	for range 20 {
		p := rawtest.Enter(t, host, "mallory")
		p.Send(rawtest.Frame(rawtest.Text, `{"type":"publish","topic":"@alice","data":"half"}`))
		p.Send(rawtest.Frame(rawtest.Continuation, ""))
		p.Close()
	}
	await(t, "sessions of mallory", 0, func() int {
		sessions, _, err := c.nodes[0].Sessions(t.Context(), "mallory")
		if err != nil {
			t.Fatal(err)
		}
		return len(sessions)
	})
	for i, p := range talkers {
		p.Say(`{"type":"publish","topic":"@alice","data":"whole"}`)
		p.Say(`{"type":"ping","id":9}`)
		for {
			opcode, b, err := p.Next()
			if err != nil || opcode != rawtest.Text {
				t.Fatalf("talker %d: opcode %d, %v", i, opcode, err)
			}
			if f, _ := wire.ParseFrame(b); f != nil {
				if ok, _ := f.(*wire.OK); ok != nil && ok.ID == 9 {
					break
				}
			}
		}
	}
	for n := 0; n < len(talkers); {
		_, b, err := alice.Next()
		if err != nil {
			t.Fatalf("after %d messages: %v", n, err)
		}
		if m, _ := wire.ParseFrame(b); m != nil {
			if m, _ := m.(*wire.Message); m != nil && m.Topic == "@alice" {
				if n++; string(m.Data) != `"whole"` {
					t.Errorf("alice got %s", m.Data)
				}
			}
		}
	}
}

// Who offers compression gets a session without.
func TestNoCompression(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 1, nil)
	for _, offer := range []string{
		"permessage-deflate",
		"permessage-deflate; client_max_window_bits; server_no_context_takeover",
		strings.Repeat("permessage-deflate; server_max_window_bits=15, ", 200) + "permessage-deflate",
		"permessage-bomb; x=\"\\\"",
	} {
		p, r := rawtest.Open(t, c.nodes[0].host(), "Sec-WebSocket-Extensions: "+offer)
		if got := r.Header.Values("Sec-WebSocket-Extensions"); len(got) > 0 {
			t.Errorf("%.40s: agreed on %q", offer, got)
		}
		p.Close()
	}
}

// Frames that are no commands, and the pieces of one, cost as much as commands: a flood of them is
// read slowly, and what is asked behind it is answered in the end.
func TestFloods(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		limits node.Limits
		frame  []byte
		count  int
		limit  string
		end    []byte
	}{
		"pings":             {node.Limits{Frames: 100}, rawtest.Frame(rawtest.PingWhole, ""), 400, "frames", nil},
		"pongs":             {node.Limits{Frames: 100}, rawtest.Frame(rawtest.PongWhole, ""), 400, "frames", nil},
		"messages":          {node.Limits{Frames: 100}, rawtest.Frame(rawtest.TextWhole, `{"type":"ping"}`), 400, "frames", nil},
		"empty fragments":   {node.Limits{Frames: 100}, rawtest.Frame(rawtest.Continuation, ""), 400, "frames", rawtest.Frame(rawtest.Final, "")},
		"one-byte pieces":   {node.Limits{Frames: 100}, rawtest.Frame(rawtest.Continuation, " "), 400, "frames", rawtest.Frame(rawtest.Final, "")},
		"bytes in pieces":   {node.Limits{Bytes: 10_000}, rawtest.Frame(rawtest.Continuation, strings.Repeat(" ", 100)), 400, "bytes", rawtest.Frame(rawtest.Final, "")},
		"one large message": {node.Limits{Bytes: 10_000}, rawtest.Frame(rawtest.Continuation, strings.Repeat(" ", 40_000)), 1, "bytes", rawtest.Frame(rawtest.Final, "")},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			registry := prometheus.NewRegistry()
			c := newCluster(t, 1, &node.Options{Drain: time.Second, Limits: row.limits, Registerer: registry})
			p := rawtest.Enter(t, c.nodes[0].host(), "alice")
			begin := time.Now()
			var sent []byte
			if row.end != nil {
				sent = rawtest.Frame(rawtest.Text, `{"type":"ping","id":8}`)
			}
			for range row.count {
				sent = append(sent, row.frame...)
			}
			sent = append(sent, row.end...)
			go p.Send(append(sent, rawtest.Frame(rawtest.TextWhole, `{"type":"ping","id":9}`)...))
			for answered := false; !answered; {
				opcode, b, err := p.Next()
				if err != nil {
					t.Fatal(err)
				}
				answered = opcode == rawtest.Text && strings.Contains(string(b), `"id":9`)
			}
			if took := time.Since(begin); took < time.Second { // four seconds' worth, two of them at once
				t.Errorf("took %v", took)
			}
			steps := 1.0
			if row.limit == "frames" {
				steps = 10 // else hundreds are answered in one go, and all others wait for that
			}
			if n := value(t, registry, "rookery_limited_total", row.limit); n < steps {
				t.Errorf("the limit %q held it back %v times, want %v at least", row.limit, n, steps)
			}
		})
	}
}

// Who floods and goes is not read to the end of what the kernels hold of it, which would take minutes.
func TestFloodEnds(t *testing.T) {
	t.Parallel()
	e := newCluster(t, 1, &node.Options{Drain: time.Second, Limits: node.Limits{Frames: 100}}).nodes[0]
	p := rawtest.Enter(t, e.host(), "mallory")
	p.Send(bytes.Repeat(rawtest.Frame(rawtest.PongWhole, ""), 10_000)) // 100 seconds' worth
	p.Close()
	await(t, "sessions of mallory", 0, func() int {
		sessions, _, err := e.Sessions(t.Context(), "mallory")
		if err != nil {
			t.Fatal(err)
		}
		return len(sessions)
	})
}
