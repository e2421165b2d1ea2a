package node

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/rookery-chat/rookery/presence"
	"github.com/rookery-chat/rookery/wire"
)

const (
	rosterInterval = 250 * time.Millisecond // at most one presence frame per topic and interval; more per 1,000 users
	rosterNames    = 100                    // names in one presence frame
	rosterGrow     = 1_000                  // users beyond which the interval grows, and a first page has rosterNames of them
	rosterMax      = 10_000                 // users beyond which a node keeps only the count
	rosterTimeout  = 5 * time.Second
	rosterSettle   = 4 * time.Second // after the cluster forgot a roster: so long its nodes have to say again who is there
)

// rosters keeps who is in the topics whose sessions asked for it, and tells them of
// changes. What it tells is coalesced: the announced roster lags behind the cluster's by at
// most one interval.
type rosters struct {
	node *Node         // Fixed at construction.
	wake chan struct{} // capacity 1

	mu     sync.Mutex
	topics map[string]*roster   // Guarded by mu.
	due    map[string]time.Time // when a topic's pending changes may be told. Guarded by mu.
}

// roster is one topic's. Guarded by rosters.mu.
type roster struct {
	topic   string
	uses    int           // subscriptions that want it, and callers that wait for it
	ready   chan struct{} // closed when the first load ended
	loaded  bool
	loading bool
	again   bool              // something was missed while loading
	during  []presence.Change // heard while loading

	epoch   string
	version uint64
	online  int
	users   map[string]struct{} // as announced; nil when there are too many
	large   bool                // so many that most are not told
	pending map[string]bool     // not announced yet: true joined, false left
	unnamed bool                // changes whose names cannot be told
	told    time.Time           // when the last frame went out
	frames  uint64              // how many went out

	// Made when they are asked for; nil when what was announced has changed since.
	sorted []string     // the names of users
	first  *wire.Roster // the first page
	fresh  *rosterFrame // the first page, for who missed frames
}

func newRosters(n *Node) *rosters {
	return &rosters{node: n, wake: make(chan struct{}, 1), topics: make(map[string]*roster), due: make(map[string]time.Time)}
}

// acquire makes sure that the roster of topic is kept, until release.
func (rs *rosters) acquire(ctx context.Context, topic string) error {
	rs.mu.Lock()
	r := rs.topics[topic]
	if r == nil {
		r = &roster{topic: topic, ready: make(chan struct{}), pending: make(map[string]bool)}
		rs.topics[topic] = r
		rs.load(r)
	}
	r.uses++
	rs.mu.Unlock()
	select {
	case <-r.ready:
		return nil
	case <-ctx.Done():
		rs.release(topic)
		return fmt.Errorf("roster of %s: %w", topic, ctx.Err())
	}
}

func (rs *rosters) release(topic string) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	if r := rs.topics[topic]; r != nil {
		if r.uses--; r.uses == 0 {
			delete(rs.topics, topic)
			delete(rs.due, topic)
		}
	}
}

// load reads r from the cluster. The caller holds mu.
func (rs *rosters) load(r *roster) {
	if r.loading {
		r.again = true
		return
	}
	r.loading = true
	n := rs.node
	n.helpers.Go(func() {
		for {
			ctx, cancel := context.WithTimeout(n.stopped, rosterTimeout)
			p, err := n.presence.Roster(ctx, r.topic, "", rosterMax)
			cancel()
			if rs.loadedPage(r, p, err) {
				return
			}
			select {
			case <-n.stopped.Done():
				return
			case <-time.After(rosterInterval):
			}
		}
	})
}

// loadedPage takes what load read; false asks for another read.
func (rs *rosters) loadedPage(r *roster, p presence.Roster, err error) bool {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	if rs.topics[r.topic] != r {
		r.loading = false
		return true
	}
	if err != nil {
		slog.Debug("load roster; trying again", "topic", r.topic, "err", err)
		return false
	}
	rs.take(r, p)
	during := r.during
	r.during = nil
	for _, c := range during {
		if !rs.apply(r, c) {
			r.again = true
		}
	}
	if r.again {
		r.again = false
		return false
	}
	r.loading = false
	if !r.loaded {
		r.loaded = true
		close(r.ready)
	}
	return true
}

// take makes the roster what the cluster says, telling the difference to what was
// announced. The caller holds mu.
func (rs *rosters) take(r *roster, p presence.Roster) {
	first := !r.loaded
	if first || r.users == nil {
		r.changed()
	}
	changed := p.Online != r.online
	if !first && p.Epoch != r.epoch {
		r.told = time.Now().Add(rosterSettle - r.interval())
	}
	r.epoch, r.version, r.online = p.Epoch, p.Version, p.Online
	r.grade()
	switch {
	case p.Online > rosterMax || p.Next != "":
		clear(r.pending)
		r.users, r.unnamed = nil, true
		r.changed()
	case first:
		clear(r.pending)
		r.users = make(map[string]struct{}, len(p.Users))
		for _, u := range p.Users {
			r.users[u] = struct{}{}
		}
	case r.users == nil: // it became small enough to keep
		r.users = make(map[string]struct{}, len(p.Users))
		for _, u := range p.Users {
			r.users[u] = struct{}{}
		}
		clear(r.pending)
		r.unnamed = true
	default:
		clear(r.pending)
		now := make(map[string]struct{}, len(p.Users))
		for _, u := range p.Users {
			now[u] = struct{}{}
			if _, ok := r.users[u]; !ok {
				r.pending[u] = true
			}
		}
		for u := range r.users {
			if _, ok := now[u]; !ok {
				r.pending[u] = false
			}
		}
	}
	if !first && (changed || len(r.pending) > 0 || r.unnamed) {
		rs.schedule(r)
	}
}

// change hears one change of a topic's roster from the bus.
func (rs *rosters) change(topic string, payload []byte) {
	c, err := presence.ParseChange(payload)
	if err != nil {
		slog.Warn("presence change ignored", "topic", topic, "err", err)
		return
	}
	rs.mu.Lock()
	defer rs.mu.Unlock()
	r := rs.topics[topic]
	switch {
	case r == nil:
	case r.loading:
		r.during = append(r.during, c)
		if len(r.during) > 10*rosterNames {
			r.during, r.again = nil, true
		}
	case !rs.apply(r, c):
		rs.load(r)
	}
}

// apply adds a change to what is pending. False means that one before it was missed.
func (rs *rosters) apply(r *roster, c presence.Change) bool {
	if c.Epoch == r.epoch && c.Version <= r.version {
		return true
	}
	if c.Epoch != r.epoch || c.Version != r.version+1 {
		return false
	}
	r.version, r.online = c.Version, c.Online
	r.grade()
	if r.online > rosterMax {
		r.users = nil
		clear(r.pending)
	}
	if r.users == nil {
		r.unnamed = true
		r.changed()
		if r.online <= rosterMax*9/10 {
			return false // few enough again to keep: load them
		}
	} else {
		for _, u := range c.Joined {
			r.note(u, true)
		}
		for _, u := range c.Left {
			r.note(u, false)
		}
	}
	rs.schedule(r)
	return true
}

// grade judges whether the topic is large. Once it is not any more, everybody is to have it whole.
func (r *roster) grade() {
	switch {
	case !r.large && r.online > rosterGrow:
		r.large = true
		r.changed()
	case r.large && r.online <= rosterGrow*9/10:
		r.large, r.unnamed = false, true
		r.changed()
	}
}

// changed forgets what was made of the announced roster.
func (r *roster) changed() { r.sorted, r.first, r.fresh = nil, nil, nil }

// note adds one user's change; a leave takes back a join that was not announced, and
// the other way round.
func (r *roster) note(user string, joined bool) {
	_, announced := r.users[user]
	if announced == joined {
		delete(r.pending, user)
	} else {
		r.pending[user] = joined
	}
}

// reload reads a topic's roster anew after signals may have been lost.
func (rs *rosters) reload(topic string) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	if r := rs.topics[topic]; r != nil {
		rs.load(r)
	}
}
