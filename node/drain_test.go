package node_test

import (
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/rookery-chat/rookery/node"
	"github.com/rookery-chat/rookery/wire"
)

// A draining node says goodbye to everyone, with a time to wait, and nobody is seen leaving
// who comes back elsewhere.
func TestDrain(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 2, &node.Options{Drain: 5 * time.Second})
	watch := enter(t, c.nodes[1], "watch")
	j := watch.join(wire.Command{Topic: "lobby", Presence: true})
	members := []string{"watch"}
	var people []*peer
	for i := range 20 {
		user := fmt.Sprintf("user%02d", i)
		p := enter(t, c.nodes[0], user)
		p.join(wire.Command{Topic: "lobby"})
		people = append(people, p)
		members = append(members, user)
	}
	slices.Sort(members)
	watch.until(j.Roster.Members, members...)

	if err := c.nodes[0].Ready(); err != nil {
		t.Fatalf("before: %v", err)
	}
	c.nodes[0].stop()
	for i, p := range people {
		g := want[*wire.Goodbye](p)
		if g.Code != "draining" || !g.Reconnect || g.After < 0 || g.After > 2000 {
			t.Errorf("goodbye: %+v", g)
		}
		if code := p.closed(); code != wire.CloseDraining {
			t.Errorf("closed with %d", code)
		}
		q := enter(t, c.nodes[1], fmt.Sprintf("user%02d", i))
		q.join(wire.Command{Topic: "lobby"})
	}
	if c.nodes[0].Ready() == nil {
		t.Error("a draining node says that it is ready")
	}
	_, r, err := websocket.Dial(t.Context(), c.nodes[0].url("/ws"), nil)
	if err == nil || r != nil && r.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("a draining node takes connections: %v", r)
	}
	c.nodes[0].end(t)
	// The next presence frame is of someone new: nobody left in between.
	enter(t, c.nodes[1], "zed").join(wire.Command{Topic: "lobby"})
	if f := want[*wire.Presence](watch); len(f.Left) != 0 || len(f.Joined) != 1 || f.Joined[0] != "zed" {
		t.Errorf("presence: %+v", f)
	}
}

// A lost connection's user is not seen leaving if she is back soon; a leave is seen at once.
func TestGrace(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 2, nil)
	watch := enter(t, c.nodes[1], "watch")
	j := watch.join(wire.Command{Topic: "lobby", Presence: true})
	alice := enter(t, c.nodes[0], "alice")
	alice.join(wire.Command{Topic: "lobby"})
	watch.until(j.Roster.Members, "alice", "watch")
	alice.conn.CloseNow() // lost
	alice = enter(t, c.nodes[1], "alice")
	alice.join(wire.Command{Topic: "lobby"})
	bob := enter(t, c.nodes[0], "bob")
	bob.join(wire.Command{Topic: "lobby"})
	if f := want[*wire.Presence](watch); len(f.Left) != 0 || len(f.Joined) != 1 || f.Joined[0] != "bob" {
		t.Errorf("presence: %+v", f)
	}
	bob.conn.Close(websocket.StatusNormalClosure, "bye")
	watch.until([]string{"alice", "bob", "watch"}, "alice", "watch")
}

func TestPlain(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 2, nil)
	alice := dial(t, c.nodes[0], "/plain?as=alice&topic=lobby")
	alice.write("first")
	wantText(t, alice, "first") // so she is in
	bob := dial(t, c.nodes[1], "/plain")
	bob.write("no spaces please")
	wantText(t, bob, "! user name must not contain white space")
	bob.write("bob\n")
	wantText(t, alice, "* bob joined")
	bob.write("hello \"you\"\n")
	wantText(t, alice, `hello "you"`)
	carol := enter(t, c.nodes[1], "carol")
	carol.join(wire.Command{Topic: "lobby", Presence: true})
	wantText(t, alice, "* carol joined")
	carol.send(wire.Command{Type: "publish", Topic: "lobby", Data: []byte(`{"n": [1, 2]}`)})
	wantText(t, alice, `{"n":[1,2]}`)
	alice.write("hi all")
	want[*wire.Message](carol)
	if m := want[*wire.Message](carol); text(m) != "hi all" || m.From != "alice" {
		t.Errorf("carol got %+v", m)
	}
	bob.conn.Close(websocket.StatusNormalClosure, "")
	wantText(t, alice, "hi all")
	wantText(t, alice, "* bob left")

	for _, query := range []string{"as=a%20b", "as=alice&topic=@bob", "as=alice&topic=*", "topic=a%20b"} {
		_, r, err := websocket.Dial(t.Context(), c.nodes[0].url("/plain?"+query), nil)
		if err == nil || r == nil || r.StatusCode != http.StatusBadRequest {
			t.Errorf("%s: %v", query, r)
		}
	}
}

// wantText checks the next text of a plain session.
func wantText(t *testing.T, p *peer, want string) {
	t.Helper()
	b, err := p.read()
	if err != nil {
		t.Fatalf("read: %v", err)
	}
	if string(b) != want {
		t.Fatalf("got %q, want %q", b, want)
	}
}
