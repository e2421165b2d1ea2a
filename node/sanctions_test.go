package node_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/rookery-chat/rookery/store"
	"github.com/rookery-chat/rookery/wire"
)

// Bans and mutes hold on whichever node the user is, and for who connects later.
func TestSanctions(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 2, nil)
	asker, other := c.nodes[0], c.nodes[1]
	alice := enter(t, other, "alice")
	for _, room := range []string{"lobby", "garden"} {
		alice.join(wire.Command{Topic: room})
	}
	refused := func(command wire.Command) {
		t.Helper()
		command.ID = 9
		alice.send(command)
		if e := want[*wire.Error](alice); e.ID != 9 || e.Code != wire.Forbidden {
			t.Errorf("%s %s: %+v", command.Type, command.Topic, e)
		}
	}
	if err := asker.Sanction(t.Context(), store.Sanction{Kind: store.Ban, Topic: "lobby", User: "alice"}); err != nil {
		t.Fatal(err)
	}
	if e := want[*wire.Error](alice); e.Topic != "lobby" || e.ID != 0 || e.Code != wire.Forbidden {
		t.Fatalf("banned: %+v", e)
	}
	refused(wire.Command{Type: "join", Topic: "lobby"})
	if err := asker.Sanction(t.Context(), store.Sanction{Kind: store.Mute, Topic: "garden", User: "alice", Until: time.Now().Add(time.Hour)}); err != nil {
		t.Fatal(err)
	}
	// The order travels as signals do: once it is there, publishes are refused.
	alice.skip = func(f any) bool { _, ok := f.(*wire.Skip); return ok }
	for muted := false; !muted; {
		alice.send(wire.Command{Type: "publish", ID: 3, Topic: "garden", Data: quote("x"), NoEcho: true})
		for answered := false; !answered; {
			switch f := alice.next().(type) {
			case *wire.OK:
				answered = true
				time.Sleep(10 * time.Millisecond)
			case *wire.Error:
				answered, muted = true, f.Code == wire.Forbidden
			}
		}
	}
	if was, err := asker.Pardon(t.Context(), store.Ban, "lobby", "alice"); err != nil || !was {
		t.Fatalf("pardon: %v, %v", was, err)
	}
	for in := false; !in; {
		alice.send(wire.Command{Type: "join", ID: 4, Topic: "lobby"})
		_, in = alice.next().(*wire.OK)
	}
	if err := asker.Sanction(t.Context(), store.Sanction{Kind: store.Ban, Topic: wire.Everyone, User: "alice"}); err != nil {
		t.Fatal(err)
	}
	if code := alice.closed(); code != wire.CloseKicked {
		t.Errorf("closed with %d", code)
	}
	again, answer := hello(t, other, wire.Command{User: "alice"})
	if e, ok := answer.(*wire.Error); !ok || e.Code != wire.Forbidden {
		t.Errorf("back again: %+v", answer)
	}
	if code := again.closed(); code != wire.CloseKicked {
		t.Errorf("closed with %d", code)
	}
}

// Timers fire once in a cluster, however many nodes there are.
func TestTimers(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3, nil)
	p := enter(t, c.nodes[0], "alice")
	p.join(wire.Command{Topic: "clock"})
	const once = 100
	for i := range once {
		timer := store.Timer{ID: fmt.Sprint("once-", i), Topic: "clock", Data: quote(fmt.Sprint("once ", i)), At: time.Now().Add(200 * time.Millisecond)}
		if err := c.facts.AddTimer(t.Context(), timer); err != nil {
			t.Fatal(err)
		}
	}
	every := store.Timer{ID: "every", Topic: "clock", Data: quote("tick {{count}} at {{time}}"), Every: 200 * time.Millisecond, At: time.Now()}
	if err := c.facts.AddTimer(t.Context(), every); err != nil {
		t.Fatal(err)
	}
	seen := make(map[string]int)
	ticks := 0
	for len(seen) < once || ticks < 4 {
		m := want[*wire.Message](p)
		if m.From != "timer" {
			t.Fatalf("from %q", m.From)
		}
		var n int
		var at string
		if k, _ := fmt.Sscanf(text(m), "tick %d at %s", &n, &at); k == 2 {
			if ticks++; n != ticks {
				t.Fatalf("tick %d says that it is %d", ticks, n)
			}
			if _, err := time.Parse(time.RFC3339, at); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if seen[text(m)]++; seen[text(m)] > 1 {
			t.Fatalf("%q came twice", text(m))
		}
	}
}
