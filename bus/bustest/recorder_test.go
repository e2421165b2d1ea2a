package bustest_test

import (
	"testing"

	"github.com/rookery-chat/rookery/bus"
	"github.com/rookery-chat/rookery/bus/bustest"
)

// The suite is worth as much as what it checks with: each broken promise is found.
func TestRecorderFindsFaults(t *testing.T) {
	at := func(epoch string, offset uint64) bus.Position { return bus.Position{Epoch: epoch, Offset: offset} }
	good := func(r *bustest.Recorder) {
		r.Subscribed("lobby", at("a", 3))
		r.Message("lobby", bus.Entry{Offset: 4})
		r.Signal("lobby", nil)
		r.Subscribed("lobby", at("a", 4))
		r.Reset("lobby", at("a", 9), "trimmed", false)
		r.Message("lobby", bus.Entry{Offset: 10})
		r.Reset("lobby", at("b", 10), "epoch", true)
		r.Reset("lobby", at("c", 2), "epoch", false)
		r.Message("lobby", bus.Entry{Offset: 3})
	}
	for name, mutant := range map[string]func(r *bustest.Recorder){
		"hole":               func(r *bustest.Recorder) { r.Message("lobby", bus.Entry{Offset: 5}) },
		"double":             func(r *bustest.Recorder) { r.Message("lobby", bus.Entry{Offset: 3}) },
		"live elsewhere":     func(r *bustest.Recorder) { r.Subscribed("lobby", at("c", 4)) },
		"live in the past":   func(r *bustest.Recorder) { r.Subscribed("lobby", at("b", 3)) },
		"early message":      func(r *bustest.Recorder) { r.Message("other", bus.Entry{Offset: 1}) },
		"early signal":       func(r *bustest.Recorder) { r.Signal("other", nil) },
		"early reset":        func(r *bustest.Recorder) { r.Reset("other", at("a", 0), "epoch", false) },
		"trimmed backwards":  func(r *bustest.Recorder) { r.Reset("lobby", at("c", 3), "trimmed", false) },
		"trimmed to another": func(r *bustest.Recorder) { r.Reset("lobby", at("d", 9), "trimmed", false) },
		"same epoch":         func(r *bustest.Recorder) { r.Reset("lobby", at("c", 3), "epoch", true) },
		"recovered a jump":   func(r *bustest.Recorder) { r.Reset("lobby", at("d", 7), "epoch", true) },
		"no reason":          func(r *bustest.Recorder) { r.Reset("lobby", at("d", 3), "", true) },
		"after the end":      func(r *bustest.Recorder) { r.Closed("lobby"); r.Signal("lobby", nil) },
	} {
		r := bustest.NewRecorder()
		good(r)
		if f := r.Faults(); len(f) != 0 {
			t.Fatalf("good calls were taken for %q", f)
		}
		mutant(r)
		if f := r.Faults(); len(f) != 1 {
			t.Errorf("%s: found %q", name, f)
		}
	}
}
