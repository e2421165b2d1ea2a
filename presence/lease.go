package presence

import (
	"context"
	"errors"
	"log/slog"
	"time"
)

// served is what a node saw of the cluster through its renewals. Guarded by local.mu.
type served struct {
	run   string    // which life of Redis answered last
	since time.Time // the first of an unbroken row of renewals; zero after a failed one
	last  time.Time // the latest of them
}

// renewals renews the lease, and with each renewal looks for leases that lapsed.
func (n *local) renewals(ctx context.Context) {
	tick := time.NewTicker(n.t.Renew)
	defer tick.Stop()
	healthy := true
	for {
		n.mu.Lock()
		me := n.me
		n.mu.Unlock()
		attempt, cancel := context.WithTimeout(ctx, 2*n.t.Renew)
		r, err := n.b.renew(attempt, me)
		cancel()
		switch {
		case ctx.Err() != nil:
			return
		case errors.Is(err, errCondemned):
			n.reincarnate(me)
		case err != nil:
			if healthy {
				slog.Warn("presence: the lease could not be renewed", "err", err)
			}
			healthy = false
			n.mu.Lock()
			n.served.since = time.Time{}
			n.mu.Unlock()
		default:
			if !healthy {
				slog.Info("presence: the lease is renewed again")
			}
			healthy = true
			n.renewed(me, r)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-n.hurry:
		}
	}
}

// renewed takes down a renewal of me.
func (n *local) renewed(me member, r renewal) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.me != me {
		return
	}
	now := time.Now()
	lost := n.served.run != "" && n.served.run != r.run || n.leased && !r.known
	if lost || n.served.since.IsZero() || now.Sub(n.served.last) > 5*n.t.Renew/2 {
		n.served.since = now
	}
	n.served.last, n.served.run = now, r.run
	if lost {
		n.compare("run", r.run, "lease", r.known)
	}
	for _, l := range n.lanes {
		if !n.leased || len(l.idle) > 0 && n.now()-l.idle[0].since > n.t.linger() {
			l.awake()
		}
	}
	n.leased = true
	select {
	case n.lapsed <- r.lapsed:
	default: // the judge is reaping; the next renewal tells again
	}
}

// compare has every lane compare what it knows with the cluster. mu is held.
func (n *local) compare(why ...any) {
	n.stats.Reconciled++
	slog.Warn("presence: Redis was restarted or replaced: comparing with it", why...)
	for _, l := range n.lanes {
		l.asked++
		l.awake()
	}
}

// watch looks whether another server has become a primary of a Redis Cluster. The
// renewals see that only of the one that has the leases.
func (n *local) watch(ctx context.Context) {
	for last := ""; ; {
		primaries, err := n.b.primaries(ctx)
		switch {
		case err != nil: // one of them is away, or being replaced
		case primaries == "":
			return
		default:
			if last != "" && last != primaries {
				n.mu.Lock()
				n.compare("primaries", primaries)
				n.mu.Unlock()
			}
			last = primaries
		}
		if !pause(ctx, 2*n.t.Renew) {
			return
		}
	}
}

// trusted tells whether Redis has served this node for long enough, without a break,
// that a lease not renewed meanwhile is its node's fault.
func (n *local) trusted() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	now := time.Now()
	return !n.served.since.IsZero() && now.Sub(n.served.since) >= n.t.Serving && now.Sub(n.served.last) <= 5*n.t.Renew/2
}

// judge watches lapsed leases, condemns those that stay so for the margin, and reaps.
// It goes by its own clock and by whether the lease was touched: a step of Redis's
// clock makes everybody a suspect, but nobody for longer than until the next renewal.
func (n *local) judge(ctx context.Context) {
	since := map[suspect]time.Time{} // first seen lapsed, with this stamp
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case lapsed := <-n.lapsed:
			before := since
			since = make(map[suspect]time.Time, len(lapsed))
			for _, s := range lapsed {
				t, ok := before[s]
				if !ok {
					t = time.Now()
				}
				since[s] = t
			}
		}
		var next time.Duration
		for s, t := range since {
			if wait := n.t.Margin - time.Since(t); wait > 0 {
				if next == 0 || wait < next {
					next = wait
				}
				continue
			}
			if !n.trusted() {
				continue // the next renewal looks again
			}
			if err := n.reap(ctx, s); err != nil && ctx.Err() == nil {
				slog.Warn("presence: reaping is tried again", "incarnation", s.inc, "err", err)
			}
		}
		if next > 0 {
			timer.Reset(next)
		}
	}
}

// reap condemns a suspect and takes its users out of all topics. Any number of nodes
// may try that at once, and each step may be repeated.
func (n *local) reap(ctx context.Context, s suspect) error {
	n.mu.Lock()
	me := n.me
	n.mu.Unlock()
	if s.member == me {
		return nil
	}
	var done []string
	for {
		topics, v, err := n.b.condemn(ctx, me, s, done)
		if err != nil || v == spared {
			return err
		}
		if done == nil {
			slog.Info("presence: a node is gone, its users are taken out", "incarnation", s.inc, "node", s.name)
			if err := n.b.sever(ctx, s.member); err != nil {
				slog.Warn("presence: the live connections of a dead node could not be cut", "node", s.name, "err", err)
			}
		}
		if v == buried {
			n.mu.Lock()
			n.stats.Reaped++
			n.mu.Unlock()
			return nil
		}
		if err := n.b.reap(ctx, s.member, topics); err != nil {
			return err
		}
		done = topics
	}
}
