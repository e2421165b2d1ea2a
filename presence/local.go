package presence

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"
)

// A local is one node's half of presence, the same over every backend: what the node
// declared, what the cluster is known to have of it, and the goroutines that bring the
// second to the first.
type local struct {
	b      backend       // Fixed at construction, as is all of this group.
	name   string        // of every incarnation
	t      Timing        //
	born   time.Time     // the zero of now()
	hurry  chan struct{} // wakes the renewals before their time
	expire chan struct{} // wakes the graces, for one that ends before those it waits for
	lapsed chan []suspect
	ended  chan struct{} // closed when Run has returned

	mu     sync.Mutex
	me     member            // Guarded by mu, as is all that follows. The present incarnation.
	leased bool              // me has been renewed
	topics map[string]*topic // what is declared, or known to be in the cluster, or reserved
	lanes  map[string]*lane
	spawn  func(*lane) // starts a lane's goroutine; nil while Run does not run
	began  bool        // Run was called
	graces graces
	served served
	stats  Stats
}

// A topic is what a node declared and knows of one topic. Guarded by local.mu.
type topic struct {
	name     string
	lane     *lane
	users    map[string]entry
	dirty    []string        // users whose entry is queued
	listed   bool            // the topic is in lane.dirty
	idle     bool            // the topic is in lane.idle
	reserved bool            // the index is known to have it
	next     chan struct{}   // closed when the joins declared since the last round are known; made on demand
	waiting  []chan struct{} // the same for joins that earlier rounds could not bring through
}

// An entry is one user in one topic.
type entry struct {
	sessions int32
	state    state
	queued   bool          // the user is in topic.dirty: the next round looks at it
	until    time.Duration // with no session left, the user counts as present until then; 0 for no grace
}

// wanted tells whether the cluster ought to have the user as present.
func (e entry) wanted() bool { return e.sessions > 0 || e.until != 0 }

// A state is what the cluster is known to have of an entry, under the present incarnation.
type state uint8

const (
	absent state = iota
	present
	unsure // a step is under way, or its outcome is unknown
)

func newLocal(b backend, name string, t Timing) *local {
	return &local{
		b: b, name: name, t: t, born: time.Now(),
		hurry:  make(chan struct{}, 1),
		expire: make(chan struct{}, 1),
		lapsed: make(chan []suspect, 1),
		ended:  make(chan struct{}),
		me:     member{newID(), name},
		topics: map[string]*topic{},
		lanes:  map[string]*lane{},
		stats:  Stats{Incarnations: 1},
	}
}

// now is monotonic, and never 0.
func (n *local) now() time.Duration { return time.Since(n.born) + 1 }

func (n *local) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	n.mu.Lock()
	if n.began {
		n.mu.Unlock()
		return errors.New("presence: Run was called before")
	}
	n.began = true
	n.spawn = func(l *lane) { wg.Go(func() { l.run(ctx) }) }
	for _, l := range n.lanes {
		n.spawn(l)
	}
	n.mu.Unlock()
	wg.Go(func() { n.renewals(ctx) })
	wg.Go(func() { n.watch(ctx) })
	wg.Go(func() { n.judge(ctx) })
	wg.Go(func() { n.expiries(ctx) })
	<-ctx.Done()
	n.mu.Lock()
	n.spawn = nil // before the wait, so that no lane starts during it
	n.mu.Unlock()
	wg.Wait()
	close(n.ended)
	return nil
}

func (n *local) Join(ctx context.Context, topic, user string) error {
	if err := errors.Join(checkName(topic), checkName(user)); err != nil {
		return err
	}
	n.mu.Lock()
	t := n.topic(topic)
	e := t.users[user]
	e.sessions++
	e.until = 0
	t.users[user] = e
	if e.state == present {
		n.mu.Unlock()
		return nil
	}
	t.queue(user)
	if t.next == nil {
		t.next = make(chan struct{})
	}
	known, l := t.next, t.lane
	n.mu.Unlock()
	l.awake()
	select {
	case <-known:
		return nil
	case <-n.ended:
		return fmt.Errorf("presence: join of %q in %q is not known to the cluster: Run has ended", user, topic)
	case <-ctx.Done():
		n.mu.Lock()
		last := l.err
		n.mu.Unlock()
		if last != nil {
			return fmt.Errorf("presence: join of %q in %q is not known to the cluster yet: %w (%w)", user, topic, ctx.Err(), last)
		}
		return fmt.Errorf("presence: join of %q in %q is not known to the cluster yet: %w", user, topic, ctx.Err())
	}
}

func (n *local) Leave(topic, user string, grace time.Duration) {
	n.mu.Lock()
	defer n.mu.Unlock()
	t := n.topics[topic]
	if t == nil {
		return
	}
	e, ok := t.users[user]
	if !ok {
		return
	}
	until := n.now() + grace
	switch {
	case e.sessions > 1:
		e.sessions--
		t.users[user] = e
		return
	case e.sessions == 0 && e.until <= until: // no grace to shorten
		return
	}
	e.sessions, e.until = 0, 0
	if grace > 0 {
		e.until = until
	}
	t.users[user] = e
	if grace > 0 {
		n.graces.push(until, t, user)
		if n.graces.first() == until {
			poke(n.expire)
		}
		return
	}
	t.queue(user)
	t.lane.awake()
}

func (n *local) Roster(ctx context.Context, topic, cursor string, limit int) (Roster, error) {
	if err := checkName(topic); err != nil {
		return Roster{}, err
	}
	if limit < 1 {
		return Roster{}, fmt.Errorf("presence: roster pages of %d users: ask for at least 1", limit)
	}
	r, err := n.b.roster(ctx, topic, cursor, limit)
	if err != nil {
		return Roster{}, fmt.Errorf("presence: roster of %q: %w", topic, err)
	}
	return r, nil
}

func (n *local) Online(ctx context.Context, topics ...string) ([]int, error) {
	for _, topic := range topics {
		if err := checkName(topic); err != nil {
			return nil, err
		}
	}
	counts, err := n.b.online(ctx, topics)
	if err != nil {
		return nil, fmt.Errorf("presence: users online in %d topics: %w", len(topics), err)
	}
	return counts, nil
}

func (n *local) Nodes(ctx context.Context) ([]string, error) {
	members, err := n.b.members(ctx)
	if err != nil {
		return nil, fmt.Errorf("presence: nodes: %w", err)
	}
	names := make([]string, len(members))
	for i, m := range members {
		names[i] = m.name
		if m.name == "" {
			names[i] = m.inc
		}
	}
	return names, nil
}

func (n *local) Stats() Stats {
	n.mu.Lock()
	defer n.mu.Unlock()
	s := n.stats
	s.Scripts = n.b.steps()
	return s
}

// topic finds or makes a topic, and its lane. mu is held.
func (n *local) topic(name string) *topic {
	if t := n.topics[name]; t != nil {
		return t
	}
	lane := n.b.lane(name)
	l := n.lanes[lane]
	if l == nil {
		l = newLane(n, lane)
		n.lanes[lane] = l
		if n.spawn != nil {
			n.spawn(l)
		}
	}
	t := &topic{name: name, lane: l, users: map[string]entry{}}
	n.topics[name] = t
	return t
}

// queue has the next round look at a user. mu is held.
func (t *topic) queue(user string) {
	e := t.users[user]
	if e.queued {
		return
	}
	e.queued = true
	t.users[user] = e
	t.dirty = append(t.dirty, user)
	if !t.listed {
		t.listed = true
		t.lane.dirty = append(t.lane.dirty, t)
	}
}

// reincarnate gives the node a new incarnation in the place of one that was condemned.
// The lanes declare everybody again, each at its next round, once the new one has a lease.
func (n *local) reincarnate(old member) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.me != old {
		return
	}
	n.me = member{newID(), n.name}
	n.leased = false
	n.stats.Incarnations++
	slog.Warn("presence: this node was thought dead, and joins its users again", "incarnation", n.me.inc, "before", old.inc)
	poke(n.hurry)
}

// poke sends to a channel of capacity 1 that only wakes.
func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// pause waits, and tells whether ctx still lasts.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
