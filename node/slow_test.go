package node_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/rookery-chat/rookery/bus"
	"github.com/rookery-chat/rookery/node"
	"github.com/rookery-chat/rookery/wire"
)

// A peer that does not read is not in the way of others, and finds everything when it
// reads again: far more than its socket, and the node's ring, can hold.
func TestSlowReader(t *testing.T) {
	t.Parallel()
	c := newClusterWith(t, 1, nil, &bus.Options{LogLength: 20_000})
	e := c.nodes[0]
	slow, quick := enter(t, e, "slow"), enter(t, e, "quick")
	slow.join(wire.Command{Topic: "lobby"})
	quick.join(wire.Command{Topic: "lobby"})
	const count = 10_000
	padding := strings.Repeat(".", 1000)
	go func() {
		for i := 1; i <= count; i++ {
			e.Publish(t.Context(), "lobby", node.Publication{Data: quote(fmt.Sprint(i, padding)), From: "backend"})
		}
	}()
	check := func(p *peer) {
		for i := 1; i <= count; i++ {
			if m := want[*wire.Message](p); m.Offset != uint64(i) || text(m) != fmt.Sprint(i, padding) {
				t.Fatalf("message %d came as number %d", i, m.Offset)
			}
		}
	}
	check(quick)
	check(slow)
}

// What a peer that does not read asks for is bounded: the node stops reading from it.
func TestRepliesAreBounded(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 1, nil)
	p := enter(t, c.nodes[0], "alice")
	p.join(wire.Command{Topic: "lobby"})
	publish(t, c.nodes[0], "lobby", 1, 200)
	wantMessages(t, p, 1, 200)
	sent := make(chan int)
	go func() {
		n := 0
		for ; n < 100_000; n++ {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			err := p.conn.Write(ctx, websocket.MessageText, []byte(`{"type":"history","id":1,"topic":"lobby","limit":200}`))
			cancel()
			if err != nil {
				break
			}
		}
		sent <- n
	}()
	if n := <-sent; n == 100_000 {
		t.Error("the node took 100,000 commands from a peer that reads nothing")
	}
}

// A connection that is only half there is closed; one that answers pings is kept.
func TestHeartbeat(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 1, &node.Options{Heartbeat: 3 * time.Second, Drain: time.Second})
	pings := make(chan struct{}, 100)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	conn, _, err := websocket.Dial(ctx, c.nodes[0].url("/ws"), &websocket.DialOptions{
		OnPingReceived: func(context.Context, []byte) bool { pings <- struct{}{}; return true },
	})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.CloseNow()
	p := &peer{t: t, conn: conn}
	p.send(wire.Command{Type: "hello", ID: 1, User: "alice"})
	want[*wire.Welcome](p)
	read := make(chan error, 1)
	go func() { _, _, err := conn.Read(ctx); read <- err }()
	for range 2 { // silent but for its pongs, longer than a dead one would last
		select {
		case <-pings:
		case err := <-read:
			t.Fatalf("closed: %v", err)
		}
	}
}

// A peer that takes nothing at all is closed in the end, and its session forgotten.
func TestStuckPeer(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 1, &node.Options{Heartbeat: 3 * time.Second, Drain: time.Second})
	e := c.nodes[0]
	stuck := enter(t, e, "stuck")
	stuck.join(wire.Command{Topic: "lobby"})
	watch := enter(t, e, "watch")
	j := watch.join(wire.Command{Topic: "lobby", Presence: true})
	// More than its connection holds. No more than that: watch, who reads meanwhile, gets no presence frames while it is behind.
	var talking sync.WaitGroup
	talking.Go(func() {
		for range 300 {
			if _, err := e.Publish(t.Context(), "lobby", node.Publication{Data: quote(strings.Repeat("x", 60_000))}); err != nil {
				t.Error(err)
				return
			}
		}
	})
	watch.until(j.Roster.Members, "stuck", "watch")
	watch.until([]string{"stuck", "watch"}, "watch")
	talking.Wait()
}
