package presencetest

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/rookery-chat/rookery/presence"
)

// drain takes all there is out of a journal, as who tells it does.
func drain(j presence.Journal) (all []presence.Record, err error) {
	ctx := context.Background()
	for {
		records, err := j.Pending(ctx)
		if err != nil || len(records) == 0 {
			return all, err
		}
		if err := j.Told(ctx, records); err != nil {
			return all, err
		}
		all = append(all, records...)
	}
}

// A ledger is what was drained from a journal, by topic.
type ledger struct {
	j       presence.Journal
	ids     map[string]bool
	changes map[string][]presence.Change
}

func newLedger(j presence.Journal) *ledger {
	return &ledger{j: j, ids: map[string]bool{}, changes: map[string][]presence.Change{}}
}

func (l *ledger) drain() error {
	records, err := drain(l.j)
	for _, r := range records {
		if l.ids[r.ID] {
			return fmt.Errorf("two records have the id %q", r.ID)
		}
		l.ids[r.ID] = true
		if r.Lost > 0 {
			return fmt.Errorf("%d changes were lost", r.Lost)
		}
		l.changes[r.Topic] = append(l.changes[r.Topic], r.Change)
	}
	return err
}

// compare holds the ledger against what an observer heard: the same changes, each once and
// in order. Only of an epoch that is over may some be missing: the cluster lost them.
func (l *ledger) compare(o *Observer, epoch string) error {
	if err := l.drain(); err != nil {
		return err
	}
	told := l.changes[o.topic]
	for _, c := range o.heard {
		switch {
		case len(told) > 0 && equal(told[0], c):
			told = told[1:]
		case c.Epoch == epoch:
			return fmt.Errorf("the journal of %s has not %+v, but %d others", o.topic, c, len(told))
		}
	}
	if len(told) > 0 {
		return fmt.Errorf("the journal of %s has %+v, which nobody heard at that place", o.topic, told[0])
	}
	return nil
}

func equal(a, b presence.Change) bool {
	return a.Epoch == b.Epoch && a.Version == b.Version && a.Online == b.Online && slices.Equal(a.Joined, b.Joined) && slices.Equal(a.Left, b.Left)
}

// line is a record as a test writes it.
func line(r presence.Record) string {
	return fmt.Sprintf("%s %d +%v -%v %d", r.Topic, r.Change.Version, r.Change.Joined, r.Change.Left, r.Lost)
}

// tells waits until the journal has these records, and takes them out.
func tells(t *testing.T, j presence.Journal, want ...string) (records []presence.Record) {
	t.Helper()
	var got []string
	eventually(t, func() error {
		more, err := drain(j)
		for _, r := range more {
			got = append(got, line(r))
		}
		records = append(records, more...)
		if err == nil && len(got) < len(want) {
			err = fmt.Errorf("the journal tells %q, not %q", got, want)
		}
		return err
	})
	if !slices.Equal(got, want) {
		t.Fatalf("the journal tells %q, not %q", got, want)
	}
	return records
}

// What changes is in the journal once, in its order, however many nodes have the user.
func testJournal(t *testing.T, c Cluster) {
	a, b, j := c.Attach(), c.Attach(), c.Journal()
	o := c.Observe("lobby")
	began := time.Now().Add(-time.Second)
	join(t, a, "lobby", "alice", "alice")
	join(t, b, "lobby", "alice", "bob")
	a.Leave("lobby", "alice", 0)
	a.Leave("lobby", "alice", 0)
	join(t, a, "lobby", "bob") // behind that
	b.Leave("lobby", "alice", 0)
	shows(t, o, a, "bob")
	records := tells(t, j, "lobby 1 +[alice] -[] 0", "lobby 2 +[bob] -[] 0", "lobby 3 +[] -[alice] 0")
	for i, r := range records {
		if r.Time.Before(began) || r.Time.After(time.Now().Add(time.Second)) || i > 0 && r.Time.Before(records[i-1].Time) {
			t.Errorf("a change is told of %v", r.Time)
		}
		if r.Change.Epoch != o.epoch {
			t.Errorf("a change of epoch %q is told of %q", o.epoch, r.Change.Epoch)
		}
	}
	join(t, a, "*", "alice")
	pending, err := j.Pending(t.Context())
	if err != nil || len(pending) != 1 {
		t.Fatalf("pending: %v, %v", pending, err)
	}
	again := tells(t, j, "* 1 +[alice] -[] 0") // what was not told stays, under its id
	if again[0].ID != pending[0].ID {
		t.Errorf("a record has the id %q, then %q", pending[0].ID, again[0].ID)
	}
	if err := j.Told(t.Context(), again); err != nil { // a repetition
		t.Error(err)
	}
	tells(t, j)
}

// Who is reaped is told to leave, once, though several nodes might reap.
func testJournalOfTheDead(t *testing.T, c Cluster) {
	a, b, j := c.Attach(), c.Attach(), c.Journal()
	c.Attach()
	o := c.Observe("*")
	join(t, a, "*", "alice")
	join(t, a, "*", "bob")
	join(t, b, "*", "bob")
	serve(c)
	a.Crash()
	shows(t, o, b, "bob")
	serve(c)
	tells(t, j, "* 1 +[alice] -[] 0", "* 2 +[bob] -[] 0", "* 3 +[] -[alice] 0")
}

// What is more than the journal keeps is counted.
func testJournalOverflows(t *testing.T, c Cluster) {
	n, j := c.Attach(), c.Journal()
	const more = 7
	var want []string
	for i := range Keep + more {
		user := fmt.Sprint("u", i)
		join(t, n, "lobby", user)
		if i >= more {
			want = append(want, fmt.Sprintf("lobby %d +[%s] -[] 0", i+1, user))
		}
	}
	pending, err := j.Pending(t.Context())
	if err != nil || pending[0].Lost != more {
		t.Fatalf("of %d changes, %d are kept: %v, %v", Keep+more, Keep, pending[0], err)
	}
	tells(t, j, append([]string{fmt.Sprintf(" 0 +[] -[] %d", more)}, want...)...)
	join(t, n, "lobby", "last")
	tells(t, j, fmt.Sprintf("lobby %d +[last] -[] 0", Keep+more+1))
}

// One node at a time has the journal, until it gives it back or is silent for too long.
func testJournalIsOnesOwn(t *testing.T, c Cluster) {
	a, b := c.Journal(), c.Journal()
	claims := func(j presence.Journal, want bool) {
		t.Helper()
		if got, err := j.Claim(t.Context()); err != nil || got != want {
			t.Fatalf("claim: %v, %v; want %v", got, err, want)
		}
	}
	claims(a, true)
	claims(b, false)
	claims(a, true)
	if err := b.Release(t.Context()); err != nil { // of what is not its own
		t.Fatal(err)
	}
	claims(b, false)
	if err := a.Release(t.Context()); err != nil {
		t.Fatal(err)
	}
	claims(b, true)
	claims(a, false)
	if c.Exact() {
		time.Sleep(presence.ClaimTime - time.Millisecond)
		claims(a, false)
		time.Sleep(time.Millisecond)
		claims(a, true)
	}
}
