package redistest_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/rookery-chat/rookery/internal/redistest"
)

// What others build on: a primary that dies has a successor, and what its deaf replicas missed is gone.
func TestGroup(t *testing.T) {
	t.Parallel()
	g := redistest.StartGroup(t, 2, 3)
	old := g.Primary()
	if old != g.Servers[0] {
		t.Fatalf("the primary is %v", old)
	}
	for _, s := range g.Servers[1:] {
		if err := s.Deaf(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := old.Ask("set", "lost", "1"); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	old.Kill()
	next := await(t, g.Primary, old)
	t.Logf("failed over in %v", time.Since(start))
	if n, err := next.Ask("exists", "lost"); err != nil || n != int64(0) {
		t.Errorf("what nobody replicated is there: %v, %v", n, err)
	}
}

// Likewise in a Redis Cluster, where slots also move.
func TestCluster(t *testing.T) {
	t.Parallel()
	c := redistest.StartCluster(t, 3, true)
	old := c.Primary(0)
	if old != c.Servers[0] {
		t.Fatalf("the primary is %v", old)
	}
	for i := range 12 {
		if _, err := old.Ask("set", fmt.Sprint("{06S}", i), i); err != nil { // slot 0
			t.Fatal(err)
		}
	}
	there := 0
	if err := c.MoveSlot(0, old, c.Servers[1], func() {
		n, _ := c.Servers[1].Ask("dbsize")
		there = int(n.(int64))
	}); err != nil {
		t.Fatal(err)
	}
	if there == 0 || there == 12 {
		t.Errorf("%d of 12 keys moved, and then the rest", there)
	}
	if n, err := c.Servers[1].Ask("cluster", "countkeysinslot", 0); err != nil || n != int64(12) {
		t.Errorf("12 keys moved: %v, %v", n, err)
	}
	start := time.Now()
	old.Kill()
	next := await(t, func() *redistest.Server { return c.Primary(1) }, old)
	if next != c.Servers[3] {
		t.Errorf("another server than the replica took over: %s", next.Addr)
	}
	t.Logf("failed over in %v", time.Since(start))
}

// await waits for another primary than old.
func await(t *testing.T, primary func() *redistest.Server, old *redistest.Server) *redistest.Server {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		if next := primary(); next != nil && next != old {
			return next
		}
		if time.Now().After(deadline) {
			t.Fatal("nobody takes over")
		}
	}
}
