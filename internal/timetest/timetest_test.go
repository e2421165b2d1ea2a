package timetest_test

import (
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rookery-chat/rookery/internal/timetest"
)

// A wait on a machine whose cores are all busy takes as long as any, and nothing of it counts.
func TestBusyTimeIsNotSpare(t *testing.T) {
	var done atomic.Bool
	var busy sync.WaitGroup
	for range 4 * runtime.NumCPU() {
		busy.Go(func() {
			for !done.Load() {
			}
		})
	}
	w := timetest.Start()
	time.Sleep(time.Second)
	took, spare := w.Took(), w.Spare()
	done.Store(true)
	busy.Wait()
	if spare < 0 || spare > took/2 {
		t.Errorf("of %v on a busy machine %v were to spare", took, spare)
	}
}

// A promise that no machine could keep is broken, and one that any could is not.
func TestPromise(t *testing.T) {
	w, seen := timetest.Start(), &witness{TB: t}
	w.Within(t, time.Hour, "nothing")
	w.Within(seen, -1, "nothing")
	if !seen.failed {
		t.Error("nobody saw that the promise was broken")
	}
}

// A witness is a test that may fail.
type witness struct {
	testing.TB
	failed bool
}

func (w *witness) Errorf(string, ...any) { w.failed = true }
