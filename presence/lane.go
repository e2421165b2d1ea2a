package presence

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"time"
)

const (
	gather  = 5 * time.Millisecond  // between rounds, so that a storm makes few of them
	backoff = 20 * time.Millisecond // after the first failed round; it doubles up to Timing.Renew
)

// A lane brings the declarations of one group of topics to the cluster, in rounds, one
// after the other. Its goroutine is the only one that changes what the incarnation has
// in these topics, so that the steps for one user keep their order.
type lane struct {
	n    *local // Fixed at construction, as are name and wake.
	name string
	wake chan struct{}

	turn uint64 // Owned by run.
	me   member // Owned by run. The incarnation that the topics' states are true of.

	opened map[string]bool // Owned by run. The partitions in which the incarnation left a trace.

	dirty    []*topic // Guarded by n.mu, as is all that follows.
	idle     []idler  // topics that lost their last user, oldest first
	asked    uint64   // how often a comparison with the cluster was asked for
	compared uint64   // asked, as of the last comparison
	err      error    // of the last round
}

// An idler is a topic that had no users any more at some time.
type idler struct {
	t     *topic
	since time.Duration
}

func newLane(n *local, name string) *lane {
	return &lane{n: n, name: name, wake: make(chan struct{}, 1), me: n.me, opened: map[string]bool{}}
}

func (l *lane) awake() { poke(l.wake) }

func (l *lane) run(ctx context.Context) {
	wait := backoff
	l.awake() // for what was declared before
	for {
		select {
		case <-ctx.Done():
			return
		case <-l.wake:
		}
		err := l.round(ctx)
		if ctx.Err() != nil {
			return
		}
		l.n.mu.Lock()
		before := l.err
		l.err = err
		l.n.mu.Unlock()
		if err == nil {
			wait = backoff
			if before != nil {
				slog.Info("presence: the cluster takes changes again", "lane", l.name)
			}
			if !pause(ctx, gather) {
				return
			}
			continue
		}
		if before == nil {
			slog.Warn("presence: changes did not get through and are tried again", "lane", l.name, "err", err)
		}
		l.awake()
		if !pause(ctx, wait) {
			return
		}
		wait = min(2*wait, l.n.t.Renew)
	}
}

// A round is what one turn of a lane does.
type round struct {
	deltas   []*delta
	topics   []*topic // of the deltas
	closed   []string // partitions of the deltas that have to be opened first
	unlisted []string // topics of the deltas that have to be reserved then
	idle     []*topic // topics to release
}

// round sends the differences between what is declared and what the cluster has. An
// error says that some did not get through: they are queued again.
func (l *lane) round(ctx context.Context) error {
	n := l.n
	n.mu.Lock()
	if !n.leased {
		n.mu.Unlock()
		return nil // the renewal wakes us
	}
	if l.me != n.me {
		l.adopt(n.me)
	}
	l.turn++
	asked, compared := l.asked, l.compared
	n.mu.Unlock()

	if asked != compared {
		if err := l.compare(ctx); err != nil {
			return l.failed(err)
		}
		n.mu.Lock()
		l.compared = asked
		n.mu.Unlock()
	}

	r := l.collect()
	var errs []error
	if len(r.idle) > 0 {
		err := n.b.release(ctx, l.me, l.name, l.turn, names(r.idle))
		l.released(r.idle, err)
		errs = append(errs, err)
	}
	// First the trace, then the index, then the change, which asks for the trace: where
	// it gets through, the cluster has lost neither.
	closed := l.open(ctx, r.closed)
	var refused error
	if closed == nil && len(r.unlisted) > 0 {
		refused = n.b.reserve(ctx, l.me, l.name, l.turn, r.unlisted)
	}
	if len(r.deltas) > 0 {
		errs = append(errs, l.send(ctx, r, closed, refused))
	}
	return l.failed(errors.Join(errs...))
}

// failed draws the conclusion from an error.
func (l *lane) failed(err error) error {
	if errors.Is(err, errCondemned) {
		l.n.reincarnate(l.me)
	}
	if errors.Is(err, errNoLease) || errors.Is(err, errLost) {
		poke(l.n.hurry)
	}
	if errors.Is(err, errLost) {
		l.n.mu.Lock()
		l.asked++
		l.n.mu.Unlock()
	}
	return err
}

// collect takes what is queued.
func (l *lane) collect() (r round) {
	n := l.n
	n.mu.Lock()
	defer n.mu.Unlock()
	dirty := l.dirty
	l.dirty = nil
	for _, t := range dirty {
		t.listed = false
		d := &delta{topic: t.name}
		for _, user := range t.dirty {
			e := t.users[user]
			e.queued = false
			switch {
			case e.wanted() && e.state != present:
				d.join = append(d.join, user)
				e.state = unsure
			case !e.wanted() && e.state != absent:
				d.leave = append(d.leave, user)
				e.state = unsure
			case !e.wanted():
				t.forget(user)
				continue
			}
			t.users[user] = e
		}
		t.dirty = nil
		if t.next != nil {
			t.waiting = append(t.waiting, t.next)
			t.next = nil
		}
		if len(d.join) == 0 {
			t.known()
		}
		if len(d.join)+len(d.leave) == 0 {
			continue
		}
		if len(d.join) > 0 && !t.reserved {
			r.unlisted = append(r.unlisted, t.name)
		}
		if p := n.b.partition(t.name); !l.opened[p] && !slices.Contains(r.closed, p) {
			r.closed = append(r.closed, p)
		}
		r.deltas = append(r.deltas, d)
		r.topics = append(r.topics, t)
	}
	for now := n.now(); len(l.idle) > 0 && now-l.idle[0].since > n.t.linger(); l.idle = l.idle[1:] {
		t := l.idle[0].t
		t.idle = false
		switch {
		case len(t.users) > 0:
		case !t.reserved:
			delete(n.topics, t.name)
		default:
			r.idle = append(r.idle, t)
		}
	}
	return r
}

func (l *lane) open(ctx context.Context, partitions []string) error {
	if len(partitions) == 0 {
		return nil
	}
	err := l.n.b.open(ctx, l.me, l.turn, partitions)
	for _, p := range partitions {
		l.opened[p] = err == nil
	}
	return err
}

// send sends the deltas and takes down what became of them. Closed is why partitions
// could not be opened, if so: then nothing is sent. Refused is why topics could not be
// reserved: then nobody can join those.
func (l *lane) send(ctx context.Context, r round, closed, refused error) error {
	n := l.n
	unlisted := map[string]bool{}
	for _, t := range r.unlisted {
		unlisted[t] = true
	}
	held := map[*delta][]string{}
	if refused != nil {
		for _, d := range r.deltas {
			if unlisted[d.topic] {
				held[d], d.join = d.join, nil
			}
		}
	}
	if closed == nil {
		n.b.change(ctx, l.me, l.turn, r.deltas)
	}

	n.mu.Lock()
	defer n.mu.Unlock()
	var errs []error
	for i, d := range r.deltas {
		t := r.topics[i]
		if closed != nil {
			d.leaveErr, d.joinErr = closed, closed
		}
		if unlisted[t.name] && closed == nil && refused == nil {
			t.reserved = true
		}
		if users, ok := held[d]; ok {
			d.join, d.joinErr = users, refused
		}
		for _, user := range d.leave {
			t.settle(user, absent, d.leaveErr)
		}
		for _, user := range d.join {
			t.settle(user, present, d.joinErr)
		}
		if d.joinErr == nil {
			t.known()
		}
		if d.joinErr != nil {
			errs = append(errs, d.joinErr)
		} else if d.leaveErr != nil {
			errs = append(errs, d.leaveErr)
		}
	}
	if len(l.dirty) > 0 {
		l.awake()
	}
	if len(errs) == 0 {
		return nil
	}
	return errs[0]
}

// settle takes down the outcome of a user's step. mu is held.
func (t *topic) settle(user string, s state, err error) {
	e := t.users[user]
	if err == nil {
		e.state = s
		t.users[user] = e
		if e.wanted() == (s == present) {
			if s == absent && !e.queued {
				t.forget(user)
			}
			return
		}
	}
	t.queue(user)
}

// known ends the wait of those whose joins a round brought through. mu is held.
func (t *topic) known() {
	for _, c := range t.waiting {
		close(c)
	}
	t.waiting = nil
}

// forget drops a user who is neither declared nor in the cluster. mu is held.
func (t *topic) forget(user string) {
	delete(t.users, user)
	if len(t.users) == 0 && !t.idle {
		t.idle = true
		t.lane.idle = append(t.lane.idle, idler{t, t.lane.n.now()})
	}
}

// released takes down the outcome of a release. A topic that somebody joined meanwhile
// has to be reserved again in any case.
func (l *lane) released(idle []*topic, err error) {
	n := l.n
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, t := range idle {
		t.reserved = false
		switch {
		case err != nil:
			t.idle = true
			l.idle = append(l.idle, idler{t, n.now()})
		case len(t.users) == 0:
			delete(n.topics, t.name)
		}
	}
}

// adopt makes a new incarnation the lane's own: of it the cluster has nothing yet. mu is held.
func (l *lane) adopt(me member) {
	l.me = me
	clear(l.opened)
	l.compared = l.asked
	for _, t := range l.n.topics {
		if t.lane != l {
			continue
		}
		t.reserved = false
		for user, e := range t.users {
			e.state = absent
			t.users[user] = e
			t.queue(user)
		}
	}
}

// compare learns from the cluster what it has of this incarnation, after it may have
// lost something, and queues what differs from the declarations.
func (l *lane) compare(ctx context.Context) error {
	n := l.n
	clear(l.opened)
	listed, err := n.b.reserved(ctx, l.me, l.name, l.turn)
	if err != nil {
		return err
	}
	n.mu.Lock()
	for _, name := range listed {
		if n.b.lane(name) == l.name {
			n.topic(name)
		}
	}
	var topics []*topic
	for _, t := range n.topics {
		if t.lane == l {
			topics = append(topics, t)
		}
	}
	n.mu.Unlock()
	for some := range slices.Chunk(topics, maxTopics) {
		users, err := n.b.present(ctx, l.me, l.turn, names(some))
		if err != nil {
			return err
		}
		// Traces first, then the index, as in a round.
		if err := n.b.reserve(ctx, l.me, l.name, l.turn, names(some)); err != nil {
			return err
		}
		n.mu.Lock()
		for i, t := range some {
			t.reserved = true
			t.correct(users[i])
			l.opened[n.b.partition(t.name)] = true
		}
		n.mu.Unlock()
	}
	return nil
}

// correct takes down which users the cluster has, and queues where that is wrong. mu is held.
func (t *topic) correct(users []string) {
	for user, e := range t.users {
		e.state = absent
		t.users[user] = e
	}
	for _, user := range users {
		e := t.users[user]
		e.state = present
		t.users[user] = e
	}
	for user, e := range t.users {
		if e.wanted() != (e.state == present) {
			t.queue(user)
		}
	}
	if len(t.users) == 0 && !t.idle {
		t.idle = true
		t.lane.idle = append(t.lane.idle, idler{t, t.lane.n.now()})
	}
}

func names(topics []*topic) []string {
	s := make([]string, len(topics))
	for i, t := range topics {
		s[i] = t.name
	}
	return s
}
