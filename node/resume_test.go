package node_test

import (
	"fmt"
	"testing"

	"github.com/rookery-chat/rookery/bus"
	"github.com/rookery-chat/rookery/node"
	"github.com/rookery-chat/rookery/wire"
)

// publish stores count messages "1", "2", … in a room from a back end.
func publish(t *testing.T, e *edge, topic string, from, to int) {
	t.Helper()
	for i := from; i <= to; i++ {
		if _, err := e.Publish(t.Context(), topic, node.Publication{Data: quote(fmt.Sprint(i)), From: "backend"}); err != nil {
			t.Fatal(err)
		}
	}
}

// wantMessages checks that the next messages are from..to, in order.
func wantMessages(t *testing.T, p *peer, from, to int) {
	t.Helper()
	for i := from; i <= to; i++ {
		if m := want[*wire.Message](p); m.Offset != uint64(i) || text(m) != fmt.Sprint(i) {
			t.Fatalf("message %+v, want number %d", m, i)
		}
	}
}

// A session that comes back on another node misses nothing and gets nothing twice,
// however many messages passed, from the ring or from the log.
func TestResumeOnAnotherNode(t *testing.T) {
	t.Parallel()
	for _, missed := range []int{0, 1, 100, 900} {
		t.Run(fmt.Sprint(missed), func(t *testing.T) {
			t.Parallel()
			c := newCluster(t, 2, nil)
			p := enter(t, c.nodes[0], "alice")
			ok := p.join(wire.Command{Topic: "lobby"})
			if ok.After != 0 || ok.Offset != 0 || !ok.Recovered {
				t.Fatalf("first join: %+v", ok)
			}
			publish(t, c.nodes[0], "lobby", 1, 10)
			wantMessages(t, p, 1, 10)
			p.conn.CloseNow()
			publish(t, c.nodes[0], "lobby", 11, 10+missed)

			q := dial(t, c.nodes[1], "/ws")
			q.send(wire.Command{Type: "hello", ID: 1, User: "alice", Resume: map[string]wire.Position{"lobby": {Epoch: ok.Epoch, Offset: 10}}})
			w := want[*wire.Welcome](q)
			if j := w.Topics["lobby"]; !j.Recovered || j.After != 10 || j.Offset != uint64(10+missed) {
				t.Fatalf("resumed: %+v", j)
			}
			publish(t, c.nodes[0], "lobby", 11+missed, 15+missed)
			wantMessages(t, q, 11, 15+missed)
		})
	}
}

func TestJoinTellsWhatTheLogLost(t *testing.T) {
	t.Parallel()
	c := newClusterWith(t, 1, nil, &bus.Options{LogLength: 5})
	p := enter(t, c.nodes[0], "alice")
	ok := p.join(wire.Command{Topic: "lobby"})
	publish(t, c.nodes[0], "lobby", 1, 12)
	wantMessages(t, p, 1, 12)

	e := c.add(t, nil) // a node without a ring judges by the log
	r := enter(t, e, "carol")
	got := r.join(wire.Command{Topic: "lobby", After: &wire.Position{Epoch: ok.Epoch, Offset: 2}})
	if got.Recovered || got.After != 7 || got.Offset != 12 {
		t.Fatalf("join behind the log: %+v", got)
	}
	wantMessages(t, r, 8, 12)

	got = r.join(wire.Command{Topic: "lobby", After: &wire.Position{Epoch: "unknown", Offset: 9}})
	if got.Recovered || got.After != 7 {
		t.Fatalf("join from another epoch: %+v", got)
	}
	wantMessages(t, r, 8, 12)
}

func TestRecent(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 2, nil)
	publish(t, c.nodes[0], "lobby", 1, 30)
	p := enter(t, c.nodes[1], "alice")
	if ok := p.join(wire.Command{Topic: "lobby", Recent: 10}); ok.After != 20 || ok.Offset != 30 {
		t.Fatalf("recent 10 of 30: %+v", ok)
	}
	wantMessages(t, p, 21, 30)
	if ok := p.join(wire.Command{Topic: "lobby", Recent: 500}); ok.After != 0 {
		t.Fatalf("recent 500 of 30: %+v", ok)
	}
	wantMessages(t, p, 1, 30)
	if ok := p.join(wire.Command{Topic: "lobby"}); ok.After != 30 {
		t.Fatalf("from now on: %+v", ok)
	}
	publish(t, c.nodes[0], "lobby", 31, 31)
	wantMessages(t, p, 31, 31)
}

// Every change of epoch sends each member a reset before later messages.
func TestResetAfterFailover(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 2, nil)
	var people []*peer
	for i, e := range c.nodes {
		p := enter(t, e, fmt.Sprint("user", i))
		p.skip = func(f any) bool { r, ok := f.(*wire.Reset); return ok && r.Topic != "lobby" }
		p.join(wire.Command{Topic: "lobby"})
		people = append(people, p)
	}
	publish(t, c.nodes[0], "lobby", 1, 3)
	for _, p := range people {
		wantMessages(t, p, 1, 3)
	}
	c.memory.Failover(1)
	publish(t, c.nodes[0], "lobby", 3, 4) // the offset 3 again, in another epoch
	for _, p := range people {
		p.skip = func(f any) bool { r, ok := f.(*wire.Reset); return ok && r.Topic != "lobby" }
		r := want[*wire.Reset](p)
		for r.Topic != "lobby" {
			r = want[*wire.Reset](p)
		}
		if r.Reason != "epoch" || r.Recovered || r.After != 2 {
			t.Fatalf("reset: %+v", r)
		}
		wantMessages(t, p, 3, 4)
	}
}

// An excluded session gets a skip instead, also after it came back under another id.
func TestEchoFalse(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 2, nil)
	p := dial(t, c.nodes[0], "/ws")
	p.send(wire.Command{Type: "hello", ID: 1, User: "alice"})
	w := want[*wire.Welcome](p)
	ok := p.join(wire.Command{Topic: "lobby"})
	p.send(wire.Command{Type: "publish", Topic: "lobby", Data: quote("mine"), NoEcho: true})
	if s := want[*wire.Skip](p); s.Topic != "lobby" || s.Offset != 1 {
		t.Fatalf("skip: %+v", s)
	}
	for i, e := range c.nodes {
		q := dial(t, e, "/ws")
		q.send(wire.Command{Type: "hello", ID: 1, User: "alice", Was: w.Session, Resume: map[string]wire.Position{"lobby": {Epoch: ok.Epoch}}})
		want[*wire.Welcome](q)
		if s := want[*wire.Skip](q); s.Offset != 1 {
			t.Fatalf("skip after a resume on node %d: %+v", i, s)
		}
	}
	q := enter(t, c.nodes[0], "bob")
	q.join(wire.Command{Topic: "lobby", Recent: 1})
	if m := want[*wire.Message](q); text(m) != "mine" {
		t.Fatalf("bob got %+v", m)
	}
}
