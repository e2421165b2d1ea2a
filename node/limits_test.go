package node_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/rookery-chat/rookery/node"
	"github.com/rookery-chat/rookery/wire"
)

// Who goes beyond a limit is told so, or slowed down; nobody else is.
func TestLimits(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 1, &node.Options{Drain: time.Second, Limits: node.Limits{Publishes: 5, Topics: 4, Sessions: 2}})
	e := c.nodes[0]
	alice, bob := enter(t, e, "alice"), enter(t, e, "bob")
	alice.skip = func(f any) bool { _, ok := f.(*wire.Skip); return ok }
	for i := range 2 {
		alice.join(wire.Command{Topic: fmt.Sprint("room", i)})
	}
	alice.send(wire.Command{Type: "join", ID: 3, Topic: "room3"})
	if e := want[*wire.Error](alice); e.Code != wire.RateLimited || e.ID != 3 || e.Retry {
		t.Errorf("one room too many: %+v", e)
	}
	refused := 0
	for i := range 30 {
		alice.send(wire.Command{Type: "publish", ID: uint64(100 + i), Topic: "room0", Data: quote("x"), NoEcho: true})
		for answered := false; !answered; {
			switch f := alice.next().(type) {
			case *wire.OK:
				answered = true
			case *wire.Error:
				if answered = true; f.Code != wire.RateLimited || !f.Retry || f.ID != uint64(100+i) {
					t.Fatalf("refused with %+v", f)
				}
				refused++
			}
		}
	}
	if refused == 0 || refused > 25 {
		t.Errorf("of 30 publishes at once, 5 a second allowed, %d were refused", refused)
	}
	bob.join(wire.Command{Topic: "room0"})
	bob.say("room0", "untouched")

	enter(t, e, "alice")
	third, answer := hello(t, e, wire.Command{User: "alice"})
	if e, ok := answer.(*wire.Error); !ok || e.Code != wire.RateLimited {
		t.Errorf("a third session: %+v", answer)
	}
	if code := third.closed(); code != wire.CloseSessions {
		t.Errorf("closed with %d", code)
	}
	alice.conn.CloseNow()
	for { // once one has gone, there is room for another
		p, answer := hello(t, e, wire.Command{User: "alice"})
		if _, ok := answer.(*wire.Welcome); ok {
			break
		}
		p.closed()
	}
}

// Too many frames are not refused but read more slowly: all are answered in the end.
func TestSlowedDown(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 1, &node.Options{Drain: time.Second, Limits: node.Limits{Frames: 20}})
	p := enter(t, c.nodes[0], "alice")
	begin := time.Now()
	const count = 80 // 40 at once, then 20 a second
	for i := range count {
		p.send(wire.Command{Type: "ping", ID: uint64(10 + i)})
	}
	for i := range count {
		if ok := want[*wire.OK](p); ok.ID != uint64(10+i) {
			t.Fatalf("answer %d is to %d", i, ok.ID)
		}
	}
	if took := time.Since(begin); took < time.Second {
		t.Errorf("80 frames, 20 a second allowed, took %v", took)
	}
}
