package node

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/rookery-chat/rookery/presence"
	"github.com/rookery-chat/rookery/wire"
)

const (
	rosterInterval = 250 * time.Millisecond // at most one presence frame per topic and interval; more per 1,000 users
	rosterNames    = 100                    // names in one presence frame
	rosterGrow     = 1_000                  // users from which the interval grows
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
	sorted  []string            // the names of users; nil when they have changed since
	pending map[string]bool     // not announced yet: true joined, false left
	unnamed bool                // changes whose names cannot be told
	told    time.Time           // when the last frame went out
	frames  uint64              // how many went out
}

// A rosterFrame is one presence frame, encoded for all.
type rosterFrame struct {
	wire.Presence
	number uint64 // counts the topic's frames
	encoding
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

// snapshot returns the announced roster, its first names up to the byte limit of a
// reply, and how many frames announced it. It is called by a shard's run, which then
// skips the frames up to there that are still in its mailbox.
func (rs *rosters) snapshot(topic string) (roster *wire.Roster, frames uint64) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	r := rs.topics[topic]
	if r == nil {
		return &wire.Roster{}, 0
	}
	page := r.page("")
	return &page, r.frames
}

// page returns the announced names that follow the name after. They are counted as they
// are told: what is pending comes in a frame.
func (r *roster) page(after string) wire.Roster {
	w := wire.Roster{Version: r.version, Online: len(r.users)}
	if r.users == nil {
		w.Online, w.More = r.online, true
	}
	if r.sorted == nil {
		r.sorted = slices.Sorted(maps.Keys(r.users))
	}
	names := r.sorted
	start, found := slices.BinarySearch(names, after)
	if found {
		start++
	}
	names = names[start:]
	for i, bytes := 0, 0; i < len(names); i++ {
		if bytes += len(names[i]) + 3; bytes > wire.MaxReply {
			w.More, w.Next = true, ownCursor+names[i-1]
			names = names[:i]
			break
		}
	}
	w.Members = names
	return w
}

// Cursors of members: into the node's own roster, or into the cluster's.
const (
	ownCursor     = "n"
	clusterCursor = "c"
)

// kept returns a page of the roster kept here, if there is one with names. As with
// snapshot, a shard's run calls it, so that presence frames come before or after it as they count.
func (rs *rosters) kept(topic, cursor string) (wire.Roster, bool) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	r := rs.topics[topic]
	if r == nil || !r.loaded || r.users == nil || strings.HasPrefix(cursor, clusterCursor) {
		return wire.Roster{}, false
	}
	return r.page(strings.TrimPrefix(cursor, ownCursor)), true
}

// fetch returns a page of the cluster's roster.
func (rs *rosters) fetch(ctx context.Context, topic, cursor string) (wire.Roster, error) {
	cursor, ok := strings.CutPrefix(cursor, clusterCursor)
	if !ok {
		cursor = ""
	}
	p, err := rs.node.presence.Roster(ctx, topic, cursor, 500)
	if err != nil {
		return wire.Roster{}, err
	}
	w := wire.Roster{Version: p.Version, Online: p.Online, Members: p.Users}
	if p.Next != "" {
		w.More, w.Next = true, clusterCursor+p.Next
	}
	return w, nil
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
		r.sorted = nil
	}
	changed := p.Online != r.online
	if !first && p.Epoch != r.epoch {
		r.told = time.Now().Add(rosterSettle - r.interval())
	}
	r.epoch, r.version, r.online = p.Epoch, p.Version, p.Online
	switch {
	case p.Online > rosterMax || p.Next != "":
		clear(r.pending)
		r.users, r.sorted, r.unnamed = nil, nil, true
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
	if r.online > rosterMax {
		r.users, r.sorted = nil, nil
		clear(r.pending)
	}
	if r.users == nil {
		r.unnamed = true
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

// schedule tells what is pending: now, or when the interval since the last frame is over.
// The caller holds mu.
func (rs *rosters) schedule(r *roster) {
	if _, ok := rs.due[r.topic]; ok {
		return
	}
	if at := r.told.Add(r.interval()); time.Until(at) > 0 {
		rs.due[r.topic] = at
		select {
		case rs.wake <- struct{}{}:
		default:
		}
		return
	}
	rs.tell(r)
}

// interval is the least time between two presence frames.
func (r *roster) interval() time.Duration {
	return rosterInterval * time.Duration(1+r.online/rosterGrow)
}

// tell sends one presence frame. The caller holds mu.
func (rs *rosters) tell(r *roster) {
	f := &rosterFrame{Presence: wire.Presence{Topic: r.topic, Version: r.version, Online: r.online}}
	if len(r.pending) > rosterNames && r.online > rosterGrow {
		r.unnamed = true
		for u, joined := range r.pending {
			r.announce(u, joined)
		}
	}
	for u, joined := range r.pending {
		if len(f.Joined)+len(f.Left) == rosterNames {
			break
		}
		if joined {
			f.Joined = append(f.Joined, u)
		} else {
			f.Left = append(f.Left, u)
		}
		r.announce(u, joined)
	}
	slices.Sort(f.Joined)
	slices.Sort(f.Left)
	f.Reload, r.unnamed = r.unnamed, false
	r.told = time.Now()
	r.frames++
	f.number = r.frames
	f.encoding = encode(f.Append(nil))
	for _, sh := range rs.node.shards {
		sh.mail.post(func() { sh.roster(f) })
	}
	if len(r.pending) > 0 {
		rs.schedule(r)
	}
}

func (r *roster) announce(user string, joined bool) {
	if joined {
		r.users[user] = struct{}{}
	} else {
		delete(r.users, user)
	}
	delete(r.pending, user)
	r.sorted = nil
}

// run tells what is due, until ctx is done.
func (rs *rosters) run(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-rs.wake:
		case <-timer.C:
		}
		rs.mu.Lock()
		now, next := time.Now(), time.Duration(-1)
		for topic, at := range rs.due {
			if wait := at.Sub(now); wait > 0 {
				if next < 0 || wait < next {
					next = wait
				}
				continue
			}
			delete(rs.due, topic)
			if r := rs.topics[topic]; r != nil {
				rs.tell(r)
				if at, ok := rs.due[topic]; ok {
					if wait := time.Until(at); next < 0 || wait < next {
						next = wait
					}
				}
			}
		}
		rs.mu.Unlock()
		if next >= 0 {
			timer.Reset(next)
		}
	}
}

// roster hands a presence frame to the sessions that want it.
func (sh *shard) roster(f *rosterFrame) {
	t := sh.topics[f.Topic]
	if t == nil {
		return
	}
	for _, sub := range t.subs {
		if !sub.presence || sub.state != active || f.number <= sub.rosterSeen {
			continue
		}
		s := sub.session
		if sub.isBehind || !s.hasRoom() {
			sub.stale = true
			sh.mark(sub) // so that it is made good once there is room
			continue
		}
		sub.rosterSeen = f.number
		sh.own(s, s.kind.presence(f))
	}
}

// refresh sends the count to a session that missed presence frames while it was behind, and
// asks it to load the names.
func (rs *rosters) refresh(sh *shard, sub *subscription) {
	rs.mu.Lock()
	r := rs.topics[sub.topic.name]
	if r == nil {
		rs.mu.Unlock()
		return
	}
	f := &rosterFrame{Presence: wire.Presence{Topic: r.topic, Version: r.version, Online: r.online, Reload: true}, number: r.frames}
	rs.mu.Unlock()
	f.encoding = encode(f.Append(nil))
	sub.rosterSeen = f.number
	sh.own(sub.session, sub.session.kind.presence(f))
}
