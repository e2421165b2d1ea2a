package store_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/rookery-chat/rookery/internal/redistest"
	"github.com/rookery-chat/rookery/store"
)

// Tests of sanctions and timers in Redis alone.

var (
	ban   = store.Sanction{Kind: store.Ban, Topic: "lobby", User: "alice"}
	mute  = store.Sanction{Kind: store.Mute, Topic: "lobby", User: "bob"}
	timer = store.Timer{ID: "a", Topic: "lobby", Data: []byte(`"tick"`)}
)

// setUp adds them all to a store.
func setUp(t *testing.T, s store.Store) {
	t.Helper()
	if err := errors.Join(s.Impose(t.Context(), ban), s.Impose(t.Context(), mute), s.AddTimer(t.Context(), timer)); err != nil {
		t.Fatal(err)
	}
}

// sanctions returns what Sanctions does, without an error.
func sanctions(t *testing.T, s store.Store, known string) ([]store.Sanction, string) {
	t.Helper()
	all, version, err := s.Sanctions(t.Context(), known)
	if err != nil {
		t.Fatal(err)
	}
	return all, version
}

// claims returns what can be claimed.
func claims(t *testing.T, s store.Store) []store.Timer {
	t.Helper()
	due, _, err := s.Claim(t.Context(), time.Minute, 10)
	if err != nil {
		t.Fatal(err)
	}
	return due
}

// All keys stand until they are taken back, but for the notes of what counts were.
func TestRedisFactKeys(t *testing.T) {
	c := dial(t, redistest.Start(t))
	s, ctx := store.NewRedis(c, "rookery:"), t.Context()
	keys := func(want ...string) {
		t.Helper()
		got, err := c.Keys(ctx, "*").Result()
		if err != nil {
			t.Fatal(err)
		}
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("the keys are %q; want %q", got, want)
		}
		for _, key := range got {
			life := c.TTL(ctx, key).Val()
			if note := strings.Contains(key, ":last:"); note && (life <= 0 || life > 10*time.Minute) || !note && life != -1 {
				t.Errorf("%s lives for %v", key, life)
			}
		}
	}
	setUp(t, s)
	keys("rookery:{sanctions}", "rookery:{sanctions}:version",
		"rookery:{timers}:due", "rookery:{timers}:ids", "rookery:{timers}:state", "rookery:{timers}:what")
	for _, due := range claims(t, s) {
		if err := s.Fired(ctx, due.ID, due.Count); err != nil {
			t.Fatal(err)
		}
	}
	other := timer
	other.ID = "b"
	if err := s.AddTimer(ctx, other); err != nil {
		t.Fatal(err)
	}
	if _, err := s.DeleteTimer(ctx, "b"); err != nil {
		t.Fatal(err)
	}
	for _, sanction := range []store.Sanction{ban, mute} {
		if _, err := s.Lift(ctx, sanction.Kind, sanction.Topic, sanction.User); err != nil {
			t.Fatal(err)
		}
	}
	keys("rookery:{sanctions}:version", "rookery:{timers}:last:a", "rookery:{timers}:last:b")
}

// With persistence all survives a restart; without it the version tells that all is gone.
func TestRedisRestarts(t *testing.T) {
	for name, test := range map[string]struct {
		args []string
		kept int
	}{
		"with data": {[]string{"--appendonly", "yes", "--appendfsync", "always"}, 1},
		"empty":     {nil, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := redistest.Start(t, test.args...)
			s := store.NewRedis(dial(t, server), "")
			setUp(t, s)
			_, before := sanctions(t, s, "")
			server.Kill()
			server.Restart()
			all, version := sanctions(t, s, before)
			if changed := version != before; changed != (test.kept == 0) || len(all) != 0 {
				t.Errorf("after the restart there stand %v; the version is %q, was %q", all, version, before)
			}
			if all, _ := sanctions(t, s, "other"); len(all) != 2*test.kept {
				t.Errorf("after the restart there stand %v", all)
			}
			if due := claims(t, s); len(due) != test.kept {
				t.Errorf("after the restart the timers %v are due", due)
			}
			setUp(t, s) // as much as before, and yet another version
			if _, version := sanctions(t, s, ""); version == before {
				t.Errorf("the version is %q once more", version)
			}
		})
	}
}

// Without memory nothing is added, and nothing is half done; but what is taken back goes, and nodes hear of it.
func TestRedisFactsOutOfMemory(t *testing.T) {
	c := dial(t, redistest.Start(t))
	s, ctx := store.NewRedis(c, ""), t.Context()
	setUp(t, s)
	if _, _, err := s.MarkRead(ctx, "lobby", "bob", "k3", 5); err != nil {
		t.Fatal(err)
	}
	repeats := timer
	repeats.ID, repeats.Every, repeats.At = "repeats", time.Second, time.Now().Add(time.Hour)
	if err := s.AddTimer(ctx, repeats); err != nil {
		t.Fatal(err)
	}
	_, known := sanctions(t, s, "")
	memory := func(max string) {
		t.Helper()
		if err := c.ConfigSet(ctx, "maxmemory", max).Err(); err != nil {
			t.Fatal(err)
		}
	}
	memory("1")
	other := timer
	other.ID = "b"
	for name, call := range map[string]func() error{
		"Impose":   func() error { return s.Impose(ctx, store.Sanction{Kind: store.Ban, Topic: "attic", User: "alice"}) },
		"AddTimer": func() error { return s.AddTimer(ctx, other) },
		"Claim":    func() error { _, _, err := s.Claim(ctx, time.Minute, 10); return err },
		"Fired":    func() error { return s.Fired(ctx, "repeats", 0) },
	} {
		if err := call(); err == nil || !strings.Contains(err.Error(), "OOM") {
			t.Errorf("%s without memory returned %v", name, err)
		}
	}
	if all, version := sanctions(t, s, known); all != nil || version != known {
		t.Errorf("there stand %v, although none was imposed", all)
	}
	if was, err := s.Lift(ctx, ban.Kind, ban.Topic, ban.User); !was || err != nil {
		t.Errorf("Lift without memory = %t, %v", was, err)
	}
	all, known := sanctions(t, s, known)
	if !slices.Equal(all, []store.Sanction{mute}) {
		t.Errorf("there stand %v; want %v", all, mute)
	}
	if err := s.DeleteUser(ctx, "bob"); err != nil {
		t.Errorf("DeleteUser without memory returned %v", err)
	}
	if all, version := sanctions(t, s, known); len(all) > 0 || version == known {
		t.Errorf("there stand %v after the last was lifted, under the version %q, before %q", all, version, known)
	}
	memory("0")
	if due := claims(t, s); len(due) != 1 || due[0].Count != 0 {
		t.Errorf("there are due %v; want the timer as it was", due)
	}
	memory("1")
	if was, err := s.DeleteTimer(ctx, "a"); !was || err != nil {
		t.Errorf("DeleteTimer without memory = %t, %v", was, err)
	}
	memory("0")
	if err := s.AddTimer(ctx, timer); err != nil {
		t.Fatal(err)
	}
	if due := claims(t, s); len(due) != 1 || due[0].Count != 1 {
		t.Errorf("there are due %v; want the new timer, counting on", due)
	}
}

// What another hand wrote is no sanction and no timer: it does not stop those that are.
func TestRedisForeignFacts(t *testing.T) {
	c := dial(t, redistest.Start(t))
	s, ctx := store.NewRedis(c, ""), t.Context()
	setUp(t, s)
	for _, err := range []error{
		c.ZAdd(ctx, "{sanctions}", redis.Z{Score: 1e18, Member: "foreign"}, redis.Z{Score: 1e18, Member: `["ban"]`}).Err(),
		c.ZAdd(ctx, "{timers}:due", redis.Z{Member: "foreign"}).Err(),
		c.ZAdd(ctx, "{timers}:ids", redis.Z{Member: "foreign"}).Err(),
		c.HSet(ctx, "{timers}:state", "foreign", "state").Err(),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if all, _ := sanctions(t, s, ""); len(all) != 2 {
		t.Errorf("there stand %v", all)
	}
	if err := s.DeleteUser(ctx, "bob"); err != nil {
		t.Errorf("DeleteUser: %v", err)
	}
	if page, next, err := s.Timers(ctx, "", 1); err != nil || len(page) != 1 || next != "a" {
		t.Errorf("the first page is %v, %q, %v", page, next, err)
	}
	if page, next, err := s.Timers(ctx, "a", 1); err != nil || len(page) != 0 || next != "" {
		t.Errorf("the second page is %v, %q, %v", page, next, err)
	}
	if due := claims(t, s); len(due) != 1 || due[0].ID != "a" {
		t.Errorf("there are due %v", due)
	}
	foreign := timer
	foreign.ID = "foreign"
	if err := s.AddTimer(ctx, foreign); err != nil { // in its place
		t.Errorf("AddTimer: %v", err)
	}
	if due := claims(t, s); len(due) != 1 || due[0].ID != "foreign" {
		t.Errorf("there are due %v", due)
	}
}

// A deleted user's marks are found among many keys, and only under the store's own prefix.
func TestRedisDeleteUserScans(t *testing.T) {
	c := dial(t, redistest.Start(t))
	ctx := t.Context()
	_, err := c.Pipelined(ctx, func(pipe redis.Pipeliner) error {
		for i := range 3000 {
			pipe.HSet(ctx, "a*:log:{"+string(rune('㐀'+i))+"}", "alice", "no mark")
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	s, other := store.NewRedis(c, "a*:"), store.NewRedis(c, "ab:")
	for _, s := range []store.Store{s, other} {
		if _, _, err := s.MarkRead(ctx, "lobby", "alice", "k3", 5); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.DeleteUser(ctx, "alice"); err != nil {
		t.Fatal(err)
	}
	at := map[string]string{"lobby": "k3"}
	if got, err := s.ReadOffsets(ctx, "alice", at); err != nil || got["lobby"] != 0 {
		t.Errorf("a deleted user has read %v, %v", got, err)
	}
	if got, err := other.ReadOffsets(ctx, "alice", at); err != nil || got["lobby"] != 5 {
		t.Errorf("the user of another prefix has read %v, %v", got, err)
	}
	if got := c.HGet(ctx, "a*:log:{㐀}", "alice").Val(); got != "no mark" {
		t.Errorf("a key of another kind has now %q", got)
	}
}

// Each call is one round trip.
func TestRedisFactRoundTrips(t *testing.T) {
	c := dial(t, redistest.Start(t))
	s, ctx := store.NewRedis(c, ""), t.Context()
	calls := []struct {
		name string
		call func() error
	}{
		{"Impose", func() error { return s.Impose(ctx, ban) }},
		{"Sanctions", func() error { _, _, err := s.Sanctions(ctx, ""); return err }},
		{"Lift", func() error { _, err := s.Lift(ctx, ban.Kind, ban.Topic, ban.User); return err }},
		{"AddTimer", func() error { return s.AddTimer(ctx, timer) }},
		{"Timers", func() error { _, _, err := s.Timers(ctx, "", 10); return err }},
		{"Claim", func() error { _, _, err := s.Claim(ctx, time.Minute, 10); return err }},
		{"Fired", func() error { return s.Fired(ctx, "a", 0) }},
		{"DeleteTimer", func() error { _, err := s.DeleteTimer(ctx, "a"); return err }},
	}
	for _, call := range calls { // brings the scripts
		if err := call.call(); err != nil {
			t.Fatal(call.name, err)
		}
	}
	var trips counter
	c.AddHook(&trips)
	for _, call := range calls {
		trips = 0
		if err := call.call(); err != nil || trips != 1 {
			t.Errorf("%s took %d round trips, %v", call.name, trips, err)
		}
	}
}
