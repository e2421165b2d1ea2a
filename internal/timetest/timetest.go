// Package timetest judges promises about time on machines that have other things to do.
package timetest

import (
	"testing"
	"time"

	"github.com/prometheus/procfs"
)

// A Stopwatch tells how long something takes, and for how much of that the machine had nothing else to do.
type Stopwatch struct {
	began time.Time
	idle  time.Duration
}

// Start starts a stopwatch.
func Start() Stopwatch { return Stopwatch{time.Now(), idle()} }

// Took is how long it is since the start.
func (w Stopwatch) Took() time.Duration { return time.Since(w.began) }

// Spare is the part of Took for which a core was idle, as a share of all cores. Where others keep the machine
// busy, or it stands still, that is little: what waits for a timer does not see it, and
// what would have done its work in that time could not.
func (w Stopwatch) Spare() time.Duration { return min(idle()-w.idle, w.Took()) }

// Within fails the test if what it is about took longer than promised, and the machine had that much time to spare.
func (w Stopwatch) Within(tb testing.TB, promised time.Duration, what string) {
	tb.Helper()
	took, spare := w.Took(), w.Spare()
	tb.Logf("%s: %v, with a machine that had %v to spare", what, took.Round(10*time.Millisecond), spare.Round(10*time.Millisecond))
	if spare > promised {
		tb.Errorf("%s took %v, want at most %v: the machine had the time", what, took, promised)
	}
}

// idle is how long the cores of this machine had nothing to do, on average. It is 0 where that cannot be told.
func idle() time.Duration {
	fs, err := procfs.NewDefaultFS()
	if err != nil {
		return 0
	}
	s, err := fs.Stat()
	if err != nil || len(s.CPU) == 0 {
		return 0
	}
	return time.Duration(s.CPUTotal.Idle / float64(len(s.CPU)) * float64(time.Second))
}
