package presence_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/rookery-chat/rookery/presence"
	"github.com/rookery-chat/rookery/presence/presencetest"
)

// What takes hours, or has to happen at the right moment, is tested where time is a bubble's.

func inBubble(t *testing.T, test func(t *testing.T, c *memory)) {
	synctest.Test(t, func(t *testing.T) { test(t, newMemory(t)) })
}

// online is how many users the observer takes to be there, when all is done.
func online(t *testing.T, o *presencetest.Observer) int {
	t.Helper()
	synctest.Wait()
	if err := o.Look(); err != nil {
		t.Fatal(err)
	}
	return len(o.Users())
}

func TestGraceEndsInTime(t *testing.T) {
	inBubble(t, func(t *testing.T, c *memory) {
		n, o := c.Attach(), c.Observe("lobby")
		for _, user := range []string{"alice", "bob", "carol"} {
			if err := n.Join(t.Context(), "lobby", user); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Second)
		n.Leave("lobby", "alice", 5*time.Second)
		n.Leave("lobby", "bob", time.Second)
		time.Sleep(time.Second - time.Millisecond)
		if got := online(t, o); got != 3 {
			t.Fatalf("%d online before any grace ended, not 3", got)
		}
		time.Sleep(10 * time.Millisecond)
		if got := online(t, o); got != 2 {
			t.Fatalf("%d online after one grace ended, not 2", got)
		}
		time.Sleep(4*time.Second - 20*time.Millisecond)
		if got := online(t, o); got != 2 {
			t.Fatalf("%d online before the other grace ended, not 2", got)
		}
		time.Sleep(20 * time.Millisecond)
		if got := online(t, o); got != 1 {
			t.Fatalf("%d online after both, not 1", got)
		}
	})
}

func TestIdleNodeOnlyRenews(t *testing.T) {
	inBubble(t, func(t *testing.T, c *memory) {
		n := c.Attach()
		for _, topic := range []string{"lobby", "*"} {
			if err := n.Join(t.Context(), topic, "alice"); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Minute)
		before := n.Stats().Scripts
		time.Sleep(time.Minute)
		if ran := n.Stats().Scripts - before; ran > 60 {
			t.Errorf("a node with nothing to do ran %d scripts in a minute", ran)
		}
	})
}

func TestTopicsAreReleased(t *testing.T) {
	inBubble(t, func(t *testing.T, c *memory) {
		n := c.Attach()
		p := n.(*node).Presence
		for range 3 {
			for _, topic := range []string{"lobby", "den"} {
				if err := n.Join(t.Context(), topic, "alice"); err != nil {
					t.Fatal(err)
				}
			}
			if got := presence.Topics(p); got != 2 {
				t.Fatalf("%d topics, not 2", got)
			}
			n.Leave("lobby", "alice", 0)
			n.Leave("den", "alice", time.Second)
			time.Sleep(time.Minute)
			if got := presence.Topics(p); got != 0 {
				t.Fatalf("%d topics are left after everybody left", got)
			}
			if got := c.m.Indexed(); got != 0 {
				t.Fatalf("%d topics are left in the index", got)
			}
		}
	})
}

func TestVersionsOutliveTheirUsers(t *testing.T) {
	inBubble(t, func(t *testing.T, c *memory) {
		n := c.Attach()
		visit := func() presence.Roster {
			if err := n.Join(t.Context(), "lobby", "alice"); err != nil {
				t.Fatal(err)
			}
			r, err := n.Roster(t.Context(), "lobby", "", 1)
			if err != nil {
				t.Fatal(err)
			}
			n.Leave("lobby", "alice", 0)
			synctest.Wait()
			return r
		}
		first := visit()
		time.Sleep(23 * time.Hour)
		if r := visit(); r.Epoch != first.Epoch || r.Version != first.Version+2 {
			t.Errorf("after %+v and 23 hours: %+v", first, r)
		}
		time.Sleep(26 * time.Hour)
		if left := c.m.Rosters(); left != 0 {
			t.Errorf("%d rosters are kept for ever", left)
		}
		if r := visit(); r.Epoch == first.Epoch || r.Version != 1 {
			t.Errorf("a roster begun anew: %+v", r)
		}
	})
}
