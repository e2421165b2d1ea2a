package faults_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/rookery-chat/rookery/faults/judge"
	"github.com/rookery-chat/rookery/wire"
)

// nth calls change with the nth frame of type T, and leaves all others alone.
func nth[T any](n int, change func(T) []any) func(any) []any {
	return func(f any) []any {
		if t, ok := f.(T); ok {
			if n--; n == 0 {
				return change(t)
			}
		}
		return []any{f}
	}
}

// A real cluster without faults, whose members' frames are changed on their way: the judge
// finds each broken promise in the log of the member that it was broken to, and no other.
func TestJudgeFindsMutants(t *testing.T) {
	t.Parallel()
	struck := make(chan struct{})
	lies := map[int]func(any) []any{
		1: nth(20, func(m *wire.Message) []any { return nil }),
		2: nth(20, func(m *wire.Message) []any { return []any{m, m} }),
		4: nth(20, func(m *wire.Message) []any {
			other := *m
			other.Data = []byte(`{"key":"another"}`)
			return []any{&other}
		}),
		0: nth(1, func(p *wire.Presence) []any { close(struck); return nil }),
		5: func(f any) []any { // from the last words on, deaf
			if m, ok := f.(*wire.Message); ok && strings.Contains(string(m.Data), `"last-`) {
				return nil
			}
			return []any{f}
		},
	}
	guilty := map[string]string{"member-member1": "I2", "member-member2": "I2", "member-member4": "I3", "member-member0": "I4", "member-member5": "I1", "cluster-storm": "I5"}
	s := newStorm(t, newBackend(t, "single"), 1, lies)
	for _, m := range s.members[:6] {
		await(t, m.user+" gets messages", func() bool { return m.count() > 30 })
	}
	late := watch(t, s.dir, "late", s.way(0), false, s.members[0].rooms[0]) // makes a presence frame
	await(t, "a member comes late", func() bool { return late.position(s.members[0].rooms[0]).Epoch != "" })
	late.leave()
	select {
	case <-struck:
	case <-time.After(patience):
		t.Fatal("nobody was told of who came late")
	}
	v := s.calmAnd(func() {
		for range 200 { // more than any node keeps, and measured before they go
			c, _, err := websocket.Dial(context.Background(), s.way(0)(), &websocket.DialOptions{Subprotocols: []string{wire.Subprotocol}})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { c.CloseNow() })
		}
	})
	for who, promise := range guilty {
		if !slices.ContainsFunc(v.Violations, func(v judge.Violation) bool { return v.Who == who && v.Promise == promise }) {
			t.Errorf("nobody saw that %s was broken to %s", promise, who)
		}
	}
	for _, violation := range v.Violations {
		// A changed name is as wrong where the true one comes: in everybody's log, if that is read later.
		if guilty[violation.Who] == "" && violation.Promise != "I3" {
			t.Errorf("an innocent is accused: %v", violation)
		}
	}
	if t.Failed() {
		t.Logf("%v", v)
	}
}

// count is how far the witness got in its rooms together.
func (w *witness) count() (n uint64) {
	for _, room := range w.rooms {
		n += w.position(room).Offset
	}
	return n
}
