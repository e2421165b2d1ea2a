package storetest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/rookery-chat/rookery/store"
)

const (
	// longLease ends after every test, shortLease during one.
	longLease  = time.Hour
	shortLease = 200 * time.Millisecond
)

// tick is a timer for tests: due at at, then every so often.
func tick(id string, at time.Time, every time.Duration) store.Timer {
	return store.Timer{ID: id, Topic: "lobby", Data: json.RawMessage(`"tick"`), Every: every, At: time.UnixMilli(at.UnixMilli())}
}

func past() time.Time   { return time.Now().Add(-time.Minute) }
func future() time.Time { return time.Now().Add(time.Hour) }

func add(t *testing.T, s store.Store, timers ...store.Timer) {
	t.Helper()
	for _, timer := range timers {
		if err := s.AddTimer(t.Context(), timer); err != nil {
			t.Fatalf("AddTimer(%v): %v", timer, err)
		}
	}
}

func fired(t *testing.T, s store.Store, id string, count uint64) {
	t.Helper()
	if err := s.Fired(t.Context(), id, count); err != nil {
		t.Fatalf("Fired(%q, %d): %v", id, count, err)
	}
}

// listed returns all timers, page by page.
func listed(t *testing.T, s store.Store, limit int) (all []store.Timer) {
	t.Helper()
	var cursor string
	for {
		page, next, err := s.Timers(t.Context(), cursor, limit)
		if err != nil {
			t.Fatalf("Timers(%q, %d): %v", cursor, limit, err)
		}
		if len(page) > limit || next != "" && len(page) < limit {
			t.Fatalf("Timers(%q, %d) = %d timers and %q", cursor, limit, len(page), next)
		}
		if all = append(all, page...); next == "" {
			return all
		}
		if next <= cursor {
			t.Fatalf("Timers(%q, %d) leads on to %q", cursor, limit, next)
		}
		cursor = next
	}
}

// one returns the only timer.
func one(t *testing.T, s store.Store) store.Timer {
	t.Helper()
	all := listed(t, s, 10)
	if len(all) != 1 {
		t.Fatalf("there are the timers %v, want one", all)
	}
	return all[0]
}

// claim checks which timers one Claim leases, each as "id:count", and returns them and its next.
func claim(t *testing.T, s store.Store, lease time.Duration, limit int, want ...string) ([]store.Timer, time.Time) {
	t.Helper()
	due, next, err := s.Claim(t.Context(), lease, limit)
	if err != nil {
		t.Fatalf("Claim: %v", err)
	}
	if got := fires(due); !slices.Equal(got, want) {
		t.Errorf("Claim(%v, %d) leases %q; want %q", lease, limit, got, want)
	}
	return due, next
}

// claimed is what one Claim leases for long, for waiting until it is what it should be.
func claimed(t *testing.T, s store.Store) []string {
	t.Helper()
	due, _, err := s.Claim(t.Context(), longLease, 10)
	if err != nil {
		t.Fatalf("Claim: %v", err)
	}
	return fires(due)
}

func fires(timers []store.Timer) (all []string) {
	for _, timer := range timers {
		all = append(all, fmt.Sprint(timer.ID, ":", timer.Count))
	}
	return all
}

func same(a, b store.Timer) bool {
	return a.ID == b.ID && a.Topic == b.Topic && bytes.Equal(a.Data, b.Data) && a.Every == b.Every && a.At.Equal(b.At) && a.Count == b.Count
}

// What is added is listed and claimed as it is.
func testTimerKept(t *testing.T, node func() store.Store) {
	s, other := node(), node()
	if page, next, err := s.Timers(t.Context(), "", 10); len(page) > 0 || next != "" || err != nil {
		t.Errorf("an empty store has the timers %v, %q, %v", page, next, err)
	}
	if _, next := claim(t, s, longLease, 10); !next.IsZero() {
		t.Errorf("an empty store has a timer due at %v", next)
	}
	var want []store.Timer
	for i, data := range []string{`null`, `""`, `{"b": 1.0, "a":[], "<":"größe"}`, `9007199254740993`, "\"\u2028\""} {
		timer := tick(fmt.Sprint("timer ", i, `:"{}`), past(), time.Duration(i)*time.Millisecond)
		timer.Topic, timer.Data = []string{"lobby", "@alice", "*", "1:größe", ""}[i], json.RawMessage(data)
		timer.At = timer.At.Add(time.Duration(i) * time.Millisecond) // the order of claims
		timer.Count = []uint64{0, 1, 7, 1 << 40, 1<<53 - 2}[i]
		want = append(want, timer)
	}
	add(t, s, want...)
	if got := listed(t, other, 2); !slices.EqualFunc(got, want, same) {
		t.Errorf("the timers are %v; want %v", got, want)
	}
	if got, _ := claim(t, other, longLease, 10, fires(want)...); !slices.EqualFunc(got, want, same) {
		t.Errorf("claimed are %v; want %v", got, want)
	}
	for i, timer := range want {
		for _, was := range []bool{true, false} {
			if got, err := node().DeleteTimer(t.Context(), timer.ID); got != was || err != nil {
				t.Errorf("DeleteTimer(%q) = %t, %v; want %t", timer.ID, got, err, was)
			}
		}
		if got := listed(t, s, 10); !slices.EqualFunc(got, want[i+1:], same) {
			t.Errorf("the timers are %v; want %v", got, want[i+1:])
		}
	}
}

// Pages are in the order of bytes, however they are cut and whatever goes meanwhile.
func testTimerPages(t *testing.T, node func() store.Store) {
	s := node()
	want := []string{"!", "-", "10", "9", "A", "a", "a\x00", "ab", "b", "[", "(", "ö"}
	for _, id := range want {
		add(t, s, tick(id, future(), 0))
	}
	slices.Sort(want)
	for limit := 1; limit <= len(want)+1; limit++ {
		var got []string
		for _, timer := range listed(t, s, limit) {
			got = append(got, timer.ID)
		}
		if !slices.Equal(got, want) {
			t.Errorf("in pages of %d the timers are %q; want %q", limit, got, want)
		}
	}
	_, next, err := s.Timers(t.Context(), "", 5)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.DeleteTimer(t.Context(), next); err != nil {
		t.Fatal(err)
	}
	if page, _, err := s.Timers(t.Context(), next, 1); err != nil || len(page) != 1 || page[0].ID != want[5] {
		t.Errorf("after a cursor that was deleted comes %v, %v; want %q", page, err, want[5])
	}
}

func testTimerInvalid(t *testing.T, node func() store.Store) {
	s := node()
	for name, change := range map[string]func(*store.Timer){
		"no ID":       func(t *store.Timer) { t.ID = "" },
		"no data":     func(t *store.Timer) { t.Data = nil },
		"broken data": func(t *store.Timer) { t.Data = json.RawMessage(`{"a":`) },
		"backwards":   func(t *store.Timer) { t.Every = -time.Second },
		"too often":   func(t *store.Timer) { t.Every = time.Millisecond / 2 },
		"in between":  func(t *store.Timer) { t.Every = time.Second + 1 },
		"count's end": func(t *store.Timer) { t.Count = 1<<53 - 1 },
	} {
		timer := tick("a", past(), time.Second)
		if change(&timer); s.AddTimer(t.Context(), timer) == nil {
			t.Errorf("%s: %v was added", name, timer)
		}
	}
	if _, _, err := s.Timers(t.Context(), "", 0); err == nil {
		t.Error("Timers took the limit 0")
	}
	if _, _, err := s.Claim(t.Context(), time.Second, 0); err == nil {
		t.Error("Claim took the limit 0")
	}
	if _, _, err := s.Claim(t.Context(), 0, 1); err == nil {
		t.Error("Claim took no lease")
	}
	if all := listed(t, s, 10); len(all) > 0 {
		t.Errorf("there are the timers %v", all)
	}
}

func testClaim(t *testing.T, node func() store.Store) {
	s, other := node(), node()
	now := time.Now()
	add(t, s,
		tick("b", now.Add(-2*time.Minute), 0), tick("a", now.Add(-time.Minute), time.Second),
		tick("c", now.Add(-3*time.Minute), 0), tick("later", now.Add(time.Hour), 0))
	// about tells whether a time is d from now, give or take what a slow machine needs.
	about := func(next time.Time, d time.Duration) bool {
		return next.After(now.Add(d-10*time.Minute)) && next.Before(now.Add(d+10*time.Minute))
	}
	if _, next := claim(t, s, longLease/2, 2, "c:0", "b:0"); next.After(time.Now()) || next.IsZero() {
		t.Errorf("a timer that is due and was left out is said to be due at %v", next)
	}
	if _, next := claim(t, other, longLease*2, 2, "a:0"); !about(next, longLease/2) {
		t.Errorf("timers leased to another until %v are said to be due at %v", now.Add(longLease/2), next)
	}
	claim(t, s, longLease, 10)
	fired(t, s, "c", 0)
	fired(t, s, "b", 0)
	if _, next := claim(t, s, longLease, 10); !about(next, time.Hour) {
		t.Errorf("a timer due at %v is said to be due at %v", now.Add(time.Hour), next)
	}
	fired(t, other, "a", 0)
	eventually(t, "the timer is due again", func() bool { return slices.Equal(claimed(t, s), []string{"a:1"}) })
	if all := fires(listed(t, s, 10)); !slices.Equal(all, []string{"a:1", "later:0"}) {
		t.Errorf("the timers are %q at the end", all)
	}
}

// A timer at a time that is past, or at none, is due at once.
func testClaimPast(t *testing.T, node func() store.Store) {
	s := node()
	old := tick("old", time.Date(1815, 12, 10, 0, 0, 0, 0, time.UTC), time.Hour)
	never := tick("none", past(), time.Hour)
	never.At = time.Time{}
	add(t, s, old, never, tick("past", past(), 0))
	if _, next := claim(t, s, longLease, 1, "old:0"); next.IsZero() || next.After(time.Now()) {
		t.Errorf("the others are said to be due at %v", next)
	}
	claim(t, s, longLease, 10, "none:0", "past:0")
	for _, id := range []string{"old", "none", "past"} {
		fired(t, s, id, 0)
	}
	for _, timer := range listed(t, s, 10) {
		if wait := time.Until(timer.At); timer.Count != 1 || wait > time.Hour || wait < -time.Minute || timer.At.UnixMilli()%time.Hour.Milliseconds() != 0 {
			t.Errorf("%v is due in %v; want the next full hour", timer, wait)
		}
	}
}

// A lease that lapses lets another claim the same count; of their two calls one counts.
func testLapse(t *testing.T, node func() store.Store) {
	s, other := node(), node()
	add(t, s, tick("a", past(), time.Hour))
	claim(t, s, shortLease, 10, "a:0")
	eventually(t, "the lease lapses", func() bool { return slices.Equal(claimed(t, other), []string{"a:0"}) })
	claim(t, s, longLease, 10)
	fired(t, other, "a", 0)
	advanced := one(t, s)
	if advanced.Count != 1 {
		t.Errorf("fired once, the count is %d", advanced.Count)
	}
	fired(t, s, "a", 0) // late
	fired(t, s, "a", 2) // nobody claimed it
	fired(t, s, "b", 0)
	if got := one(t, s); !same(got, advanced) {
		t.Errorf("late calls changed %v to %v", advanced, got)
	}
}

// Missed times are skipped, and the phase of the first one is kept.
func testMissed(t *testing.T, node func() store.Store) {
	s := node()
	const every = time.Hour
	first := time.Now().Add(-every/2 - 100*every)
	add(t, s, tick("a", first, every))
	claim(t, s, longLease, 10, "a:0")
	fired(t, s, "a", 0)
	want := tick("a", first.Add(101*every), every)
	want.Count = 1
	if got := one(t, s); !same(got, want) {
		t.Errorf("at %v a timer first due at %v is %v; want %v", time.Now(), first, got, want)
	}
	claim(t, s, longLease, 10)

	// Of three times missed or not, each advance is by whole Everys, and ends after now.
	const often = 70 * time.Millisecond
	start := tick("a", time.Now(), often)
	add(t, s, start)
	start = one(t, s)
	for n := range uint64(3) {
		eventually(t, "the timer is due", func() bool { return slices.Equal(claimed(t, s), []string{fmt.Sprint("a:", start.Count+n)}) })
		before := one(t, s)
		fired(t, s, "a", start.Count+n)
		after := one(t, s)
		if after.Count != before.Count+1 || !after.At.After(before.At) || after.At.Sub(start.At)%often != 0 {
			t.Errorf("%v follows on %v, %v", after, before, start)
		}
	}
}

// (ID, Count) names one fire, also when a timer's ID is used again: whoever still
// holds the timer before does not advance the one after, nor would a bus take its message
// for a repetition.
func testReplaced(t *testing.T, node func() store.Store) {
	s, other := node(), node()
	add(t, s, tick("a", past(), 0))
	claim(t, s, longLease, 10, "a:0")
	changed := tick("a", past(), time.Hour)
	changed.Topic = "attic"
	add(t, other, changed) // replaces, lease and all
	fired(t, s, "a", 0)
	changed.Count = 1
	if got := one(t, s); !same(got, changed) {
		t.Errorf("replaced, the timer is %v; want %v", got, changed)
	}
	claim(t, other, longLease, 10, "a:1")
	fired(t, other, "a", 1)

	if was, err := s.DeleteTimer(t.Context(), "a"); !was || err != nil {
		t.Fatalf("DeleteTimer: %t, %v", was, err)
	}
	fired(t, other, "a", 2)
	add(t, s, tick("a", past(), 0))
	claim(t, s, longLease, 10, "a:3")
	fired(t, other, "a", 2)
	one(t, s)
	fired(t, s, "a", 3) // ends it
	add(t, s, tick("a", past(), 0), tick("b", past(), 0))
	claim(t, s, longLease, 10, "a:4", "b:0")
	far := tick("a", past(), 0)
	far.Count = 40
	add(t, s, far)
	claim(t, s, longLease, 10, "a:40")
}

// Two nodes that claim at once never hold the same timer within its lease.
func testClaimAtOnce(t *testing.T, node func() store.Store) {
	const timers, claimers = 200, 8
	s := node()
	for i := range timers {
		add(t, s, tick(fmt.Sprint(i), past(), 0))
	}
	nodes := []store.Store{node(), node()}
	held := make([][]string, claimers)
	var wg sync.WaitGroup
	for g := range claimers {
		wg.Go(func() {
			for len(held[g]) <= timers { // or the same are leased again and again
				due, _, err := nodes[g%2].Claim(t.Context(), longLease, 1+g)
				if err != nil {
					t.Error(err)
				}
				if len(due) == 0 {
					return
				}
				held[g] = append(held[g], fires(due)...)
			}
		})
	}
	wg.Wait()
	all := slices.Sorted(slices.Values(slices.Concat(held...)))
	if n := len(slices.Compact(slices.Clone(all))); n != timers || len(all) != timers {
		t.Errorf("%d timers were claimed %d times, want %d once each", n, len(all), timers)
	}
}

// Claimers die at every step. Still each fire of each timer is published, and counts
// advance one by one.
func testDeaths(t *testing.T, node func() store.Store) {
	const (
		timers   = 100
		fires    = 3 // of a timer that repeats, at least
		claimers = 6
	)
	s := node()
	for i := range timers {
		every := time.Duration(i%2) * 20 * time.Millisecond // half of them fire once
		add(t, s, tick(fmt.Sprint(i), past(), every))
	}
	var (
		mu        sync.Mutex
		published = make(map[string]map[uint64]bool) // by ID, the counts. Guarded by mu.
	)
	publish := func(timer store.Timer) {
		mu.Lock()
		defer mu.Unlock()
		if published[timer.ID] == nil {
			published[timer.ID] = make(map[uint64]bool)
		}
		// The count before was published: it has been advanced once, and only after that.
		if timer.Count > 0 && !published[timer.ID][timer.Count-1] {
			t.Errorf("timer %s has the count %d, but its fire before was not published", timer.ID, timer.Count)
		}
		published[timer.ID][timer.Count] = true
	}
	done := func() bool {
		mu.Lock()
		defer mu.Unlock()
		for i := range timers {
			if n := len(published[fmt.Sprint(i)]); n == 0 || i%2 == 1 && n < fires {
				return false
			}
		}
		return true
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	deadline := time.Now().Add(time.Minute)
	var wg sync.WaitGroup
	for g := range claimers {
		s, dice := node(), rand.New(rand.NewPCG(seed, uint64(g)))
		wg.Go(func() {
			for !done() && time.Now().Before(deadline) {
				due, _, err := s.Claim(t.Context(), 50*time.Millisecond, 10)
				if err != nil {
					t.Error(err)
					return
				}
				for _, timer := range due {
					if dice.IntN(5) == 0 {
						break // dies with the rest unpublished
					}
					publish(timer)
					if dice.IntN(5) == 0 {
						break // dies before it could say so
					}
					for range 1 + dice.IntN(2) { // lost answers are repeated
						if err := s.Fired(t.Context(), timer.ID, timer.Count); err != nil {
							t.Error(err)
						}
					}
				}
				if len(due) == 0 {
					time.Sleep(time.Millisecond)
				}
			}
		})
	}
	wg.Wait()
	if !done() {
		t.Errorf("not all has been published: %v", published)
	}
	for _, timer := range listed(t, s, 1000) {
		for count := range timer.Count {
			if !published[timer.ID][count] {
				t.Errorf("timer %s stands at %d, but its fire %d was not published", timer.ID, timer.Count, count)
			}
		}
	}
	for i := range timers {
		if counts := published[fmt.Sprint(i)]; i%2 == 0 && !(len(counts) == 1 && counts[0]) {
			t.Errorf("timer %d, that fires once, fired with the counts %v", i, counts)
		}
	}
}
