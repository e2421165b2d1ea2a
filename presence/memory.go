package presence

import (
	"context"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// keepEmpty is how long the version of an empty roster is kept.
const keepEmpty = 24 * time.Hour

// A Memory is a whole cluster's presence in one process.
type Memory struct {
	timing Timing // Fixed at construction.

	mu      sync.Mutex
	run     int                      // Guarded by mu. Which life of the memory this is.
	nodes   map[member]*memoryLease  // Guarded by mu.
	rosters map[string]*memoryRoster // Guarded by mu. By topic.
	swept   time.Time                // Guarded by mu.
	journal *memoryJournal           // Guarded by mu. Nil where nobody wants one.
}

// A memoryLease is one member's. Guarded by Memory.mu.
type memoryLease struct {
	stamp     int64 // Unix nanoseconds of the last renewal, 0 when there is no lease
	condemned bool
	opened    bool
	reaper    member
	claimed   time.Time // until then the reaping is reaper's
	turn      uint64
	topics    map[string]bool // the index
}

// A memoryRoster is one topic's. Guarded by Memory.mu.
type memoryRoster struct {
	epoch   string
	version uint64
	run     int                        // the life of the memory in which the epoch began
	online  map[string]int             // user -> number of incarnations
	of      map[member]map[string]bool // incarnation -> users
	emptied time.Time                  // when the last user left
}

// NewMemory makes a cluster without nodes.
func NewMemory() *Memory {
	return &Memory{timing: defaultTiming, nodes: map[member]*memoryLease{}, rosters: map[string]*memoryRoster{}, swept: time.Now()}
}

// Attach adds a node, which Nodes lists by its name. Notify is given each change of a roster that the node brings
// about, as the payload of a signal of the topic: usually it is the bus's Signal. Its
// calls are one after the other for the whole cluster, in the order of versions; it must not call back.
func (m *Memory) Attach(name string, notify func(topic string, payload []byte)) Presence {
	return newLocal(&memoryNode{cluster: m, notify: notify}, name, m.timing)
}

// lease finds or makes what is known of an incarnation. mu is held.
func (m *Memory) lease(who member) *memoryLease {
	l := m.nodes[who]
	if l == nil {
		l = &memoryLease{topics: map[string]bool{}}
		m.nodes[who] = l
	}
	return l
}

// admit lets a turn in, or tells why not. mu is held.
func (l *memoryLease) admit(turn uint64) error {
	switch {
	case l.condemned:
		return errCondemned
	case l.turn > turn:
		return errStale
	}
	l.turn = turn
	return nil
}

// sweep forgets what nobody can ask for any more: rosters that have been empty for
// long, and the marks of incarnations that were buried long ago. mu is held.
func (m *Memory) sweep() {
	if time.Since(m.swept) < time.Hour {
		return
	}
	m.swept = time.Now()
	for topic, r := range m.rosters {
		if len(r.online) == 0 && time.Since(r.emptied) > keepEmpty {
			delete(m.rosters, topic)
		}
	}
	for who, l := range m.nodes {
		if l.stamp == 0 && l.condemned && time.Since(l.claimed) > keepEmpty {
			delete(m.nodes, who)
		}
	}
}

// memoryNode is one node's way to a Memory.
type memoryNode struct {
	cluster *Memory // Fixed at construction, as is notify.
	notify  func(topic string, payload []byte)
	count   atomic.Uint64
}

func (n *memoryNode) steps() uint64                 { return n.count.Load() }
func (n *memoryNode) lane(topic string) string      { return "" }
func (n *memoryNode) partition(topic string) string { return "" }

// lock begins a step.
func (n *memoryNode) lock() *Memory {
	n.count.Add(1)
	n.cluster.mu.Lock()
	return n.cluster
}

func (n *memoryNode) renew(_ context.Context, who member) (renewal, error) {
	m := n.lock()
	defer m.mu.Unlock()
	m.sweep()
	l := m.lease(who)
	if l.condemned {
		return renewal{}, errCondemned
	}
	now := time.Now()
	r := renewal{known: l.stamp != 0, run: strconv.Itoa(m.run)}
	l.stamp = now.UnixNano()
	for other, l := range m.nodes {
		if l.stamp != 0 && now.UnixNano()-l.stamp > int64(m.timing.Lease) {
			r.lapsed = append(r.lapsed, suspect{other, strconv.FormatInt(l.stamp, 10)})
		}
	}
	return r, nil
}

func (n *memoryNode) primaries(context.Context) (string, error) { return "", nil }

func (n *memoryNode) reserve(_ context.Context, who member, _ string, turn uint64, topics []string) error {
	m := n.lock()
	defer m.mu.Unlock()
	l := m.lease(who)
	if err := l.admit(turn); err != nil {
		return err
	}
	if l.stamp == 0 {
		return errNoLease
	}
	for _, t := range topics {
		l.topics[t] = true
	}
	return nil
}

func (n *memoryNode) release(_ context.Context, who member, _ string, turn uint64, topics []string) error {
	m := n.lock()
	defer m.mu.Unlock()
	l := m.lease(who)
	if err := l.admit(turn); err != nil {
		return err
	}
	for _, t := range topics {
		delete(l.topics, t)
	}
	return nil
}

func (n *memoryNode) reserved(_ context.Context, who member, _ string, turn uint64) ([]string, error) {
	m := n.lock()
	defer m.mu.Unlock()
	l := m.lease(who)
	if err := l.admit(turn); err != nil {
		return nil, err
	}
	var topics []string
	for t := range l.topics {
		topics = append(topics, t)
	}
	return topics, nil
}

func (n *memoryNode) open(_ context.Context, who member, turn uint64, _ []string) error {
	m := n.lock()
	defer m.mu.Unlock()
	l := m.lease(who)
	if err := l.admit(turn); err != nil {
		return err
	}
	l.opened = true
	return nil
}

func (n *memoryNode) change(_ context.Context, who member, turn uint64, deltas []*delta) {
	m := n.lock()
	defer m.mu.Unlock()
	l := m.lease(who)
	err := l.admit(turn)
	if err == nil && !l.opened {
		err = errLost
	}
	for _, d := range deltas {
		if d.leaveErr, d.joinErr = err, err; err != nil {
			continue
		}
		for users := range slices.Chunk(d.leave, maxUsers) {
			n.leave(d.topic, who, users)
		}
		for users := range slices.Chunk(d.join, maxUsers) {
			n.join(d.topic, who, users)
		}
	}
}

func (n *memoryNode) join(topic string, who member, users []string) {
	m := n.cluster
	r := m.rosters[topic]
	if r == nil {
		r = &memoryRoster{run: -1, online: map[string]int{}, of: map[member]map[string]bool{}}
		m.rosters[topic] = r
	}
	mine := r.of[who]
	if mine == nil {
		mine = map[string]bool{}
		r.of[who] = mine
	}
	var joined []string
	for _, u := range users {
		if !mine[u] {
			mine[u] = true
			if r.online[u]++; r.online[u] == 1 {
				joined = append(joined, u)
			}
		}
	}
	n.publish(topic, joined, nil)
}

func (n *memoryNode) leave(topic string, who member, users []string) {
	r := n.cluster.rosters[topic]
	if r == nil {
		return
	}
	mine := r.of[who]
	var left []string
	for _, u := range users {
		if mine[u] {
			delete(mine, u)
			if r.online[u]--; r.online[u] == 0 {
				delete(r.online, u)
				left = append(left, u)
			}
		}
	}
	if len(mine) == 0 {
		delete(r.of, who)
	}
	n.publish(topic, nil, left)
}

// publish ends every step that touched a roster: what changed becomes its next
// version; a roster of another life of the memory begins a new epoch. mu is held.
func (n *memoryNode) publish(topic string, joined, left []string) {
	m := n.cluster
	r := m.rosters[topic]
	if r == nil || r.run == m.run && len(joined)+len(left) == 0 {
		return
	}
	if r.run != m.run {
		r.epoch, r.version, r.run = newID(), 0, m.run
	}
	r.version++
	if len(r.online) == 0 {
		r.emptied = time.Now()
	}
	c := Change{r.epoch, r.version, len(r.online), joined, left}
	if m.journal != nil && len(joined)+len(left) > 0 {
		m.journal.write(topic, c)
	}
	n.notify(topic, c.append(nil))
}

func (n *memoryNode) present(_ context.Context, who member, turn uint64, topics []string) ([][]string, error) {
	m := n.lock()
	defer m.mu.Unlock()
	l := m.lease(who)
	if err := l.admit(turn); err != nil {
		return nil, err
	}
	l.opened = true
	users := make([][]string, len(topics))
	for i, t := range topics {
		n.publish(t, nil, nil)
		if r := m.rosters[t]; r != nil {
			for u := range r.of[who] {
				users[i] = append(users[i], u)
			}
		}
	}
	return users, nil
}

func (n *memoryNode) condemn(_ context.Context, me member, s suspect, done []string) ([]string, verdict, error) {
	m := n.lock()
	defer m.mu.Unlock()
	l := m.lease(s.member)
	if l.stamp == 0 || !l.condemned && strconv.FormatInt(l.stamp, 10) != s.stamp {
		return nil, spared, nil
	}
	l.condemned = true
	now := time.Now()
	if l.reaper != me && now.Before(l.claimed) {
		return nil, spared, nil
	}
	l.reaper, l.claimed = me, now.Add(m.timing.Lease)
	for _, t := range done {
		delete(l.topics, t)
	}
	if len(l.topics) == 0 {
		l.stamp, l.topics = 0, nil // what remains is the mark
		return nil, buried, nil
	}
	var topics []string
	for t := range l.topics {
		topics = append(topics, t)
	}
	return topics, condemned, nil
}

func (n *memoryNode) sever(context.Context, member) error { return nil }

func (n *memoryNode) reap(_ context.Context, dead member, topics []string) error {
	m := n.lock()
	defer m.mu.Unlock()
	for _, t := range topics {
		if r := m.rosters[t]; r != nil {
			var users []string
			for u := range r.of[dead] {
				users = append(users, u)
			}
			for some := range slices.Chunk(users, maxUsers) {
				n.leave(t, dead, some)
			}
		}
	}
	return nil
}

func (n *memoryNode) roster(_ context.Context, topic, cursor string, limit int) (Roster, error) {
	m := n.lock()
	defer m.mu.Unlock()
	n.publish(topic, nil, nil)
	r := m.rosters[topic]
	if r == nil {
		return Roster{}, nil
	}
	page := Roster{Epoch: r.epoch, Version: r.version, Online: len(r.online)}
	for u := range r.online {
		if cursor == "" || u > cursor {
			page.Users = append(page.Users, u)
		}
	}
	if len(page.Users) > limit {
		slices.Sort(page.Users)
		page.Users = slices.Clone(page.Users[:limit])
		page.Next = page.Users[limit-1]
	}
	return page, nil
}

func (n *memoryNode) online(_ context.Context, topics []string) ([]int, error) {
	m := n.lock()
	defer m.mu.Unlock()
	counts := make([]int, len(topics))
	for i, t := range topics {
		if r := m.rosters[t]; r != nil {
			counts[i] = len(r.online)
		}
	}
	return counts, nil
}

func (n *memoryNode) members(context.Context) ([]member, error) {
	m := n.lock()
	defer m.mu.Unlock()
	var members []member
	for who, l := range m.nodes {
		if l.stamp != 0 {
			members = append(members, who)
		}
	}
	return members, nil
}
