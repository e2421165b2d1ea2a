package node_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/rookery-chat/rookery/wire"
)

// A direct message is stored in the other's inbox, and as a copy in the sender's own.
func TestDirectMessage(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 2, nil)
	alice := enter(t, c.nodes[0], "alice")
	phone := enter(t, c.nodes[1], "alice")
	bob := enter(t, c.nodes[1], "bob")

	alice.send(wire.Command{Type: "publish", ID: 5, Topic: "@bob", Data: quote("hi"), Key: "k1"})
	for _, p := range []*peer{alice, phone} {
		p.skip = func(f any) bool { _, ok := f.(*wire.OK); return ok }
		if m := want[*wire.Message](p); m.Topic != "@alice" || m.To != "bob" || m.From != "alice" || text(m) != "hi" {
			t.Fatalf("copy: %+v", m)
		}
	}
	if m := want[*wire.Message](bob); m.Topic != "@bob" || m.To != "" || m.From != "alice" || text(m) != "hi" {
		t.Fatalf("message: %+v", m)
	}
	// The same key again changes nothing, and says so.
	alice = enter(t, c.nodes[0], "alice")
	alice.send(wire.Command{Type: "publish", ID: 6, Topic: "@bob", Data: quote("hi"), Key: "k1"})
	if ok := want[*wire.OK](alice); !ok.Duplicate || ok.Published.Offset != 1 || *ok.Reached != 1 {
		t.Fatalf("repeated: %+v", ok.Published)
	}
	if got := alice.say("@nobody", "anyone?"); *got.Reached != 0 || got.Offset != 1 {
		t.Fatalf("to nobody: %+v", got)
	}
	// A note to oneself has no copy.
	alice.skip = func(f any) bool { _, ok := f.(*wire.Skip); return ok }
	alice.send(wire.Command{Type: "publish", Topic: "@alice", Data: quote("note")})
	if m := want[*wire.Message](alice); m.To != "" || m.Offset != 3 || text(m) != "note" {
		t.Fatalf("note: %+v", m)
	}
	if m := want[*wire.Message](phone); m.Offset != 2 || m.To != "nobody" || text(m) != "anyone?" {
		t.Fatalf("copy on the phone: %+v", m)
	}
}

func TestHistory(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 1, nil)
	p := enter(t, c.nodes[0], "alice")
	publish(t, c.nodes[0], "lobby", 1, 60)
	p.join(wire.Command{Topic: "lobby"})
	for _, row := range []struct {
		before      uint64
		limit       int
		first, last int
		more        bool
	}{
		{0, 0, 11, 60, true},
		{11, 5, 6, 10, true},
		{6, 50, 1, 5, false},
		{1, 50, 0, 0, false},
		{1000, 2, 59, 60, true},
	} {
		p.send(wire.Command{Type: "history", ID: 7, Topic: "lobby", Before: row.before, Limit: row.limit})
		h := want[*wire.History](p)
		if row.first == 0 {
			if len(h.Messages) != 0 {
				t.Errorf("before %d limit %d: %d messages", row.before, row.limit, len(h.Messages))
			}
			continue
		}
		if len(h.Messages) != row.last-row.first+1 || h.More != row.more || h.ID != 7 {
			t.Fatalf("before %d limit %d: %d messages, more %v", row.before, row.limit, len(h.Messages), h.More)
		}
		for i, m := range h.Messages {
			if m.Offset != uint64(row.first+i) || text(&m) != fmt.Sprint(row.first+i) {
				t.Fatalf("before %d: message %d is %+v", row.before, i, m)
			}
		}
	}
}

// A long history ends by bytes, with more.
func TestHistoryBytes(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 1, nil)
	p := enter(t, c.nodes[0], "alice")
	p.join(wire.Command{Topic: "lobby"})
	for range 10 {
		p.say("lobby", strings.Repeat("x", 20_000))
	}
	p.skip = func(f any) bool { _, ok := f.(*wire.Skip); return ok }
	q := enter(t, c.nodes[0], "bob")
	q.join(wire.Command{Topic: "lobby"})
	q.send(wire.Command{Type: "history", ID: 7, Topic: "lobby"})
	h := want[*wire.History](q)
	// And so it does for who did not want the echo: history is what was said.
	p.send(wire.Command{Type: "history", ID: 7, Topic: "lobby"})
	if own := want[*wire.History](p); len(own.Messages) != len(h.Messages) {
		t.Fatalf("%d messages for their author, %d for others", len(own.Messages), len(h.Messages))
	}
	if n := len(h.Messages); n != 3 || !h.More || h.Messages[n-1].Offset != 10 {
		t.Fatalf("%d messages, more %v", n, h.More)
	}
}

// A read offset moves forward only, and is shown to the user's other sessions and, in a room, to its members.
func TestRead(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 2, nil)
	alice := enter(t, c.nodes[0], "alice")
	phone := enter(t, c.nodes[1], "alice")
	bob := enter(t, c.nodes[1], "bob")
	for _, p := range []*peer{alice, phone, bob} {
		p.join(wire.Command{Topic: "lobby"})
	}
	publish(t, c.nodes[0], "lobby", 1, 5)
	for _, p := range []*peer{alice, phone, bob} {
		wantMessages(t, p, 1, 5)
	}
	alice.send(wire.Command{Type: "read", Topic: "lobby", Offset: 4})
	for _, p := range []*peer{alice, phone, bob} {
		if r := want[*wire.Read](p); r.Topic != "lobby" || r.From != "alice" || r.Offset != 4 {
			t.Fatalf("read: %+v", r)
		}
	}
	alice.send(wire.Command{Type: "read", ID: 8, Topic: "lobby", Offset: 2}) // back: nothing moves
	want[*wire.OK](alice)
	phone.send(wire.Command{Type: "leave", ID: 9, Topic: "lobby"})
	want[*wire.OK](phone)
	if j := phone.join(wire.Command{Topic: "lobby"}); j.Read != 4 || j.Offset-j.Read != 1 {
		t.Fatalf("unread: %+v", j)
	}
	// In an inbox only the user's own sessions hear of it.
	bob.say("@alice", "x")
	for _, p := range []*peer{alice, phone} {
		want[*wire.Message](p)
	}
	alice.send(wire.Command{Type: "read", Topic: "@alice", Offset: 1})
	if r := want[*wire.Read](phone); r.Topic != "@alice" || r.Offset != 1 {
		t.Fatalf("read: %+v", r)
	}
	bob.skip = func(f any) bool { _, ok := f.(*wire.Skip); return ok }
	bob.send(wire.Command{Type: "ping", ID: 10})
	want[*wire.OK](bob) // and no read before it
}

// A join can be sent right behind the hello, without waiting for the welcome.
func TestJoinBehindHello(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 1, nil)
	publish(t, c.nodes[0], "lobby", 1, 5)
	p := dial(t, c.nodes[0], "/ws")
	p.send(wire.Command{Type: "hello", ID: 1, User: "alice"})
	p.send(wire.Command{Type: "join", ID: 2, Topic: "lobby", Recent: 3})
	p.send(wire.Command{Type: "join", ID: 3, Topic: "attic"})
	if w := want[*wire.Welcome](p); w.ID != 1 {
		t.Errorf("welcome: %+v", w)
	}
	if o := want[*wire.OK](p); o.ID != 2 || o.Joined == nil || o.After != 2 {
		t.Errorf("join: %+v", o)
	}
	p.skip = func(f any) bool { _, ok := f.(*wire.OK); return ok }
	wantMessages(t, p, 3, 5)
}

// Who comes into a room asks how far those who are there have read it.
func TestReads(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 2, nil)
	alice, bob := enter(t, c.nodes[0], "alice"), enter(t, c.nodes[1], "bob")
	for _, p := range []*peer{alice, bob} {
		p.join(wire.Command{Topic: "lobby"})
	}
	publish(t, c.nodes[0], "lobby", 1, 5)
	for _, p := range []*peer{alice, bob} {
		wantMessages(t, p, 1, 5)
		p.skip = func(f any) bool { _, ok := f.(*wire.Read); return ok }
	}
	alice.send(wire.Command{Type: "read", ID: 5, Topic: "lobby", Offset: 4})
	want[*wire.OK](alice)
	carol := enter(t, c.nodes[1], "carol")
	carol.join(wire.Command{Topic: "lobby", Presence: true})
	carol.skip = func(f any) bool {
		switch f.(type) {
		case *wire.Presence, *wire.Read:
			return true
		}
		return false
	}
	ask := func(p *peer, reads map[string]uint64) {
		t.Helper()
		p.send(wire.Command{Type: "members", ID: 6, Topic: "lobby", Reads: true})
		m := want[*wire.Members](p)
		if !maps.Equal(m.Reads, reads) || len(m.Members) != 3 {
			t.Fatalf("members %v have read %v, want %v", m.Members, m.Reads, reads)
		}
	}
	ask(carol, map[string]uint64{"alice": 4}) // from the node's own roster
	bob.send(wire.Command{Type: "read", ID: 5, Topic: "lobby", Offset: 5})
	want[*wire.OK](bob)
	ask(carol, map[string]uint64{"alice": 4, "bob": 5})
	ask(alice, map[string]uint64{"alice": 4, "bob": 5}) // from the cluster's: nobody on this node asked for presence

	carol.send(wire.Command{Type: "members", ID: 7, Topic: "lobby"})
	if m := want[*wire.Members](carol); m.Reads != nil {
		t.Errorf("read offsets %v, not asked for", m.Reads)
	}
	carol.send(wire.Command{Type: "members", ID: 8, Topic: "*", Reads: true})
	if e := want[*wire.Error](carol); e.Code != wire.BadRequest || e.ID != 8 {
		t.Errorf("reads of everyone: %+v", e)
	}
}

func TestSignal(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 2, nil)
	alice, bob := enter(t, c.nodes[0], "alice"), enter(t, c.nodes[1], "bob")
	alice.join(wire.Command{Topic: "lobby"})
	bob.join(wire.Command{Topic: "lobby"})
	alice.send(wire.Command{Type: "signal", Topic: "lobby", Data: []byte(`{"typing":true}`)})
	if s := want[*wire.Signal](bob); s.Topic != "lobby" || s.From != "alice" || string(s.Data) != `{"typing":true}` {
		t.Fatalf("signal: %+v", s)
	}
	bob.send(wire.Command{Type: "signal", ID: 4, Topic: "@alice", Data: []byte(`1`)})
	want[*wire.OK](bob)
	want[*wire.Signal](alice) // the own one
	if s := want[*wire.Signal](alice); s.Topic != "@alice" || s.From != "bob" {
		t.Fatalf("signal: %+v", s)
	}
	j := alice.join(wire.Command{Topic: "lobby", Recent: 10})
	if j.Offset != 0 {
		t.Fatalf("a signal was stored: %+v", j)
	}
}

// After a leave nothing comes, and publishing is refused.
func TestLeave(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 1, nil)
	p := enter(t, c.nodes[0], "alice")
	p.join(wire.Command{Topic: "lobby"})
	p.send(wire.Command{Type: "leave", ID: 3, Topic: "lobby"})
	want[*wire.OK](p)
	publish(t, c.nodes[0], "lobby", 1, 1)
	p.send(wire.Command{Type: "publish", ID: 4, Topic: "lobby", Data: quote("x")})
	if e := want[*wire.Error](p); e.Code != wire.Forbidden {
		t.Fatalf("publish after a leave: %+v", e)
	}
}

// Names are compared in their normal form.
func TestNormalisation(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 1, nil)
	p, q := enter(t, c.nodes[0], "zoë"), enter(t, c.nodes[0], "bob")
	if got := q.say("@zoe\u0308", "hi"); *got.Reached != 1 {
		t.Fatalf("reached %d", *got.Reached)
	}
	if m := want[*wire.Message](p); m.Topic != "@zoë" {
		t.Fatalf("came to %q", m.Topic)
	}
}

// until reads presence frames until the room's members, as they tell, are names.
func (p *peer) until(members []string, names ...string) {
	p.t.Helper()
	now := slices.Clone(members)
	for {
		slices.Sort(now)
		if slices.Equal(now, names) {
			return
		}
		f, ok := p.next().(*wire.Presence)
		if !ok {
			continue
		}
		if f.Roster != nil {
			now = slices.Clone(f.Roster.Members)
		}
		for _, u := range f.Joined {
			if slices.Contains(now, u) {
				p.t.Fatalf("%s joined twice", u)
			}
			now = append(now, u)
		}
		for _, u := range f.Left {
			if !slices.Contains(now, u) {
				p.t.Fatalf("%s left without having joined", u)
			}
			now = slices.DeleteFunc(now, func(v string) bool { return v == u })
		}
		if f.Online != len(now) {
			p.t.Fatalf("online %d, but members are %v", f.Online, now)
		}
	}
}

// Joins and leaves are seen on every node; a user with two devices is one member.
func TestRoster(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 2, nil)
	alice := enter(t, c.nodes[0], "alice")
	j := alice.join(wire.Command{Topic: "lobby", Presence: true})
	if j.Roster == nil {
		t.Fatal("no roster")
	}
	alice.until(j.Roster.Members, "alice")
	bob := enter(t, c.nodes[1], "bob")
	bob.join(wire.Command{Topic: "lobby"})
	alice.until([]string{"alice"}, "alice", "bob")
	phone := enter(t, c.nodes[0], "bob")
	phone.join(wire.Command{Topic: "lobby"})
	bob.send(wire.Command{Type: "leave", Topic: "lobby"})
	carol := enter(t, c.nodes[1], "carol")
	carol.join(wire.Command{Topic: "lobby"})
	alice.until([]string{"alice", "bob"}, "alice", "bob", "carol")
	phone.send(wire.Command{Type: "leave", Topic: "lobby"})
	alice.until([]string{"alice", "bob", "carol"}, "alice", "carol")

	carol.send(wire.Command{Type: "members", ID: 4, Topic: "lobby"})
	m := want[*wire.Members](carol)
	slices.Sort(m.Members)
	if m.Online != 2 || !slices.Equal(m.Members, []string{"alice", "carol"}) || m.More {
		t.Fatalf("members: %+v", m)
	}
	j = carol.join(wire.Command{Topic: "*", Presence: true})
	carol.until(j.Roster.Members, "alice", "bob", "carol")
}
