package store_test

import (
	"maps"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rookery-chat/rookery/store"
)

// A process that runs for months does not keep what nobody asks for any more.
func TestMemoryForgets(t *testing.T) {
	const day = 24 * time.Hour
	synctest.Test(t, func(t *testing.T) {
		s := store.NewMemory()
		mark := func(topic string, offset uint64) {
			t.Helper()
			if _, moved, err := s.MarkRead(t.Context(), topic, "alice", "k3", offset); err != nil || !moved {
				t.Fatalf("marking %d in %s: moved %t, %v", offset, topic, moved, err)
			}
		}
		read := func(want map[string]uint64) {
			t.Helper()
			got, err := s.ReadOffsets(t.Context(), "alice", map[string]string{"lobby": "k3", "attic": "k3"})
			if err != nil || !maps.Equal(got, want) {
				t.Errorf("after %v: read offsets %v, %v; want %v", time.Since(time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)), got, err, want)
			}
		}
		mark("lobby", 5)
		mark("attic", 7)
		time.Sleep(60 * day)
		mark("lobby", 6)
		time.Sleep(30 * day)
		mark("other", 1)
		read(map[string]uint64{"lobby": 6, "attic": 7}) // 90 days are kept
		time.Sleep(2 * day)
		mark("other", 2)
		read(map[string]uint64{"lobby": 6, "attic": 0})
	})
}

// What expires, lapses and is due goes by the clock of the process.
func TestMemoryClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, ctx := store.NewMemory(), t.Context()
		start := time.Now()
		add := func(timer store.Timer) {
			t.Helper()
			timer.Topic, timer.Data = "lobby", []byte("null")
			if err := s.AddTimer(ctx, timer); err != nil {
				t.Fatal(err)
			}
		}
		claim := func(id string, count uint64, wait time.Duration) {
			t.Helper()
			due, next, err := s.Claim(ctx, time.Second, 10)
			if err != nil || id == "" && len(due) > 0 || id != "" && (len(due) != 1 || due[0].ID != id || due[0].Count != count) {
				t.Fatalf("after %v: claimed %v, %v; want %q with count %d", time.Since(start), due, err, id, count)
			}
			if time.Until(next) != wait {
				t.Errorf("after %v: next in %v, want %v", time.Since(start), time.Until(next), wait)
			}
		}
		fired := func(count uint64) {
			t.Helper()
			if err := s.Fired(ctx, "a", count); err != nil {
				t.Fatal(err)
			}
		}
		add(store.Timer{ID: "a", Every: 3 * time.Second, At: start.Add(2 * time.Second)}) // 2, 5, 8, …
		add(store.Timer{ID: "z", At: start.Add(time.Hour)})
		claim("", 0, 2*time.Second)
		time.Sleep(2 * time.Second)
		claim("a", 0, time.Hour-2*time.Second)
		time.Sleep(999 * time.Millisecond)
		claim("", 0, time.Millisecond)
		time.Sleep(time.Millisecond)
		claim("a", 0, time.Hour-3*time.Second) // the lease lapsed
		fired(0)
		claim("", 0, 2*time.Second) // at 5
		time.Sleep(9 * time.Second) // 5, 8 and 11 are one
		claim("a", 1, time.Hour-12*time.Second)
		fired(1)
		claim("", 0, 2*time.Second)
		time.Sleep(2 * time.Second)
		claim("a", 2, time.Hour-14*time.Second)
		fired(2) // at 14, which is not missed: the next is 17
		claim("", 0, 3*time.Second)

		// An ID's count is remembered for ten minutes.
		delete := func() {
			t.Helper()
			if was, err := s.DeleteTimer(ctx, "a"); err != nil || !was {
				t.Fatalf("DeleteTimer = %t, %v", was, err)
			}
		}
		delete()
		time.Sleep(10*time.Minute - time.Millisecond)
		add(store.Timer{ID: "a"})
		claim("a", 4, time.Hour-time.Since(start))
		delete()
		time.Sleep(10 * time.Minute)
		add(store.Timer{ID: "a"})
		claim("a", 0, time.Hour-time.Since(start))

		// A sanction stands until just before its time.
		ban := store.Sanction{Kind: store.Ban, Topic: "lobby", User: "alice", Until: time.Now().Add(time.Minute)}
		if err := s.Impose(ctx, ban); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute - time.Millisecond)
		if all, _, err := s.Sanctions(ctx, ""); err != nil || len(all) != 1 || !all[0].Until.Equal(ban.Until) {
			t.Errorf("there stand %v, %v", all, err)
		}
		time.Sleep(time.Millisecond)
		if all, _, err := s.Sanctions(ctx, ""); err != nil || len(all) != 0 {
			t.Errorf("there stand %v, %v after their time", all, err)
		}
	})
}
