package storetest

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/rookery-chat/rookery/store"
)

// forGood are the sanctions that tests impose most.
func forGood(kind store.Kind, topic, user string) store.Sanction {
	return store.Sanction{Kind: kind, Topic: topic, User: user}
}

func impose(t *testing.T, s store.Store, sanctions ...store.Sanction) {
	t.Helper()
	for _, sanction := range sanctions {
		if err := s.Impose(t.Context(), sanction); err != nil {
			t.Fatalf("Impose(%v): %v", sanction, err)
		}
	}
}

// lift checks one Lift.
func lift(t *testing.T, s store.Store, kind store.Kind, topic, user string, want bool) {
	t.Helper()
	if got, err := s.Lift(t.Context(), kind, topic, user); err != nil || got != want {
		t.Errorf("Lift(%q, %q, %q) = %t, %v; want %t", kind, topic, user, got, err, want)
	}
}

// standing checks that just these sanctions stand, and returns their version.
func standing(t *testing.T, s store.Store, want ...store.Sanction) string {
	t.Helper()
	got, version, err := s.Sanctions(t.Context(), "a version that nobody has")
	if err != nil {
		t.Fatalf("Sanctions: %v", err)
	}
	order := func(a, b store.Sanction) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.User, b.User))
	}
	slices.SortFunc(got, order)
	slices.SortFunc(want, order)
	same := func(a, b store.Sanction) bool { return order(a, b) == 0 && a.Until.Equal(b.Until) }
	if !slices.EqualFunc(got, want, same) {
		t.Errorf("there stand %v; want %v", got, want)
	}
	return version
}

func testImpose(t *testing.T, node func() store.Store) {
	s, other := node(), node()
	standing(t, s)
	lift(t, s, store.Ban, "lobby", "alice", false)
	ban, mute := forGood(store.Ban, "lobby", "alice"), forGood(store.Mute, "lobby", "alice")
	impose(t, s, ban, mute, forGood(store.Ban, "attic", "alice"), forGood(store.Ban, "lobby", "bob"))
	standing(t, other, ban, mute, forGood(store.Ban, "attic", "alice"), forGood(store.Ban, "lobby", "bob"))
	lift(t, other, store.Ban, "lobby", "alice", true)
	lift(t, s, store.Ban, "lobby", "alice", false)
	standing(t, s, mute, forGood(store.Ban, "attic", "alice"), forGood(store.Ban, "lobby", "bob"))

	// The newest of a kind counts, be it longer or shorter.
	mute.Until = time.UnixMilli(time.Now().Add(time.Hour).UnixMilli())
	impose(t, s, mute)
	standing(t, s, mute, forGood(store.Ban, "attic", "alice"), forGood(store.Ban, "lobby", "bob"))
	mute.Until = time.Time{}
	impose(t, s, mute)
	standing(t, s, mute, forGood(store.Ban, "attic", "alice"), forGood(store.Ban, "lobby", "bob"))
}

func testVersions(t *testing.T, node func() store.Store) {
	s, other := node(), node()
	if all, version, err := s.Sanctions(t.Context(), ""); all != nil || version != "" || err != nil {
		t.Errorf("an empty store has the sanctions %v, %q, %v", all, version, err)
	}
	seen := map[string]bool{"": true}
	unchanged := func(known string) {
		t.Helper()
		for _, s := range []store.Store{s, other} {
			if all, version, err := s.Sanctions(t.Context(), known); all != nil || version != known || err != nil {
				t.Errorf("Sanctions(%q) = %v, %q, %v; want nothing new", known, all, version, err)
			}
		}
	}
	changed := func(want ...store.Sanction) string {
		t.Helper()
		version := standing(t, s, want...)
		if seen[version] {
			t.Errorf("the version is %q once more", version)
		}
		seen[version] = true
		unchanged(version)
		return version
	}
	ban := forGood(store.Ban, "lobby", "alice")
	impose(t, s, ban)
	changed(ban)
	impose(t, s, ban)
	version := changed(ban)
	lift(t, s, store.Ban, "lobby", "bob", false) // changes nothing
	unchanged(version)
	lift(t, other, store.Ban, "lobby", "alice", true)
	changed()
	impose(t, other, ban)
	changed(ban)
	if err := s.DeleteUser(t.Context(), "alice"); err != nil {
		t.Fatal(err)
	}
	changed()
}

func testExpiry(t *testing.T, node func() store.Store) {
	s := node()
	past, soon, late := forGood(store.Ban, "past", "alice"), forGood(store.Ban, "soon", "alice"), forGood(store.Mute, "late", "alice")
	past.Until = time.Now().Add(-time.Hour)
	late.Until = time.UnixMilli(time.Now().Add(time.Hour).UnixMilli())
	impose(t, s, past, late)
	version := standing(t, s, late)
	lift(t, s, store.Ban, "past", "alice", false)

	soon.Until = time.UnixMilli(time.Now().Add(300 * time.Millisecond).UnixMilli())
	impose(t, s, soon)
	eventually(t, "the sanction expires", func() bool {
		all, _, err := s.Sanctions(t.Context(), version)
		if err != nil {
			t.Fatal(err)
		}
		return len(all) == 1
	})
	version = standing(t, s, late)
	if all, again, err := s.Sanctions(t.Context(), version); all != nil || again != version || err != nil {
		t.Errorf("expiry is no change, but Sanctions answers %v, %q, %v to %q", all, again, err, version)
	}
	lift(t, s, store.Ban, "soon", "alice", false)
	standing(t, s, late)
	impose(t, s, forGood(store.Ban, "soon", "alice")) // after an expired one
	standing(t, s, late, forGood(store.Ban, "soon", "alice"))
}

// Sanctions may hold whatever names may, and are told apart by all of it.
func testSanctionNames(t *testing.T, node func() store.Store) {
	s := node()
	names := []string{"*", "@alice", "a:b", "a", "größe", `"\`, `","`, "%", "<&>", "-1", "\u2028"}
	var all []store.Sanction
	for _, topic := range names {
		for _, user := range names {
			all = append(all, forGood(store.Ban, topic, user))
		}
	}
	impose(t, s, all...)
	standing(t, s, slices.Clone(all)...)
	for _, ban := range all {
		lift(t, s, ban.Kind, ban.Topic, ban.User, true)
	}
	standing(t, s)
}

// Whoever asks again with the version it was given ends up with what stands.
func testSanctionsAtOnce(t *testing.T, node func() store.Store) {
	const writers, each = 4, 30
	var wg sync.WaitGroup
	for w := range writers {
		s := node()
		wg.Go(func() {
			for i := range each {
				err := s.Impose(t.Context(), forGood(store.Ban, "lobby", fmt.Sprint(w, ":", i)))
				if err == nil && i%2 == 1 {
					_, err = s.Lift(t.Context(), store.Ban, "lobby", fmt.Sprint(w, ":", i-1))
				}
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()

	s := node()
	var mine []store.Sanction
	var known string
	ask := func() {
		all, version, err := s.Sanctions(t.Context(), known)
		if err != nil {
			t.Error(err)
		}
		if version != known {
			mine, known = all, version
		}
	}
	for {
		select {
		case <-done:
			ask()
			if len(mine) != writers*each/2 {
				t.Errorf("%d sanctions are known at the end, want %d", len(mine), writers*each/2)
			}
			standing(t, node(), mine...)
			return
		default:
			ask()
		}
	}
}

func testDelete(t *testing.T, node func() store.Store) {
	s := node()
	all := make(epochs)
	for i := range 40 {
		topic := fmt.Sprint("room", i)
		all[topic] = "k3"
		mark(t, s, topic, "alice", "k3", 5, 5, true)
		mark(t, s, topic, "bob", "k3", 3, 3, true)
		impose(t, s, forGood(store.Ban, topic, "alice"), forGood(store.Mute, topic, "bob"))
	}
	if err := s.DeleteUser(t.Context(), "alice"); err != nil {
		t.Fatal(err)
	}
	none, three := make(offsets), make(offsets)
	var mutes []store.Sanction
	for topic := range all {
		none[topic], three[topic] = 0, 3
		mutes = append(mutes, forGood(store.Mute, topic, "bob"))
	}
	read(t, s, "alice", all, none)
	read(t, s, "bob", all, three)
	standing(t, s, mutes...)

	mark(t, s, "room7", "alice", "k3", 2, 2, true) // begins anew
	if err := s.DeleteTopic(t.Context(), "room7"); err != nil {
		t.Fatal(err)
	}
	three["room7"] = 0
	read(t, s, "alice", all, none)
	read(t, s, "bob", all, three)
	standing(t, s, slices.DeleteFunc(mutes, func(m store.Sanction) bool { return m.Topic == "room7" })...)

	for _, f := range []func(context.Context, string) error{s.DeleteUser, s.DeleteTopic} {
		if err := f(t.Context(), "nobody"); err != nil {
			t.Errorf("to delete what is not there: %v", err)
		}
	}
}

// eventually waits until ready is true.
func eventually(t *testing.T, what string, ready func() bool) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for !ready() {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain until %s", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}
