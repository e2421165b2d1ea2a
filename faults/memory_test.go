package faults_test

import (
	"context"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/rookery-chat/rookery/internal/processtest"
	"github.com/rookery-chat/rookery/internal/redistest"
	"github.com/rookery-chat/rookery/wire"
)

// A quiet is a connection that says hello, joins one room, and then neither sends nor reads.
func quiet(ctx context.Context, url, user, room string) (*websocket.Conn, *wire.Joined, error) {
	return quietAfter(ctx, url, user, room, nil)
}

// quietAfter is quiet for one that was there before.
func quietAfter(ctx context.Context, url, user, room string, after *wire.Position) (*websocket.Conn, *wire.Joined, error) {
	conn, _, err := websocket.Dial(ctx, url, &websocket.DialOptions{Subprotocols: []string{wire.Subprotocol}})
	if err != nil {
		return nil, nil, err
	}
	conn.SetReadLimit(1 << 20)
	var joined *wire.Joined
	for _, c := range []wire.Command{{Type: "hello", ID: 1, User: user}, {Type: "join", ID: 2, Topic: room, After: after}} {
		if err := conn.Write(ctx, websocket.MessageText, c.Append(nil)); err != nil {
			return conn, nil, err
		}
		for answered := false; !answered; {
			_, b, err := conn.Read(ctx)
			if err != nil {
				return conn, nil, err
			}
			switch f, _ := wire.ParseFrame(b); f := f.(type) {
			case *wire.Welcome:
				answered = true
			case *wire.OK:
				answered, joined = true, f.Joined
			case *wire.Error:
				return conn, nil, f
			}
		}
	}
	return conn, joined, nil
}

// BenchmarkIdle prints what an idle session costs: each in its inbox, in * and in one room
// of ten, on one node with Redis.
func BenchmarkIdle(b *testing.B) {
	b.Run("WebSocket", func(b *testing.B) {
		node := serve(b, redistest.Start(b))
		benchmarkIdle(b, node, func(ctx context.Context, user, room string) (closeNow func() error, err error) {
			conn, _, err := quiet(ctx, node.URL(), user, room)
			if err != nil {
				return nil, err
			}
			return conn.CloseNow, nil
		})
	})
	b.Run("TCP", func(b *testing.B) {
		addr := processtest.FreeAddr(b)
		node := serve(b, redistest.Start(b), "--tcp="+addr)
		benchmarkIdle(b, node, func(_ context.Context, user, room string) (closeNow func() error, err error) {
			conn, err := net.Dial("tcp", addr)
			if err != nil {
				return nil, err
			}
			l := lines{b, conn, scanner(conn)}
			l.say(`{"type":"hello","user":"`+user+`"}`, `{"type":"join","id":2,"topic":"`+room+`"}`)
			next[*wire.OK](l)
			return conn.Close, nil
		})
	})
}

func benchmarkIdle(b *testing.B, node *process, connect func(ctx context.Context, user, room string) (func() error, error)) {
	const sessions, room = 10_000, 10
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	collect(b, node)
	before := node.rss()
	begin := time.Now()
	closers := make([]func() error, sessions)
	var wg sync.WaitGroup
	const workers = 50
	for w := range workers {
		wg.Go(func() {
			for i := w; i < sessions; i += workers {
				var err error
				if closers[i], err = connect(ctx, fmt.Sprint("user", i), fmt.Sprint("room", i/room)); err != nil {
					b.Errorf("session %d: %v", i, err)
					return
				}
			}
		})
	}
	wg.Wait()
	took := time.Since(begin)
	// Two idle minutes would bring these collections; then the runtime gives memory back, slowly.
	for range 3 {
		collect(b, node)
	}
	time.Sleep(15 * time.Second)
	after := node.rss()
	b.ReportMetric(float64(after-before)/1024/sessions, "KiB/session")
	b.ReportMetric(float64(after)/1024/sessions, "KiB-all/session")
	b.ReportMetric(float64(sessions)/took.Seconds(), "sessions/s")
	b.ReportMetric(0, "ns/op")
	for _, closeNow := range closers {
		if closeNow != nil {
			closeNow()
		}
	}
}

// heap is what is live in a node's heap, in bytes.
func heap(tb testing.TB, p *process) int {
	tb.Helper()
	collect(tb, p)
	return int(p.Metric("go_memstats_heap_alloc_bytes"))
}

// collect makes a node collect its garbage.
func collect(tb testing.TB, p *process) {
	tb.Helper()
	c := processtest.HTTP
	r, err := c.Get("http://" + p.Admin + "/debug/pprof/heap?gc=1&debug=1")
	if err != nil {
		tb.Fatal(err)
	}
	r.Body.Close()
}

// A client that stops reading for 20 s while 10,000 messages of 1 KiB pass: others see every one, the
// node's memory grows by less than 1 MiB beyond its ring budget, and the client gets everything in order when
// it reads on.
func TestNonReader(t *testing.T) {
	redis := redistest.Start(t)
	node := serve(t, redis, "--log-length=20000")
	const count = 10_000
	ctx, cancel := context.WithTimeout(context.Background(), 5*patience)
	defer cancel()
	// Warm up with as many messages, so that what is measured is what the client adds.
	quick := enter(t, node.URL(), "quick")
	quick.join("warm", nil)
	quick.join("lobby", nil)
	padding := strings.Repeat(".", 1000)
	flood := func(topic string) {
		var wg sync.WaitGroup
		const publishers = 20
		for p := range publishers {
			m := enter(t, node.URL(), fmt.Sprintf("%s-publisher-%d", topic, p))
			wg.Go(func() {
				m.join(topic, nil)
				for range count / publishers {
					m.say(topic, padding)
				}
				m.leave()
			})
		}
		wg.Wait()
		quick.await("all of "+topic, func() bool { return len(quick.messages[topic]) == count })
	}
	alone := func(sessions float64) {
		await(t, "the publishers are gone", func() bool { return node.Metric("rookery_sessions") == sessions })
	}
	flood("warm")
	alone(1)
	before, rss := heap(t, node), node.rss()
	slow, joined, err := quiet(ctx, node.URL(), "slow", "lobby")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { slow.CloseNow() }()
	stopped := time.Now()
	flood("lobby")
	alone(2)
	// One topic's ring holds at most 256 KiB a shard.
	const ring, most = 256 << 10, 1 << 20
	grown := heap(t, node) - before
	for until := stopped.Add(20 * time.Second); grown > most+2*ring && time.Now().Before(until); { // what is under way ends
		time.Sleep(time.Second)
		grown = heap(t, node) - before
	}
	t.Logf("live heap grew by %d KiB, resident memory by %d KiB", grown>>10, (node.rss()-rss)>>10)
	if grown > most+2*ring {
		t.Errorf("the node grew by %d KiB", grown>>10)
	}
	time.Sleep(time.Until(stopped.Add(20 * time.Second))) // what this is about: no event ends it
	for i := 1; i <= count; {
		_, b, err := slow.Read(ctx)
		if err != nil && time.Since(stopped) > 30*time.Second {
			// On a machine so slow that it took no byte for 30 s, it was closed, and comes back.
			after := wire.Position{Epoch: joined.Epoch, Offset: uint64(i - 1)}
			if slow, _, err = quietAfter(ctx, node.URL(), "slow", "lobby", &after); err == nil {
				continue
			}
		}
		if err != nil {
			t.Fatalf("before message %d: %v", i, err)
		}
		if m, ok := parse(b).(*wire.Message); ok && m.Topic == "lobby" {
			if m.Offset != uint64(i) {
				t.Fatalf("offset %d came as number %d", m.Offset, i)
			}
			i++
		}
	}
}

func parse(b []byte) any {
	f, _ := wire.ParseFrame(b)
	return f
}
