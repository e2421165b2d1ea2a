package node_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rookery-chat/rookery/node"
	"github.com/rookery-chat/rookery/wire"
)

// The server's word reaches a user's sessions on whichever node they are.
func TestOrders(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3, &node.Options{Version: "v7", Drain: 2 * time.Second})
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

	sessions, silent, err := asker.Sessions(t.Context(), "alice")
	if err != nil {
		t.Fatal(err)
	}
	on := make(map[string]int)
	for _, s := range sessions {
		on[s.Node]++
		if s.ID == "" || s.Address == "" || s.Since.IsZero() || s.Version != "v7" || !strings.HasPrefix(s.Agent, "Go-http-client") {
			t.Errorf("session: %+v", s)
		}
	}
	if len(sessions) != 3 || len(on) != 3 || silent != 0 {
		t.Errorf("alice's sessions: %+v, silent %d", sessions, silent)
	}
	if none, silent, err := asker.Sessions(t.Context(), "nobody"); err != nil || len(none) != 0 || silent != 0 {
		t.Errorf("nobody's sessions: %+v, silent %d, %v", none, silent, err)
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

// Any node tells of all nodes, and lists the topics of all of them, page by page, each once.
func TestQuestions(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3, &node.Options{Version: "v7", Address: "here:8000", Drain: 2 * time.Second})
	var ids, want []string
	for i, e := range c.nodes {
		ids = append(ids, e.ID())
		for _, user := range []string{"alice", fmt.Sprint("user", i)} {
			p := enter(t, e, user)
			for _, room := range []string{"lobby", fmt.Sprint("room", i), "of-" + user} {
				p.join(wire.Command{Topic: room})
				want = append(want, room)
			}
			want = append(want, "*", "@"+user)
		}
	}
	slices.Sort(want)
	want = slices.Compact(want)
	for _, limit := range []int{1, 4, 100} {
		var got []string
		for after := ""; ; {
			page, silent, err := c.nodes[1].Topics(t.Context(), ids, after, limit)
			if err != nil || silent != 0 || len(page) > limit {
				t.Fatalf("topics after %q: %q, silent %d, %v", after, page, silent, err)
			}
			if len(page) == 0 {
				break
			}
			got, after = append(got, page...), page[len(page)-1]
		}
		if !slices.Equal(got, want) {
			t.Errorf("in pages of %d: %q, want %q", limit, got, want)
		}
	}

	gone := strings.Repeat("0", 16)
	infos, err := c.nodes[0].Nodes(t.Context(), append(ids, gone))
	if err != nil || len(infos) != 4 || infos[0] != (node.Info{ID: gone, State: node.Silent}) {
		t.Fatalf("nodes: %+v, %v", infos, err)
	}
	slices.Sort(ids)
	for i, n := range infos[1:] {
		if n.ID != ids[i] || n.State != node.Serving || n.Address != "here:8000" || n.Version != "v7" ||
			n.Since.IsZero() || n.Sessions != 2 || n.Users != 2 {
			t.Errorf("node: %+v", n)
		}
	}
	if _, silent, err := c.nodes[0].Topics(t.Context(), append(ids, gone), "", 1); err != nil || silent != 1 {
		t.Errorf("with a node that is gone: silent %d, %v", silent, err)
	}
}
