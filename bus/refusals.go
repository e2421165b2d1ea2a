package bus

import (
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// refusals tell an operator once that publishes do not get through, and once that they do
// again: at whatever rate people publish, and also where only some are refused.
type refusals struct {
	on atomic.Bool // an operator was told. Written under mu.

	mu   sync.Mutex
	last time.Time // the latest of them. Guarded by mu.
}

// refusalsOver is how long after the latest refusal they are over.
const refusalsOver = 5 * time.Second

// begin takes down a publish that failed by no fault of its caller.
func (r *refusals) begin(log *slog.Logger, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.last = time.Now()
	if !r.on.Swap(true) {
		log.Warn("bus: publishes do not get through to Redis; who publishes is told to try again", "error", err)
	}
}

// pass takes down one that got through.
func (r *refusals) pass(log *slog.Logger) {
	if !r.on.Load() {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if time.Since(r.last) > refusalsOver && r.on.Swap(false) {
		log.Info("bus: publishes get through to Redis again")
	}
}
