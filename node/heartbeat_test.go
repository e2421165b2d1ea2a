package node_test

import (
	"fmt"
	"runtime/metrics"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/rookery-chat/rookery/internal/rawtest"
	"github.com/rookery-chat/rookery/node"
)

// A peer sends heartbeats, and what looks like them, alone, together and in pieces. It sees the same, and
// the node counts the same, whether the session is parked, and the lot answers, or has a reader of its own.
func TestHeartbeats(t *testing.T) {
	t.Parallel()
	const json = `{"type":"ping","id":7}`
	long := strings.Repeat("x", 125)
	frame := rawtest.Frame
	ping, text := frame(rawtest.PingWhole, "beat"), frame(rawtest.TextWhole, json)
	many := func(b []byte, n int) []byte { return slices.Concat(slices.Repeat([][]byte{b}, n)...) }
	for name, sent := range map[string][][]byte{
		"ping":                    {ping},
		"empty ping":              {frame(rawtest.PingWhole, "")},
		"longest ping":            {frame(rawtest.PingWhole, long)},
		"ping too long":           {frame(rawtest.PingWhole, long+"x")},
		"ping in fragments":       {frame(rawtest.Ping, "beat")},
		"ping unmasked":           {rawtest.Unmasked(rawtest.PingWhole, "beat")},
		"ping with reserved bits": {frame(rawtest.PingWhole|rawtest.RSV1, "beat")},
		"ping in a long header":   {append([]byte{rawtest.PingWhole, 0x80 | 126, 0, 4, 0, 0, 0, 0}, "beat"...)},
		"pong":                    {frame(rawtest.PongWhole, "beat")},
		"pings":                   {many(ping, 3)},
		"ping and half a ping":    {slices.Concat(ping, ping[:3]), ping[3:]},
		"ping and text":           {slices.Concat(ping, text)},
		"ping and close":          {slices.Concat(ping, frame(rawtest.CloseWhole, "\x03\xe8"))},
		"text":                    {text},
		"texts":                   {many(text, 3)},
		"flood":                   {many(slices.Concat(text, ping), 500)},
		"text and ping":           {slices.Concat(text, ping)},
		"text and half a text":    {slices.Concat(text, text[:9]), text[9:]},
		"text unmasked":           {rawtest.Unmasked(rawtest.TextWhole, json)},
		"text in fragments":       {slices.Concat(frame(rawtest.Text, json[:5]), frame(rawtest.Final|rawtest.Continuation, json[5:]))},
		"text, ping between":      {slices.Concat(frame(rawtest.Text, json[:5]), ping, frame(rawtest.Final|rawtest.Continuation, json[5:]))},
		"text in a long header":   {append([]byte{rawtest.TextWhole, 0x80 | 126, 0, byte(len(json)), 0, 0, 0, 0}, json...)},
		"binary":                  {frame(rawtest.Final|rawtest.Binary, json)},
		"without an id":           {frame(rawtest.TextWhole, `{"type":"ping"}`)},
		"id 0":                    {frame(rawtest.TextWhole, `{"type":"ping","id":0}`)},
		"id 01":                   {frame(rawtest.TextWhole, `{"type":"ping","id":01}`)},
		"id too large":            {frame(rawtest.TextWhole, `{"type":"ping","id":9007199254740992}`)},
		"id negative":             {frame(rawtest.TextWhole, `{"type":"ping","id":-1}`)},
		"id twice":                {frame(rawtest.TextWhole, `{"type":"ping","id":1,"id":2}`)},
		"more fields":             {frame(rawtest.TextWhole, `{"type":"ping","id":1,"topic":"lobby"}`)},
		"spaces":                  {frame(rawtest.TextWhole, ` {"type": "ping", "id": 1} `)},
		"not JSON":                {frame(rawtest.TextWhole, `{"type":"ping"`)},
		"two objects":             {frame(rawtest.TextWhole, `{"type":"ping"}{}`)},
		"invalid UTF-8":           {frame(rawtest.TextWhole, "{\"type\":\"ping\xff\"}")},
		"another type":            {frame(rawtest.TextWhole, `{"type":"pings","id":1}`)},
		"nothing":                 {frame(rawtest.TextWhole, "")},
	} {
		for _, whole := range []bool{true, false} {
			if name == "flood" && !whole {
				continue
			}
			t.Run(fmt.Sprintf("%s, whole %v", name, whole), func(t *testing.T) {
				t.Parallel()
				if parked, awake := answersTo(t, sent, whole, false), answersTo(t, sent, whole, true); parked != awake {
					t.Errorf("a parked session's peer sees\n%s\nothers\n%s", parked, awake)
				}
			})
		}
	}
}

// answersTo tells what a peer sees that sends bytes, and what the node counts.
func answersTo(t *testing.T, sent [][]byte, whole, awake bool) string {
	registry := prometheus.NewPedanticRegistry()
	o := *unlimited()
	o.Registerer = registry
	c := newCluster(t, 0, nil)
	e := c.run(t, o, c.facts, awake)
	p := rawtest.Enter(t, e.server.Listener.Addr().String(), "alice")
	for range 3 { // then it has had the time to park
		p.Say(`{"type":"ping","id":1}`)
		if _, b, err := p.Next(); err != nil || string(b) != `{"type":"ok","id":1}` {
			t.Fatalf("got %s, %v", b, err)
		}
	}
	for _, piece := range sent {
		if whole {
			p.Send(piece)
			continue
		}
		for _, b := range piece {
			p.Send([]byte{b})
		}
	}
	p.Say(`{"type":"ping","id":99}`)
	var texts, pongs []string
	end := ""
	for end == "" {
		switch opcode, b, err := p.Next(); {
		case err != nil:
			end = "cut off"
		case opcode == rawtest.Close:
			end = fmt.Sprintf("closed %q", b)
		case opcode == rawtest.Pong:
			pongs = append(pongs, string(b))
		case string(b) == `{"type":"ok","id":99}`:
			end = "open"
		default:
			texts = append(texts, string(b))
		}
	}
	if end != "open" && !whole {
		return "closed" // what was sent afterwards may have cut off what the node said
	}
	seen := fmt.Sprintf("%q\n%q\n%s", texts, pongs, end)
	if end != "open" {
		return seen // how much was counted of what came after the breach is left to chance
	}
	for _, name := range []string{"rookery_frames_received_total", "rookery_received_bytes_total"} {
		seen += fmt.Sprint("\n", name, " ", value(t, registry, name, ""))
	}
	return seen
}

// A heartbeat alone starts no reader: a node with many idle sessions would do little else.
// Not parallel: it counts goroutines.
func TestHeartbeatsStartNoReader(t *testing.T) {
	c := newCluster(t, 1, &node.Options{Limits: node.Limits{Frames: 100_000}}) // a session that has to wait has a reader
	web, line := rawtest.Enter(t, c.nodes[0].server.Listener.Addr().String(), "web"), enterLine(t, serveTCP(t, c.nodes[0]), "line")
	await(t, "readers", 0, readers)
	const beats = 100
	before := goroutines()
	for range beats {
		web.Say(`{"type":"ping","id":7}`)
		if _, b, err := web.Next(); err != nil || string(b) != `{"type":"ok","id":7}` {
			t.Fatalf("got %s, %v", b, err)
		}
		web.Send(rawtest.Frame(rawtest.PingWhole, "beat"))
		if opcode, b, err := web.Next(); err != nil || opcode != rawtest.Pong || string(b) != "beat" {
			t.Fatalf("got %x %s, %v", opcode, b, err)
		}
		line.write(`{"type":"ping","id":8}`)
		if b, err := line.read(); err != nil || string(b) != `{"type":"ok","id":8}` {
			t.Fatalf("got %s, %v", b, err)
		}
	}
	if started := goroutines() - before; started > beats/2 {
		t.Errorf("%d goroutines were started for %d heartbeats", started, 3*beats)
	}
}

// goroutines counts all that were ever started.
func goroutines() uint64 {
	s := []metrics.Sample{{Name: "/sched/goroutines-created:goroutines"}}
	metrics.Read(s)
	return s[0].Value.Uint64()
}

// Who sends more heartbeats than frames are permitted is answered more slowly, parked or not.
func TestHeartbeatsAreLimited(t *testing.T) {
	t.Parallel()
	for _, awake := range []bool{false, true} {
		t.Run(fmt.Sprint("awake ", awake), func(t *testing.T) {
			t.Parallel()
			registry := prometheus.NewPedanticRegistry()
			c := newCluster(t, 0, nil)
			e := c.run(t, node.Options{Drain: time.Second, Limits: node.Limits{Frames: 20}, Registerer: registry}, c.facts, awake)
			p := rawtest.Enter(t, e.server.Listener.Addr().String(), "alice")
			const beats = 60 // 41 of them are within the burst
			began := time.Now()
			for range beats {
				p.Send(rawtest.Frame(rawtest.PingWhole, ""))
				if opcode, _, err := p.Next(); err != nil || opcode != rawtest.Pong {
					t.Fatalf("got %x, %v", opcode, err)
				}
			}
			if took := time.Since(began); took < 500*time.Millisecond {
				t.Errorf("%d heartbeats took %v", beats, took)
			}
			if value(t, registry, "rookery_limited_total", "frames") == 0 {
				t.Error("no frame was counted as limited")
			}
		})
	}
}
