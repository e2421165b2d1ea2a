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
