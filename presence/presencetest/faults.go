package presencetest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"
)

// serve waits until a node trusts what it sees of the others: before that it condemns nobody.
func serve(c Cluster) { time.Sleep(c.Timing().Serving + c.Timing().Renew) }

func testCrash(t *testing.T, c Cluster) {
	a, b, d := c.Attach(), c.Attach(), c.Attach()
	lobby, all := c.Observe("lobby"), c.Observe("*")
	join(t, a, "lobby", "alice", "bob")
	join(t, a, "*", "alice", "bob")
	join(t, b, "lobby", "bob")
	join(t, b, "*", "bob")
	serve(c)
	began := time.Now()
	a.Crash()
	shows(t, lobby, b, "bob")
	shows(t, all, b, "bob")
	limit := c.Timing().Lease + c.Timing().Margin + 2*c.Timing().Renew
	if took := time.Since(began); c.Exact() && took > limit {
		t.Errorf("it took %v, more than %v", took, limit)
	}
	eventually(t, func() error {
		if reaped := b.Stats().Reaped + d.Stats().Reaped; reaped != 1 {
			return fmt.Errorf("reaped %d times", reaped)
		}
		return nil
	})
	shows(t, lobby, b, "bob")
	times(t, lobby, "alice", 1, 1)
	times(t, all, "alice", 1, 1)
	times(t, lobby, "bob", 1, 0)
	times(t, all, "bob", 1, 0)
}

func testCrashOfMany(t *testing.T, c Cluster) {
	a, b := c.Attach(), c.Attach()
	o := c.Observe("lobby")
	var wg sync.WaitGroup
	var users []string
	for i := range 1300 { // more than one script takes
		user, topic := fmt.Sprintf("u%04d", i), fmt.Sprintf("room%d", i)
		users = append(users, user)
		wg.Go(func() { join(t, a, "lobby", user) })
		wg.Go(func() { join(t, a, topic, user) })
	}
	wg.Wait()
	shows(t, o, b, users...)
	a.Crash()
	shows(t, o, b)
	for _, u := range users {
		times(t, o, u, 1, 1)
	}
	eventually(t, func() error {
		for i := range users {
			r, err := b.Roster(context.Background(), fmt.Sprintf("room%d", i), "", 10)
			if err != nil || r.Online != 0 || r.Version != 2 {
				return fmt.Errorf("room of a dead node: %+v, %v", r, err)
			}
		}
		return nil
	})
}

func testCrashAndReturn(t *testing.T, c Cluster) {
	a, b := c.Attach(), c.Attach()
	o := c.Observe("lobby")
	join(t, a, "lobby", "alice", "bob", "carol")
	a.Crash()
	join(t, b, "lobby", "alice") // she is back before anybody misses her
	shows(t, o, b, "alice")
	times(t, o, "alice", 1, 0)
	times(t, o, "bob", 1, 1)
	times(t, o, "carol", 1, 1)
}

func testPause(t *testing.T, c Cluster) {
	a, b := c.Attach(), c.Attach()
	o := c.Observe("lobby")
	join(t, a, "lobby", "alice", "bob")
	join(t, b, "lobby", "bob")
	serve(c)
	a.Pause()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if a.Join(ctx, "lobby", "carol") == nil { // this step is to arrive when its incarnation is dead
		t.Fatal("a node that is paused joined somebody")
	}
	shows(t, o, b, "bob")
	a.Resume()
	shows(t, o, b, "alice", "bob", "carol")
	a.Leave("lobby", "carol", 0)
	shows(t, o, b, "alice", "bob")
	times(t, o, "alice", 2, 1)
	times(t, o, "bob", 1, 0)
	times(t, o, "carol", 1, 1)
	if n := a.Stats().Incarnations; n != 2 {
		t.Errorf("%d incarnations, not 2", n)
	}
	b.Leave("lobby", "bob", 0)
	a.Leave("lobby", "alice", 0)
	shows(t, o, a, "bob")
	times(t, o, "alice", 2, 2)
}

// An outage of the whole cluster is nobody's fault.
func testOutage(t *testing.T, c Cluster) {
	a, b := c.Attach(), c.Attach()
	o := c.Observe("lobby")
	join(t, a, "lobby", "alice")
	join(t, b, "lobby", "bob")
	serve(c)
	a.Pause()
	b.Pause()
	time.Sleep(3 * c.Timing().Lease)
	b.Leave("lobby", "bob", 0)
	b.Resume()
	time.Sleep(c.Timing().Serving / 4) // b alone sees that a's lease has lapsed
	a.Resume()
	shows(t, o, a, "alice")
	serve(c)
	serve(c)
	shows(t, o, a, "alice")
	times(t, o, "alice", 1, 0)
	if n := a.Stats().Incarnations + b.Stats().Incarnations; n != 2 {
		t.Errorf("%d incarnations of 2 nodes", n)
	}
}

func testLose(t *testing.T, c Cluster) {
	a, b := c.Attach(), c.Attach()
	o := c.Observe("lobby")
	join(t, a, "lobby", "alice", "bob", "dave")
	join(t, b, "lobby", "bob", "carol")
	shows(t, o, a, "alice", "bob", "carol", "dave")
	epoch := o.epoch
	c.Lose()
	b.Leave("lobby", "carol", 0)
	a.Leave("lobby", "dave", time.Hour)
	shows(t, o, a, "alice", "bob", "dave")
	if o.epoch == epoch {
		t.Error("the roster was lost, but its epoch is the same")
	}
	if a.Stats().Reconciled == 0 || a.Stats().Incarnations != 1 {
		t.Errorf("after a loss: %+v", a.Stats())
	}
	a.Crash() // the index is right again, so that everything is reaped
	shows(t, o, b, "bob")
}

func testJoinWithoutAnswer(t *testing.T, c Cluster) {
	n := c.Attach()
	o := c.Observe("lobby")
	join(t, n, "lobby", "alice")
	n.Pause()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := n.Join(ctx, "lobby", "bob"); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("join without an answer: %v", err)
	}
	if err := n.Join(ctx, "lobby", "carol"); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("join without an answer: %v", err)
	}
	n.Leave("lobby", "carol", 0)
	n.Resume()
	shows(t, o, n, "alice", "bob") // the declaration stands
	n.Leave("lobby", "bob", 0)
	shows(t, o, n, "alice")

	n.Pause()
	failed := make(chan error)
	go func() { failed <- n.Join(context.Background(), "lobby", "dave") }()
	n.Crash()
	if err := <-failed; err == nil {
		t.Fatal("a node that has ended joined somebody")
	}
}

func testLostAnswers(t *testing.T, c Cluster) {
	n := c.Attach()
	o := c.Observe("lobby")
	n.Flaky(rand.New(rand.NewPCG(1, 2)))
	for i := range 20 {
		join(t, n, "lobby", "alice", "bob")
		n.Leave("lobby", "alice", 0)
		if i%2 == 0 {
			n.Leave("lobby", "bob", 0)
		}
	}
	n.Flaky(nil)
	shows(t, o, n, "bob")
}
