package node_test

import (
	"testing"

	"github.com/rookery-chat/rookery/wire"
)

// The server's word reaches a user's sessions on whichever node they are.
func TestOrders(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3, nil)
	watch := enter(t, c.nodes[2], "watch")
	j := watch.join(wire.Command{Topic: "lobby", Presence: true})
	_, answer := hello(t, c.nodes[0], wire.Command{User: "alice"})
	_ = answer
	laptop, welcomed := hello(t, c.nodes[1], wire.Command{User: "alice"})
	phone := enter(t, c.nodes[2], "alice")
	asker := c.nodes[0]

	if _, err := asker.JoinUser(t.Context(), "lobby", "alice"); err != nil {
		t.Fatal(err)
	}
	for _, p := range []*peer{laptop, phone} {
		if ok := want[*wire.OK](p); ok.ID != 0 || ok.Topic != "lobby" || ok.Joined == nil {
			t.Fatalf("joined by the server: %+v", ok)
		}
	}
	watch.until(j.Roster.Members, "alice", "watch")
	publish(t, asker, "lobby", 1, 1)
	for _, p := range []*peer{laptop, phone} {
		wantMessages(t, p, 1, 1)
	}
	if _, err := asker.RemoveUser(t.Context(), "lobby", "alice"); err != nil {
		t.Fatal(err)
	}
	for _, p := range []*peer{laptop, phone} {
		if e := want[*wire.Error](p); e.ID != 0 || e.Topic != "lobby" || e.Code != wire.Forbidden {
			t.Fatalf("removed by the server: %+v", e)
		}
	}
	watch.until([]string{"alice", "watch"}, "watch")
	publish(t, asker, "lobby", 2, 2)

	sessions, err := asker.Sessions(t.Context(), "alice")
	if err != nil {
		t.Fatal(err)
	}
	on := make(map[string]int)
	for _, s := range sessions {
		on[s.Node]++
		if s.ID == "" || s.Address == "" || s.Since.IsZero() {
			t.Errorf("session: %+v", s)
		}
	}
	if len(sessions) != 3 || len(on) != 3 {
		t.Errorf("alice's sessions: %+v", sessions)
	}
	if none, err := asker.Sessions(t.Context(), "nobody"); err != nil || len(none) != 0 {
		t.Errorf("nobody's sessions: %+v, %v", none, err)
	}
	session := welcomed.(*wire.Welcome).Session
	if _, err := asker.KickSession(t.Context(), session); err != nil {
		t.Fatal(err)
	}
	if g := want[*wire.Goodbye](laptop); g.Reconnect || g.Code != "kicked" {
		t.Fatalf("goodbye: %+v", g)
	}
	if code := laptop.closed(); code != wire.CloseKicked {
		t.Fatalf("closed with %d", code)
	}
	phone.send(wire.Command{Type: "ping", ID: 4})
	want[*wire.OK](phone) // the other session lives on
	if _, err := asker.Kick(t.Context(), "alice"); err != nil {
		t.Fatal(err)
	}
	if code := phone.closed(); code != wire.CloseKicked {
		t.Fatalf("closed with %d", code)
	}
}
