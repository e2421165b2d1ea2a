package node_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/rookery-chat/rookery/node"
	"github.com/rookery-chat/rookery/wire"
)

// reviewer decides by what is said: it refuses curses, rewrites secrets, cannot be asked about
// the future while it is away, and looks long at what is long.
type reviewer struct{ away atomic.Bool }

func (r *reviewer) review(_ context.Context, topic string, p node.Publication) ([]byte, error) {
	switch said := string(p.Data); {
	case p.From == "" || p.Session == "" || topic == "":
		return nil, errors.New("who says that, and where?")
	case strings.Contains(said, "curse"):
		return nil, &wire.Error{Code: wire.Forbidden, Message: "no curses"}
	case strings.Contains(said, "secret"):
		return []byte(`"***"`), nil
	case r.away.Load():
		return nil, &wire.Error{Code: wire.Unavailable, Retry: true, Message: "later"}
	case strings.Contains(said, "long"):
		time.Sleep(50 * time.Millisecond)
	}
	return p.Data, nil
}

// Who asks about publishes decides what is stored; members see nothing else, in any copy.
func TestReview(t *testing.T) {
	t.Parallel()
	r := &reviewer{}
	c := newCluster(t, 1, &node.Options{Drain: time.Second, Review: r.review})
	e := c.nodes[0]
	alice, phone, bob := enter(t, e, "alice"), enter(t, e, "alice"), enter(t, e, "bob")
	alice.join(wire.Command{Topic: "lobby"})
	bob.join(wire.Command{Topic: "lobby"})
	bob.skip = func(f any) bool { _, ok := f.(*wire.Skip); return ok }
	alice.skip = bob.skip

	alice.send(wire.Command{Type: "publish", ID: 7, Topic: "lobby", Data: quote("a curse"), Key: "k0"})
	if e := want[*wire.Error](alice); e.ID != 7 || e.Topic != "lobby" || e.Code != wire.Forbidden || e.Message != "no curses" || e.Retry {
		t.Errorf("refused with %+v", e)
	}
	alice.say("lobby", "a secret")
	if m := want[*wire.Message](bob); m.Offset != 1 || text(m) != "***" || m.From != "alice" {
		t.Errorf("got %+v, want the other text", m)
	}
	// Both copies of a direct message are what was let through.
	alice.say("@bob", "another secret")
	if m := want[*wire.Message](bob); m.Topic != "@bob" || text(m) != "***" {
		t.Errorf("got %+v", m)
	}
	if m := want[*wire.Message](phone); m.Topic != "@alice" || m.To != "bob" || text(m) != "***" {
		t.Errorf("the sender's other device got %+v", m)
	}
	// A key whose review failed is as good as new; one that was stored stays what it was.
	r.away.Store(true)
	alice.send(wire.Command{Type: "publish", ID: 8, Topic: "lobby", Data: quote("hello"), Key: "k1", NoEcho: true})
	if e := want[*wire.Error](alice); e.Code != wire.Unavailable || !e.Retry {
		t.Errorf("unreviewed: %+v", e)
	}
	r.away.Store(false)
	for i, duplicate := range []bool{false, true} {
		alice.send(wire.Command{Type: "publish", ID: 9, Topic: "lobby", Data: quote([]string{"hello", "a secret"}[i]), Key: "k1", NoEcho: true})
		if ok := want[*wire.OK](alice); ok.Published == nil || ok.Published.Offset != 2 || ok.Published.Duplicate != duplicate {
			t.Errorf("repeated: %+v", ok.Published)
		}
	}
	if m := want[*wire.Message](bob); m.Offset != 2 || text(m) != "hello" {
		t.Errorf("got %+v", m)
	}
	// What a review takes long for does not overtake, nor is it overtaken.
	for i := range 6 {
		alice.send(wire.Command{Type: "publish", Topic: "lobby", Data: quote(fmt.Sprint([]string{"long ", "short "}[i%2], i)), NoEcho: true})
	}
	for i := range 6 {
		if m := want[*wire.Message](bob); !strings.HasSuffix(text(m), fmt.Sprint(" ", i)) {
			t.Errorf("message %d is %q", i, text(m))
		}
	}
	// Plain text is reviewed too; a server's own publishes are not.
	p := dial(t, e, "/plain?as=carol")
	defer p.conn.Close(websocket.StatusNormalClosure, "")
	p.write("my secret")
	if m := want[*wire.Message](bob); m.From != "carol" || text(m) != "***" {
		t.Errorf("got %+v", m)
	}
	if _, err := e.Publish(t.Context(), "lobby", node.Publication{Data: quote("the server's secret"), From: "backend"}); err != nil {
		t.Fatal(err)
	}
	if m := want[*wire.Message](bob); text(m) != "the server's secret" {
		t.Errorf("got %+v", m)
	}
}
