package node_test

import (
	"fmt"
	"testing"

	"github.com/rookery-chat/rookery/node"
	"github.com/rookery-chat/rookery/wire"
)

// A message published on any node reaches the room's members on all of them, once and in
// one order; a user is reached wherever she is; * reaches everyone.
func TestAnyNodeReachesEveryClient(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3, nil)
	var people []*peer
	for i, e := range c.nodes {
		p := enter(t, e, fmt.Sprintf("user%d", i))
		p.join(wire.Command{Topic: "lobby"})
		people = append(people, p)
	}
	for i, p := range people {
		p.send(wire.Command{Type: "publish", Topic: "lobby", Data: quote(fmt.Sprintf("from %d", i))})
		for _, q := range people {
			m := want[*wire.Message](q)
			if m.Offset != uint64(i+1) || text(m) != fmt.Sprintf("from %d", i) || m.From != fmt.Sprintf("user%d", i) || m.Time == 0 || m.Session == "" {
				t.Fatalf("message %d came as %+v", i, m)
			}
		}
	}
	if got := people[0].say("@user2", "psst"); got.Reached == nil || *got.Reached != 1 {
		t.Fatalf("reached %v, want 1", got.Reached)
	}
	if m := want[*wire.Message](people[2]); m.Topic != "@user2" || text(m) != "psst" || m.From != "user0" || m.To != "" {
		t.Fatalf("direct message came as %+v", m)
	}
	if _, err := c.nodes[1].Publish(t.Context(), wire.Everyone, node.Publication{Data: quote("all"), From: "backend"}); err != nil {
		t.Fatal(err)
	}
	people[0].skip = func(f any) bool { _, ok := f.(*wire.Skip); return ok } // of the copy of the direct message
	for _, q := range people {
		if m := want[*wire.Message](q); m.Topic != wire.Everyone || text(m) != "all" || m.Session != "" {
			t.Fatalf("broadcast came as %+v", m)
		}
	}
}
