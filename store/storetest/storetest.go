// Package storetest is the conformance suite of store.Store: what every implementation promises.
package storetest

import (
	"context"
	"fmt"
	"maps"
	"sync"
	"testing"

	"github.com/rookery-chat/rookery/store"
)

// Run tests the implementation of which open returns an empty store. The nodes of the
// cluster it serves are the functions that it returns: each call is one more node's store.
func Run(t *testing.T, open func(t *testing.T) (node func() store.Store)) {
	for _, test := range []struct {
		name string
		f    func(t *testing.T, node func() store.Store)
	}{
		{"forward only", testForward},
		{"one for each topic and user", testApart},
		{"names as they are", testNames},
		{"epochs", testEpochs},
		{"late nodes", testLate},
		{"many topics", testMany},
		{"nodes share", testShared},
		{"marks at once", testAtOnce},
		{"marks across an epoch at once", testEpochAtOnce},
		{"sanctions", testImpose},
		{"versions of sanctions", testVersions},
		{"sanctions expire", testExpiry},
		{"sanctions' names as they are", testSanctionNames},
		{"sanctions at once", testSanctionsAtOnce},
		{"delete", testDelete},
		{"timers as they are", testTimerKept},
		{"pages of timers", testTimerPages},
		{"wrong timers", testTimerInvalid},
		{"claim", testClaim},
		{"claim what is past", testClaimPast},
		{"leases lapse", testLapse},
		{"missed times", testMissed},
		{"replaced timers", testReplaced},
		{"claims at once", testClaimAtOnce},
		{"claimers die", testDeaths},
		{"ended context", testEnded},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			test.f(t, open(t))
		})
	}
}

// mark checks one MarkRead.
func mark(t *testing.T, s store.Store, topic, user, epoch string, offset, stands uint64, moved bool) {
	t.Helper()
	at, did, err := s.MarkRead(t.Context(), topic, user, epoch, offset)
	if err != nil {
		t.Fatalf("MarkRead(%q, %q, %q, %d): %v", topic, user, epoch, offset, err)
	}
	if at != stands || did != moved {
		t.Errorf("MarkRead(%q, %q, %q, %d) = %d, %t; want %d, %t", topic, user, epoch, offset, at, did, stands, moved)
	}
}

// read checks one ReadOffsets.
func read(t *testing.T, s store.Store, user string, epochs map[string]string, want map[string]uint64) {
	t.Helper()
	got, err := s.ReadOffsets(t.Context(), user, epochs)
	if err != nil {
		t.Fatalf("ReadOffsets(%q, %v): %v", user, epochs, err)
	}
	if !maps.Equal(got, want) {
		t.Errorf("ReadOffsets(%q, %v) = %v; want %v", user, epochs, got, want)
	}
}

// readBy checks one ReadBy.
func readBy(t *testing.T, s store.Store, topic, epoch string, users []string, want offsets) {
	t.Helper()
	got, err := s.ReadBy(t.Context(), topic, epoch, users)
	if err != nil {
		t.Fatalf("ReadBy(%q, %q, %v): %v", topic, epoch, users, err)
	}
	if !maps.Equal(got, want) {
		t.Errorf("ReadBy(%q, %q, %v) = %v; want %v", topic, epoch, users, got, want)
	}
}

type (
	epochs  = map[string]string
	offsets = map[string]uint64
)

func testForward(t *testing.T, node func() store.Store) {
	s := node()
	read(t, s, "alice", epochs{"lobby": "k3"}, offsets{"lobby": 0})
	mark(t, s, "lobby", "alice", "k3", 0, 0, false)
	mark(t, s, "lobby", "alice", "k3", 5, 5, true)
	mark(t, s, "lobby", "alice", "k3", 5, 5, false)
	mark(t, s, "lobby", "alice", "k3", 4, 5, false)
	mark(t, s, "lobby", "alice", "k3", 0, 5, false)
	mark(t, s, "lobby", "alice", "k3", 10, 10, true) // as text it would be less than 5
	mark(t, s, "lobby", "alice", "k3", 9, 10, false)
	const most = 1<<53 - 1
	mark(t, s, "lobby", "alice", "k3", most-1, most-1, true)
	mark(t, s, "lobby", "alice", "k3", most, most, true)
	mark(t, s, "lobby", "alice", "k3", most-1, most, false)
	read(t, s, "alice", epochs{"lobby": "k3"}, offsets{"lobby": most})
}

func testApart(t *testing.T, node func() store.Store) {
	s := node()
	mark(t, s, "lobby", "alice", "k3", 5, 5, true)
	mark(t, s, "lobby", "bob", "k3", 3, 3, true)
	mark(t, s, "attic", "alice", "k3", 2, 2, true)
	read(t, s, "alice", epochs{"lobby": "k3", "attic": "k3"}, offsets{"lobby": 5, "attic": 2})
	read(t, s, "bob", epochs{"lobby": "k3", "attic": "k3"}, offsets{"lobby": 3, "attic": 0})
	mark(t, s, "lobby", "carol", "q9", 9, 9, true)
	readBy(t, s, "lobby", "k3", []string{"bob", "nobody", "alice", "carol"}, offsets{"alice": 5, "bob": 3})
	readBy(t, s, "lobby", "q9", []string{"bob", "carol"}, offsets{"carol": 9})
	readBy(t, s, "attic", "k3", []string{"alice"}, offsets{"alice": 2})
	readBy(t, s, "cellar", "k3", []string{"alice"}, offsets{})
	readBy(t, s, "lobby", "k3", nil, offsets{})
}

// Names may hold whatever a backend might use to tell its parts.
func testNames(t *testing.T, node func() store.Store) {
	s := node()
	topics := []string{"*", "@alice", "a:b", "a", "b", "read:", "größe", `"\`, "%", "lobby\x1f"}
	users := []string{"a", "b:a", "1:2:3", "größe", `'"\`, "%s", "-1"}
	all := make(epochs)
	for i, topic := range topics {
		all[topic] = fmt.Sprint("e", i)
		for j, user := range users {
			n := uint64(100*i + j + 1)
			mark(t, s, topic, user, all[topic], n, n, true)
		}
	}
	for j, user := range users {
		want := make(offsets)
		for i, topic := range topics {
			want[topic] = uint64(100*i + j + 1)
		}
		read(t, s, user, all, want)
	}
	for i, topic := range topics {
		want := make(offsets)
		for j, user := range users {
			want[user] = uint64(100*i + j + 1)
		}
		readBy(t, s, topic, all[topic], users, want)
	}
}

func testEpochs(t *testing.T, node func() store.Store) {
	s := node()
	mark(t, s, "lobby", "alice", "k3", 5, 5, true)
	read(t, s, "alice", epochs{"lobby": "q9"}, offsets{"lobby": 0})
	mark(t, s, "lobby", "alice", "q9", 0, 0, false)
	read(t, s, "alice", epochs{"lobby": "k3"}, offsets{"lobby": 5}) // nothing was read in q9
	mark(t, s, "lobby", "alice", "q9", 2, 2, true)
	read(t, s, "alice", epochs{"lobby": "q9"}, offsets{"lobby": 2})
	mark(t, s, "lobby", "bob", "k3", 4, 4, true) // each user crosses alone
	read(t, s, "alice", epochs{"lobby": "q9"}, offsets{"lobby": 2})
}

// A node that has not heard of a new epoch yet cannot take the offset back.
func testLate(t *testing.T, node func() store.Store) {
	early, late := node(), node()
	mark(t, late, "lobby", "alice", "k3", 5, 5, true)
	mark(t, early, "lobby", "alice", "q9", 2, 2, true)
	mark(t, late, "lobby", "alice", "k3", 6, 0, false)
	read(t, early, "alice", epochs{"lobby": "q9"}, offsets{"lobby": 2})
	mark(t, early, "lobby", "alice", "q9", 3, 3, true)
	mark(t, late, "lobby", "alice", "k3", 7, 0, false)
	read(t, late, "alice", epochs{"lobby": "q9"}, offsets{"lobby": 3})
	mark(t, early, "lobby", "alice", "z1", 1, 1, true)
	mark(t, late, "lobby", "alice", "q9", 9, 0, false)
	read(t, late, "alice", epochs{"lobby": "z1"}, offsets{"lobby": 1})
}

func testMany(t *testing.T, node func() store.Store) {
	s := node()
	read(t, s, "alice", nil, offsets{})
	all, want := make(epochs), make(offsets)
	for i := range 300 {
		topic, epoch := fmt.Sprint("room", i), fmt.Sprint("e", i%7)
		all[topic], want[topic] = epoch, 0
		if i%3 > 0 {
			want[topic] = uint64(i)
			mark(t, s, topic, "alice", epoch, uint64(i), uint64(i), true)
		}
	}
	read(t, s, "alice", all, want)
}

func testShared(t *testing.T, node func() store.Store) {
	one, other := node(), node()
	mark(t, one, "lobby", "alice", "k3", 5, 5, true)
	mark(t, other, "lobby", "alice", "k3", 5, 5, false)
	mark(t, other, "lobby", "alice", "k3", 8, 8, true)
	read(t, one, "alice", epochs{"lobby": "k3"}, offsets{"lobby": 8})
}

// A move is what one MarkRead answered.
type move struct {
	epoch         string
	asked, stands uint64
	moved         bool
}

// crowd marks from many goroutines of two nodes at once, and returns every answer.
func crowd(t *testing.T, node func() store.Store, marks func(g int) []move) []move {
	t.Helper()
	nodes := []store.Store{node(), node()}
	const crowdSize = 16
	answers := make([][]move, crowdSize)
	var wg sync.WaitGroup
	for g := range crowdSize {
		wg.Go(func() {
			for _, m := range marks(g) {
				var err error
				m.stands, m.moved, err = nodes[g%2].MarkRead(t.Context(), "lobby", "alice", m.epoch, m.asked)
				if err != nil {
					t.Errorf("MarkRead: %v", err)
					return
				}
				answers[g] = append(answers[g], m)
			}
		})
	}
	wg.Wait()
	var all []move
	for _, a := range answers {
		all = append(all, a...)
	}
	return all
}

// judge returns what is wrong with the answers in one epoch, given what stands at the
// end: each offset is moved to by exactly one call at most, a call that did not move was
// answered with what was at least as far, and the farthest asked for stands.
func judge(answers []move, epoch string, stands uint64) (faults []string) {
	fault := func(format string, args ...any) { faults = append(faults, fmt.Sprintf(format, args...)) }
	moved := make(map[uint64]int)
	var most uint64
	for _, m := range answers {
		if m.epoch != epoch {
			continue
		}
		most = max(most, m.asked)
		switch {
		case m.moved && m.stands != m.asked:
			fault("a call moved to %d, but %d stood", m.asked, m.stands)
		case m.moved:
			moved[m.asked]++
		case m.stands < m.asked:
			fault("a call to %d did not move although only %d stood", m.asked, m.stands)
		}
	}
	for offset, n := range moved {
		if n > 1 {
			fault("%d calls say that they moved to %d", n, offset)
		}
	}
	// Whatever stood once was moved to by somebody.
	for _, m := range answers {
		if m.epoch == epoch && m.stands > 0 && moved[m.stands] == 0 {
			fault("%d stood, but no call says that it moved there", m.stands)
		}
	}
	if stands != most {
		fault("%d stands at the end, %d was the farthest", stands, most)
	}
	return faults
}

func testAtOnce(t *testing.T, node func() store.Store) {
	const n = 100
	answers := crowd(t, node, func(g int) (marks []move) {
		for i := range n {
			// Some go up, some down, and many meet.
			offset := uint64(i + g%4 + 1)
			if g%3 == 0 {
				offset = uint64(n - i)
			}
			marks = append(marks, move{epoch: "k3", asked: offset})
		}
		return marks
	})
	got, err := node().ReadOffsets(t.Context(), "alice", epochs{"lobby": "k3"})
	if err != nil {
		t.Fatal(err)
	}
	for _, fault := range judge(answers, "k3", got["lobby"]) {
		t.Error(fault)
	}
}

// Half of the crowd has heard of a new epoch: its marks stand, whatever the others do.
func testEpochAtOnce(t *testing.T, node func() store.Store) {
	mark(t, node(), "lobby", "alice", "k3", 1, 1, true)
	answers := crowd(t, node, func(g int) (marks []move) {
		epoch := []string{"k3", "q9"}[g/2%2]
		for i := range 100 {
			marks = append(marks, move{epoch: epoch, asked: uint64(i + 2)})
		}
		return marks
	})
	got, err := node().ReadOffsets(t.Context(), "alice", epochs{"lobby": "q9"})
	if err != nil {
		t.Fatal(err)
	}
	for _, fault := range judge(answers, "q9", got["lobby"]) {
		t.Error(fault)
	}
}

func testEnded(t *testing.T, node func() store.Store) {
	s := node()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := s.MarkRead(ctx, "lobby", "alice", "k3", 5); err == nil {
		t.Error("MarkRead with an ended context returned no error")
	}
	if _, err := s.ReadOffsets(ctx, "alice", epochs{"lobby": "k3"}); err == nil {
		t.Error("ReadOffsets with an ended context returned no error")
	}
	if _, err := s.ReadBy(ctx, "lobby", "k3", []string{"alice"}); err == nil {
		t.Error("ReadBy with an ended context returned no error")
	}
	read(t, s, "alice", epochs{"lobby": "k3"}, offsets{"lobby": 0})

	ban, timer := forGood(store.Ban, "lobby", "alice"), tick("a", past(), 0)
	impose(t, s, ban)
	add(t, s, timer)
	for name, call := range map[string]func() error{
		"Impose":      func() error { return s.Impose(ctx, forGood(store.Mute, "lobby", "alice")) },
		"Lift":        func() error { _, err := s.Lift(ctx, store.Ban, "lobby", "alice"); return err },
		"Sanctions":   func() error { _, _, err := s.Sanctions(ctx, ""); return err },
		"AddTimer":    func() error { return s.AddTimer(ctx, tick("b", past(), 0)) },
		"DeleteTimer": func() error { _, err := s.DeleteTimer(ctx, "a"); return err },
		"Timers":      func() error { _, _, err := s.Timers(ctx, "", 1); return err },
		"Claim":       func() error { _, _, err := s.Claim(ctx, longLease, 1); return err },
		"Fired":       func() error { return s.Fired(ctx, "a", 0) },
		"DeleteUser":  func() error { return s.DeleteUser(ctx, "alice") },
		"DeleteTopic": func() error { return s.DeleteTopic(ctx, "lobby") },
	} {
		if err := call(); err == nil {
			t.Errorf("%s with an ended context returned no error", name)
		}
	}
	standing(t, s, ban)
	claim(t, s, longLease, 10, "a:0")
}
