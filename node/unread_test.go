package node_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rookery-chat/rookery/store"
	"github.com/rookery-chat/rookery/wire"
)

// A store whose bans cannot be read at first.
type sealed struct {
	store.Store
	open  atomic.Bool
	tried chan struct{} // capacity 1
}

func (s *sealed) Sanctions(ctx context.Context, known string) ([]store.Sanction, string, error) {
	if !s.open.Load() {
		select {
		case s.tried <- struct{}{}:
		default:
		}
		return nil, known, errors.New("sealed")
	}
	return s.Store.Sanctions(ctx, known)
}

// A node that has not read the bans yet is not ready and lets nobody in, by protocol or
// plain text; once it has, those who wait come in, but for the banned.
func TestNobodyEntersBeforeTheBansAreRead(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 0, nil)
	if err := c.facts.Impose(t.Context(), store.Sanction{Kind: store.Ban, Topic: wire.Everyone, User: "alice"}); err != nil {
		t.Fatal(err)
	}
	facts := &sealed{Store: c.facts, tried: make(chan struct{}, 1)}
	e := c.addWith(t, nil, facts)
	<-facts.tried
	if err := e.Ready(); err == nil || !strings.Contains(err.Error(), "bans") {
		t.Errorf("ready: %v", err)
	}
	answers := make(chan any, 2)
	hear := func(p *peer) {
		go func() {
			b, err := p.read()
			f, _ := wire.ParseFrame(b)
			if f == nil {
				f = errors.Join(errors.New(string(b)), err)
			}
			answers <- f
		}()
	}
	alice, bob := dial(t, e, "/ws"), dial(t, e, "/ws")
	alice.send(wire.Command{Type: "hello", ID: 1, User: "alice"})
	hear(alice)
	bob.send(wire.Command{Type: "hello", ID: 1, User: "bob"})
	hear(bob)
	plain := dial(t, e, "/plain?as=alice")
	<-facts.tried // a second later, and nobody was answered
	select {
	case f := <-answers:
		t.Fatalf("answered before the bans were read: %+v", f)
	default:
	}
	facts.open.Store(true)
	for range 2 {
		switch f := (<-answers).(type) {
		case *wire.Welcome:
			if f.User != "bob" {
				t.Errorf("%s is let in", f.User)
			}
		case *wire.Error:
			if f.ID != 1 || f.Code != wire.Forbidden {
				t.Errorf("alice: %+v", f)
			}
		default:
			t.Errorf("answered %T %v", f, f)
		}
	}
	if b, err := plain.read(); err != nil || string(b) != "! you are banned" {
		t.Errorf("plain alice hears %q, %v", b, err)
	}
	if code := alice.closed(); code != wire.CloseKicked {
		t.Errorf("closed with %d", code)
	}
	if err := e.Ready(); err != nil {
		t.Errorf("ready: %v", err)
	}
}

// A ban that is imposed while its user comes in finds the user: either the hello is refused,
// or the session ends.
func TestBanAgainstHello(t *testing.T) {
	t.Parallel()
	e := newCluster(t, 1, nil).nodes[0]
	for i := range 200 {
		user := fmt.Sprint("user", i)
		p := dial(t, e, "/ws")
		imposed := make(chan error, 1)
		go func() {
			time.Sleep(time.Duration(i) * 5 * time.Microsecond) // at another moment of the hello each time
			imposed <- e.Sanction(context.Background(), store.Sanction{Kind: store.Ban, Topic: wire.Everyone, User: user})
		}()
		p.send(wire.Command{Type: "hello", ID: 1, User: user})
		if code := p.closed(); code != wire.CloseKicked {
			t.Fatalf("closed with %d", code)
		}
		if err := <-imposed; err != nil {
			t.Fatal(err)
		}
	}
}
