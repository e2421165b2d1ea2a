package presence

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"time"
)

// Lose empties the cluster, as a Redis does that is restarted without its data.
func (m *Memory) Lose() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.run++
	clear(m.nodes)
	clear(m.rosters)
	if m.journal != nil {
		*m.journal = memoryJournal{keep: m.journal.keep, count: m.journal.count}
	}
}

// Rosters is how many rosters are kept, empty ones too.
func (m *Memory) Rosters() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.rosters)
}

// Appended is the payload of a change.
func Appended(c Change) []byte { return c.append(nil) }

// Topics is how many topics a node holds.
func Topics(p Presence) int {
	n := p.(*local)
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.topics)
}

// Incarnation is the node's present one.
func Incarnation(p Presence) string {
	n := p.(*local)
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.me.inc
}

// A Gate stands between a node and its backend.
type Gate struct {
	// TurnsOff has the backend take every step, however late. Fixed before use.
	TurnsOff bool

	mu     sync.Mutex
	steps  []chan struct{} // Guarded by mu. Late steps; each is closed when it is done.
	closed chan struct{}   // Guarded by mu. While it is not nil, steps wait for it to be closed.
	flaky  *rand.Rand      // Guarded by mu.
	late   time.Duration   // Guarded by mu.
}

// Through puts the gate before the backend of a node that does not run yet.
func (g *Gate) Through(p Presence) Presence {
	n := p.(*local)
	n.b = &gated{n.b, g}
	return p
}

// Close makes every step wait, as in a process that is stopped.
func (g *Gate) Close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed == nil {
		g.closed = make(chan struct{})
	}
}

// Open ends Close.
func (g *Gate) Open() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed != nil {
		close(g.closed)
		g.closed = nil
	}
}

// Flaky makes one step in two fail: not done at all, or done with the answer lost, or
// done late. A nil r ends that.
func (g *Gate) Flaky(r *rand.Rand, late time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.flaky, g.late = r, late
}

// Settle waits for the late steps.
func (g *Gate) Settle() {
	g.mu.Lock()
	steps := g.steps
	g.steps = nil
	g.mu.Unlock()
	for _, done := range steps {
		<-done
	}
}

var errGate = errors.New("no answer")

// pass does a step, or not, or with its answer lost.
func (g *Gate) pass(ctx context.Context, step func(context.Context) error) error {
	for {
		g.mu.Lock()
		closed := g.closed
		g.mu.Unlock()
		if closed == nil {
			break
		}
		select {
		case <-closed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	g.mu.Lock()
	fate, delay := 3, time.Duration(0)
	if g.flaky != nil {
		fate, delay = g.flaky.IntN(6), time.Duration(g.flaky.Int64N(int64(g.late)))
	}
	g.mu.Unlock()
	switch fate {
	case 0:
	case 1:
		step(ctx)
	case 2:
		done := make(chan struct{})
		g.mu.Lock()
		g.steps = append(g.steps, done)
		g.mu.Unlock()
		go func() {
			defer close(done)
			time.Sleep(delay)
			step(context.WithoutCancel(ctx))
		}()
	default:
		return step(ctx)
	}
	return errGate
}

func (g *Gate) turn(turn uint64) uint64 {
	if g.TurnsOff {
		return 1 << 40
	}
	return turn
}

type gated struct {
	backend
	g *Gate
}

func (b *gated) renew(ctx context.Context, m member) (renewal, error) {
	answer := new(renewal) // the step's own, should it be late
	err := b.g.pass(ctx, func(ctx context.Context) (err error) {
		*answer, err = b.backend.renew(ctx, m)
		return err
	})
	if err != nil {
		return renewal{}, err
	}
	return *answer, nil
}

func (b *gated) reserve(ctx context.Context, m member, lane string, turn uint64, topics []string) error {
	return b.g.pass(ctx, func(ctx context.Context) error {
		return b.backend.reserve(ctx, m, lane, b.g.turn(turn), topics)
	})
}

func (b *gated) release(ctx context.Context, m member, lane string, turn uint64, topics []string) error {
	return b.g.pass(ctx, func(ctx context.Context) error {
		return b.backend.release(ctx, m, lane, b.g.turn(turn), topics)
	})
}

func (b *gated) open(ctx context.Context, m member, turn uint64, partitions []string) error {
	return b.g.pass(ctx, func(ctx context.Context) error {
		return b.backend.open(ctx, m, b.g.turn(turn), partitions)
	})
}

func (b *gated) change(ctx context.Context, m member, turn uint64, deltas []*delta) {
	var answers []*delta
	for _, d := range deltas {
		answers = append(answers, &delta{topic: d.topic, leave: slices.Clone(d.leave), join: slices.Clone(d.join)})
	}
	err := b.g.pass(ctx, func(ctx context.Context) error {
		b.backend.change(ctx, m, b.g.turn(turn), answers)
		return nil
	})
	for i, d := range deltas {
		if d.leaveErr, d.joinErr = err, err; err == nil {
			d.leaveErr, d.joinErr = answers[i].leaveErr, answers[i].joinErr
		}
	}
}

// The steps that read what they return are refused or done, but not late.

func (b *gated) reads(ctx context.Context) error {
	return b.g.pass(ctx, func(context.Context) error { return nil })
}

func (b *gated) reserved(ctx context.Context, m member, lane string, turn uint64) ([]string, error) {
	if err := b.reads(ctx); err != nil {
		return nil, err
	}
	return b.backend.reserved(ctx, m, lane, b.g.turn(turn))
}

func (b *gated) present(ctx context.Context, m member, turn uint64, topics []string) ([][]string, error) {
	if err := b.reads(ctx); err != nil {
		return nil, err
	}
	return b.backend.present(ctx, m, b.g.turn(turn), topics)
}

func (b *gated) condemn(ctx context.Context, me member, s suspect, done []string) ([]string, verdict, error) {
	if err := b.reads(ctx); err != nil {
		return nil, spared, err
	}
	return b.backend.condemn(ctx, me, s, done)
}

func (b *gated) reap(ctx context.Context, dead member, topics []string) error {
	return b.g.pass(ctx, func(ctx context.Context) error { return b.backend.reap(ctx, dead, topics) })
}

// Indexed is how many topics the indices of all incarnations name.
func (m *Memory) Indexed() (topics int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, l := range m.nodes {
		topics += len(l.topics)
	}
	return topics
}
