// Package presencetest holds the conformance suite of presence: what every backend must do.
package presencetest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/rookery-chat/rookery/presence"
)

// A Cluster is where a test's nodes meet. It is made for one test, and cleaned up with it.
type Cluster interface {
	// Attach makes a node that runs.
	Attach() Node
	// Observe makes an observer that hears every change of the topic from now on.
	Observe(topic string) *Observer
	// Journal is a node's way to the journal, which keeps Keep changes of each partition.
	Journal() presence.Journal
	// Lose makes the cluster forget everything.
	Lose()
	// Timing is that of all nodes.
	Timing() presence.Timing
	// Exact tells whether time is a bubble's: then it passes only while everybody waits.
	Exact() bool
}

// Keep is how many changes of a partition the journal of a Cluster keeps.
const Keep = 200

// A Node is one node of a Cluster, and what can happen to it.
type Node interface {
	presence.Presence
	// Crash ends the node without farewell.
	Crash()
	// Pause stops all that the node has to do with the cluster, until Resume.
	Pause()
	Resume()
	// Flaky makes half of what the node sends fail, or seem to, or arrive late; nil ends
	// that, and waits for what is late.
	Flaky(r *rand.Rand)
}

// Run runs the suite. With makes a cluster and runs a test on it: in a bubble of
// testing/synctest where no real server takes part.
func Run(t *testing.T, with func(t *testing.T, test func(t *testing.T, c Cluster))) {
	for _, test := range []struct {
		name string
		run  func(*testing.T, Cluster)
	}{
		{"JoinAndLeave", testJoinAndLeave},
		{"SeveralSessions", testSeveralSessions},
		{"SeveralNodes", testSeveralNodes},
		{"Grace", testGrace},
		{"GraceOnAnotherNode", testGraceOnAnotherNode},
		{"GraceShortened", testGraceShortened},
		{"Crash", testCrash},
		{"CrashOfMany", testCrashOfMany},
		{"CrashAndReturn", testCrashAndReturn},
		{"Pause", testPause},
		{"Outage", testOutage},
		{"Lose", testLose},
		{"JoinWithoutAnswer", testJoinWithoutAnswer},
		{"LostAnswers", testLostAnswers},
		{"BadNames", testBadNames},
		{"Pages", testPages},
		{"Storm", testStorm},
		{"Online", testOnline},
		{"Nodes", testNodes},
		{"RunOnce", testRunOnce},
		{"Journal", testJournal},
		{"JournalOfTheDead", testJournalOfTheDead},
		{"JournalOverflows", testJournalOverflows},
		{"JournalIsOnesOwn", testJournalIsOnesOwn},
		{"Model", testModel},
	} {
		t.Run(test.name, func(t *testing.T) { with(t, test.run) })
	}
}

// patience is how long a test waits for what must happen.
const patience = time.Minute

// eventually waits until nothing is wrong any more.
func eventually(t testing.TB, wrong func() error) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for {
		err := wrong()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// shows waits until the observer, and the roster as p reads it, have exactly these users.
func shows(t testing.TB, o *Observer, p presence.Presence, users ...string) {
	t.Helper()
	eventually(t, func() error {
		t.Helper()
		if err := o.Look(); err != nil {
			t.Fatal(err)
		}
		return same(o, p, users)
	})
}

// same tells how the observer or the roster differ from users, which are in order.
func same(o *Observer, p presence.Presence, users []string) error {
	r, err := p.Roster(context.Background(), o.topic, "", 1<<20)
	if err != nil {
		return err
	}
	slices.Sort(r.Users)
	switch {
	case !slices.Equal(r.Users, users):
		return fmt.Errorf("roster of %s: %.300q, not %.300q", o.topic, r.Users, users)
	case r.Epoch == "" && o.epoch != "":
		return nil // lost when nobody was in it any more, so that there is nobody to tell it or to hear it
	case !slices.Equal(o.Users(), users):
		return fmt.Errorf("an observer of %s takes it to have %.300q, not %.300q", o.topic, o.Users(), users)
	case r.Epoch == o.epoch && r.Version != o.version:
		return fmt.Errorf("roster of %s at version %d, its observer at %d", o.topic, r.Version, o.version)
	}
	return nil
}

func join(t testing.TB, p presence.Presence, topic string, users ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for _, u := range users {
		if err := p.Join(ctx, topic, u); err != nil {
			t.Fatal(err)
		}
	}
}

// times checks how often a user was told to have joined and left.
func times(t testing.TB, o *Observer, user string, joined, left int) {
	t.Helper()
	if o.Joined(user) != joined || o.Left(user) != left {
		t.Fatalf("%s: %s joined %d times and left %d times, not %d and %d", o.topic, user, o.Joined(user), o.Left(user), joined, left)
	}
}

func testJoinAndLeave(t *testing.T, c Cluster) {
	n := c.Attach()
	r, err := n.Roster(t.Context(), "lobby", "", 10)
	if err != nil || r.Online != 0 || len(r.Users) != 0 || r.Version != 0 || r.Next != "" {
		t.Fatalf("roster of an unused topic: %+v, %v", r, err)
	}
	o := c.Observe("lobby")
	join(t, n, "lobby", "alice")
	r, err = n.Roster(t.Context(), "lobby", "", 10) // at once: Join waited
	if err != nil || r.Online != 1 || !slices.Equal(r.Users, []string{"alice"}) || r.Version != 1 || r.Epoch == "" || r.Next != "" {
		t.Fatalf("roster after a join: %+v, %v", r, err)
	}
	join(t, n, "lobby", "bob")
	join(t, n, "*", "alice")
	shows(t, o, n, "alice", "bob")
	n.Leave("lobby", "alice", 0)
	shows(t, o, n, "bob")
	n.Leave("lobby", "bob", 0)
	shows(t, o, n)
	times(t, o, "alice", 1, 1)
	times(t, o, "bob", 1, 1)
	n.Leave("lobby", "bob", 0) // nobody is there to leave
	n.Leave("nowhere", "bob", 0)
	join(t, n, "lobby", "bob")
	shows(t, o, n, "bob")
	times(t, o, "bob", 2, 1)
	after, err := n.Roster(t.Context(), "lobby", "", 10)
	if err != nil || after.Epoch != r.Epoch || after.Version != 5 {
		t.Fatalf("a roster that was empty for a moment is at %+v, %v: not at version 5 of %s", after, err, r.Epoch)
	}
	if r, err := n.Roster(t.Context(), "*", "", 10); err != nil || !slices.Equal(r.Users, []string{"alice"}) {
		t.Fatalf("roster of *: %+v, %v", r, err)
	}
}

func testSeveralSessions(t *testing.T, c Cluster) {
	n := c.Attach()
	o := c.Observe("lobby")
	join(t, n, "lobby", "alice", "alice", "alice")
	n.Leave("lobby", "alice", 0)
	n.Leave("lobby", "alice", time.Hour)
	join(t, n, "lobby", "bob") // behind what the leaves may have sent
	shows(t, o, n, "alice", "bob")
	n.Leave("lobby", "alice", 0)
	shows(t, o, n, "bob")
	times(t, o, "alice", 1, 1)
}

func testSeveralNodes(t *testing.T, c Cluster) {
	a, b := c.Attach(), c.Attach()
	o := c.Observe("lobby")
	join(t, a, "lobby", "alice")
	join(t, b, "lobby", "alice")
	shows(t, o, a, "alice")
	a.Leave("lobby", "alice", 0)
	join(t, a, "lobby", "bob")
	shows(t, o, b, "alice", "bob")
	b.Leave("lobby", "alice", 0)
	shows(t, o, b, "bob")
	times(t, o, "alice", 1, 1)
}

// grace is long enough for a test to come back in time, as shows and join may take.
const grace = 300 * time.Millisecond

func testGrace(t *testing.T, c Cluster) {
	n := c.Attach()
	o := c.Observe("lobby")
	join(t, n, "lobby", "alice", "bob")
	n.Leave("lobby", "alice", time.Hour)
	n.Leave("lobby", "bob", grace)
	shows(t, o, n, "alice") // alice waits for her hour, bob is seen leaving
	join(t, n, "lobby", "alice")
	n.Leave("lobby", "alice", time.Hour)
	join(t, n, "lobby", "alice")
	n.Leave("lobby", "alice", grace)
	shows(t, o, n)
	times(t, o, "alice", 1, 1)
	times(t, o, "bob", 1, 1)
}

func testGraceOnAnotherNode(t *testing.T, c Cluster) {
	a, b := c.Attach(), c.Attach()
	o := c.Observe("lobby")
	join(t, a, "lobby", "alice")
	a.Leave("lobby", "alice", time.Second)
	join(t, b, "lobby", "alice")
	join(t, a, "lobby", "bob")
	a.Leave("lobby", "bob", time.Second) // ends after alice's
	shows(t, o, a, "alice")
	times(t, o, "alice", 1, 0)
	b.Leave("lobby", "alice", 0)
	shows(t, o, a)
	times(t, o, "alice", 1, 1)
}

func testGraceShortened(t *testing.T, c Cluster) {
	n := c.Attach()
	o := c.Observe("lobby")
	join(t, n, "lobby", "alice", "bob")
	n.Leave("lobby", "alice", time.Hour)
	n.Leave("lobby", "alice", 2*time.Hour) // does not lengthen it
	n.Leave("lobby", "bob", time.Hour)
	n.Leave("lobby", "bob", 0)
	shows(t, o, n, "alice")
	n.Leave("lobby", "alice", grace)
	shows(t, o, n)
	times(t, o, "alice", 1, 1)
	times(t, o, "bob", 1, 1)
}

func testBadNames(t *testing.T, c Cluster) {
	n := c.Attach()
	for _, name := range []string{"", " ", "a b", "a\nb", "a\x00", "{a}", "}"} {
		if err := n.Join(t.Context(), "lobby", name); !errors.Is(err, presence.ErrName) {
			t.Errorf("join of user %q: %v", name, err)
		}
		if err := n.Join(t.Context(), name, "alice"); !errors.Is(err, presence.ErrName) {
			t.Errorf("join of topic %q: %v", name, err)
		}
		if _, err := n.Roster(t.Context(), name, "", 10); !errors.Is(err, presence.ErrName) {
			t.Errorf("roster of topic %q: %v", name, err)
		}
		n.Leave("lobby", name, 0)
	}
	if r, err := n.Roster(t.Context(), "lobby", "", 10); err != nil || r.Online != 0 {
		t.Errorf("roster after bad joins: %+v, %v", r, err)
	}
	if _, err := n.Roster(t.Context(), "lobby", "", 0); err == nil {
		t.Error("pages of nobody were read")
	}
}

func testPages(t *testing.T, c Cluster) {
	n := c.Attach()
	var wg sync.WaitGroup
	var want []string
	for i := range 1500 {
		user := fmt.Sprintf("ü%d", i)
		want = append(want, user)
		wg.Go(func() { join(t, n, "lobby", user) })
	}
	wg.Wait()
	slices.Sort(want)
	for _, limit := range []int{1, 100, 1499, 1500, 5000} {
		var got []string
		pages := 0
		for cursor := ""; ; pages++ {
			r, err := n.Roster(t.Context(), "lobby", cursor, limit)
			if err != nil || r.Online != 1500 || r.Epoch == "" || len(r.Users) > 2*limit+10 {
				t.Fatalf("page of %d users: %+v, %v", limit, r, err)
			}
			got = append(got, r.Users...)
			if cursor = r.Next; cursor == "" {
				break
			}
		}
		slices.Sort(got)
		if got = slices.Compact(got); !slices.Equal(got, want) {
			t.Errorf("%d users in pages of %d, not %d", len(got), limit, len(want))
		}
		if limit >= 1500 && pages != 0 {
			t.Errorf("%d users came in %d pages of %d", len(want), pages+1, limit)
		}
	}
}

func testStorm(t *testing.T, c Cluster) {
	n := c.Attach()
	join(t, n, "lobby", "first")
	join(t, n, "*", "first")
	const users = 10_000
	before := n.Stats().Scripts
	began := time.Now()
	var wg sync.WaitGroup
	for i := range users {
		wg.Go(func() {
			join(t, n, "*", fmt.Sprint("u", i))
			join(t, n, "lobby", fmt.Sprint("u", i))
		})
	}
	wg.Wait()
	took := time.Since(began)
	scripts := n.Stats().Scripts - before
	t.Logf("%d joins: %d scripts, %.2f µs a join", 2*users, scripts, float64(took.Microseconds())/(2*users))
	if scripts > users/10 {
		t.Errorf("%d joins took %d scripts", 2*users, scripts)
	}
	for _, topic := range []string{"*", "lobby"} {
		r, err := n.Roster(t.Context(), topic, "", 10)
		if err != nil || r.Online != users+1 {
			t.Errorf("%d online in %s (%v), not %d", r.Online, topic, err, users+1)
		}
	}
}

// Counts are those of the rosters, of topics in all partitions.
func testOnline(t *testing.T, c Cluster) {
	a, b := c.Attach(), c.Attach()
	topics := []string{"nowhere"}
	want := []int{0}
	for i := range 20 {
		topic := fmt.Sprint("room", i)
		join(t, a, topic, "alice")
		if i%2 == 0 {
			join(t, b, topic, "alice", "bob")
		}
		topics, want = append(topics, topic), append(want, 2-i%2)
	}
	for _, n := range []Node{a, b} {
		if got, err := n.Online(context.Background(), topics...); err != nil || !slices.Equal(got, want) {
			t.Errorf("online in %q: %v, %v; not %v", topics, got, err, want)
		}
	}
	if got, err := a.Online(context.Background()); err != nil || len(got) != 0 {
		t.Errorf("online nowhere: %v, %v", got, err)
	}
	if _, err := a.Online(context.Background(), "a{b}"); err == nil {
		t.Error("online in a name with braces is no error")
	}
}

func testNodes(t *testing.T, c Cluster) {
	counts := func(n Node, want int) {
		t.Helper()
		eventually(t, func() error {
			nodes, err := n.Nodes(context.Background())
			slices.Sort(nodes)
			if len(slices.Compact(nodes)) != want {
				return fmt.Errorf("nodes %q, %v: not %d", nodes, err, want)
			}
			return err
		})
	}
	a, b := c.Attach(), c.Attach()
	counts(a, 2)
	a.Crash()
	counts(b, 1)
}

func testRunOnce(t *testing.T, c Cluster) {
	n := c.Attach()
	join(t, n, "lobby", "alice") // it runs
	if err := n.Run(t.Context()); err == nil {
		t.Error("a node ran twice")
	}
}

func testModel(t *testing.T, c Cluster) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	steps := 150
	if c.Exact() {
		steps = 1000
	}
	if err := Model(c, seed, steps); err != nil {
		t.Fatal(err)
	}
}
