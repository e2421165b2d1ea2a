package node_test

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"net"
	"net/http"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/rookery-chat/rookery/bus"
	"github.com/rookery-chat/rookery/node"
	"github.com/rookery-chat/rookery/wire"
)

// A message costs a node the same memory for one session as for many, WebSockets or raw TCP: they share its bytes, and a
// delivery allocates nothing. Each message is awaited before the next one, so that each delivery is a write of its own.

const (
	frameAllocations   = 2    // the frame and its bytes
	messageAllocations = 3    // what a node may allocate beyond them for each message
	nothing            = 0.01 // of a delivery
)

func TestDeliveryAllocatesNothing(t *testing.T) {
	const few, many = 10, 60
	for _, kind := range []string{"WebSocket", "TCP"} {
		t.Run(kind, func(t *testing.T) {
			less, more := allocations(t, 1, few, kind), allocations(t, 1, many, kind)
			delivery := (more - less) / (many - few)
			t.Logf("%.4f allocations a delivery", delivery)
			if delivery > nothing {
				t.Errorf("%.3f allocations a delivery: with %d sessions a message takes %.2f, with %d sessions %.2f", delivery, few, less, many, more)
			}
		})
	}
}

func TestMessageAllocatesLittle(t *testing.T) {
	const nodes, sessions = 5, 5
	one, all := allocations(t, 1, sessions, "WebSocket"), allocations(t, nodes, nodes*sessions, "WebSocket")
	each := (all - one) / (nodes - 1)
	t.Logf("%.2f allocations for each node that hears a message", each)
	if each > frameAllocations+messageAllocations {
		t.Errorf("%.2f allocations for each node that hears a message, want its frame's %d and at most %d more", each, frameAllocations, messageAllocations)
	}
	if each < frameAllocations-1 {
		t.Errorf("%.2f allocations for each node that hears a message: they cannot have been counted", each)
	}
}

// allocations returns how many a message takes in a cluster, its publish included.
func allocations(t *testing.T, nodes, sessions int, kind string) float64 {
	t.Helper()
	c := newCluster(t, nodes, &node.Options{Drain: 300 * time.Millisecond})
	var addrs []string
	for _, e := range c.nodes {
		addrs = append(addrs, serveTCP(t, e))
	}
	// Messages come from a bus that no node has, so that nodes only hear them.
	outside := c.memory.Attach()
	got := make(chan int, 2*sessions)
	const lost = -1
	var reading sync.WaitGroup
	for i := range sessions {
		user := fmt.Sprint("user", i)
		conn := enterBare(t, c.nodes[i%nodes], addrs[i%nodes], user, kind)
		reading.Go(func() {
			buf := make([]byte, 4<<10)
			for {
				n, err := conn.Read(buf)
				if err != nil {
					got <- lost
					return
				}
				got <- bytes.Count(buf[:n], mark)
			}
		})
	}
	payload := []byte(`{"from":"backend","data":"` + string(mark) + `"}`)
	say := func() {
		if _, err := outside.Publish(context.Background(), "lobby", bus.Draft{Payload: payload}); err != nil {
			t.Fatal(err)
		}
		for left := sessions; left > 0; {
			n := <-got
			if n == lost {
				t.Fatal("a session was lost")
			}
			left -= n
		}
	}
	const warm, turns, messages = 300, 20, 25 // a ring is full after 256
	for range warm {
		say()
	}
	// What the node and the runtime do now and then is in some turns, and not in others.
	least := uint64(math.MaxUint64)
	runtime.GC()
	for range turns {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for range messages {
			say()
		}
		runtime.ReadMemStats(&after)
		least = min(least, after.Mallocs-before.Mallocs)
	}
	for _, e := range c.nodes {
		e.end(t)
	}
	reading.Wait()
	return float64(least) / messages
}

// mark is in each message once.
var mark = []byte("~")

// enterBare joins lobby and returns the connection under the session, which is read without a library.
func enterBare(t *testing.T, e *edge, tcp, user, kind string) net.Conn {
	t.Helper()
	var p *peer
	var conn net.Conn
	if kind == "TCP" {
		p = enterLine(t, tcp, user)
		conn = p.line
	} else {
		transport := &http.Transport{DialContext: func(ctx context.Context, network, addr string) (c net.Conn, err error) {
			c, err = (&net.Dialer{}).DialContext(ctx, network, addr)
			conn = c
			return c, err
		}}
		ws, _, err := websocket.Dial(t.Context(), e.url("/ws"), &websocket.DialOptions{
			Subprotocols: []string{wire.Subprotocol}, HTTPClient: &http.Client{Transport: transport},
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { ws.CloseNow() })
		p = &peer{t: t, conn: ws}
		p.send(wire.Command{Type: "hello", ID: 1, User: user})
		want[*wire.Welcome](p)
	}
	p.join(wire.Command{Topic: "lobby"})
	conn.SetReadDeadline(time.Time{})
	return conn
}
