package judge_test

import (
	"fmt"
	"maps"
	"slices"

	"pgregory.net/rapid"

	. "github.com/rookery-chat/rookery/faults/judge"
)

// A world is a cluster with one topic as it ought to be: what happens in it makes logs in
// which every promise is kept.
type world struct {
	t       *rapid.T
	now     int64
	lives   []*life
	online  map[string]bool
	members []*watcher
	logs    map[string][]Record // by file
	next    int                 // names messages
}

// A life is one epoch of the log.
type life struct {
	epoch string
	base  uint64   // offsets begin after it
	keys  []string // "" where a message was removed
}

func (l *life) head() uint64 { return l.base + uint64(len(l.keys)) }

// A watcher is a member and where it is.
type watcher struct {
	file   string
	life   int
	offset uint64
	knows  map[string]bool
	online map[string]bool
}

const where = "lobby"

func newWorld(t *rapid.T) *world {
	w := &world{t: t, now: 1, online: map[string]bool{"ann": true, "eve": true}, logs: map[string][]Record{}}
	w.newLife(0)
	w.tell("cluster-all", Record{Act: Stay, Users: []string{"eve"}})
	for i := range 3 {
		m := &watcher{file: fmt.Sprintf("member-%d", i), knows: map[string]bool{}}
		w.members = append(w.members, m)
		w.tell(m.file, Record{Act: Joined, Epoch: w.life().epoch, Offset: w.life().base})
		w.roster(m)
	}
	for _, node := range []string{"n1", "n2"} {
		w.logs["cluster-all"] = append(w.logs["cluster-all"], Record{T: w.now, Act: Measure, Node: node, Phase: "before", Memory: 50 << 20, Goroutines: 40, Files: 30})
	}
	return w
}

func (w *world) life() *life { return w.lives[len(w.lives)-1] }

func (w *world) tell(file string, r Record) {
	w.now++
	r.T, r.Topic = w.now, where
	w.logs[file] = append(w.logs[file], r)
}

func (w *world) newLife(base uint64) {
	w.lives = append(w.lives, &life{epoch: fmt.Sprintf("e%d", len(w.lives)), base: base})
}

// publish stores a message; its publisher may never hear of it.
func (w *world) publish(acked bool) {
	key := fmt.Sprint("m", w.next)
	w.next++
	l := w.life()
	l.keys = append(l.keys, key)
	if acked {
		w.tell(fmt.Sprintf("publisher-%d", w.next%2), Record{Act: Acked, Key: key, Epoch: l.epoch, Offset: l.head()})
	}
}

// follow brings a member some messages nearer to the head of its life.
func (w *world) follow(m *watcher, most int) {
	l := w.lives[m.life]
	for ; most > 0 && m.offset < l.head(); most-- {
		m.offset++
		key := l.keys[m.offset-l.base-1]
		if key == "" {
			w.tell(m.file, Record{Act: Skipped, Offset: m.offset})
			continue
		}
		m.knows[key] = true
		w.tell(m.file, Record{Act: Message, Key: key, Offset: m.offset})
	}
}

// move takes a member to the newest life, as a server does that knows the one before.
func (w *world) move(m *watcher, act Act) {
	l := w.life()
	was := w.lives[m.life]
	recovered := m.life == len(w.lives)-1 || m.life == len(w.lives)-2 && m.offset == was.head()
	if m.life != len(w.lives)-1 {
		m.offset = l.base
	}
	m.life = len(w.lives) - 1
	w.tell(m.file, Record{Act: act, Epoch: l.epoch, Offset: m.offset, Recovered: recovered})
}

// trim takes a member to a later place of its life, and says so.
func (w *world) trim(m *watcher) {
	l := w.lives[m.life]
	if m.offset < l.head() {
		m.offset = rapid.Uint64Range(m.offset+1, l.head()).Draw(w.t, "first")
		w.tell(m.file, Record{Act: Reset, Epoch: l.epoch, Offset: m.offset})
	}
}

func (w *world) roster(m *watcher) {
	m.online = maps.Clone(w.online)
	w.tell(m.file, Record{Act: Roster, Online: len(w.online), Users: slices.Sorted(maps.Keys(w.online))})
}

// changes tells a member who came and went since it last heard.
func (w *world) changes(m *watcher) {
	r := Record{Act: Changed, Online: len(w.online)}
	for user := range w.online {
		if !m.online[user] {
			r.Came = append(r.Came, user)
		}
	}
	for user := range m.online {
		if !w.online[user] {
			r.Gone = append(r.Gone, user)
		}
	}
	if m.online = maps.Clone(w.online); len(r.Came)+len(r.Gone) > 0 {
		slices.Sort(r.Came)
		slices.Sort(r.Gone)
		w.tell(m.file, r)
	}
}

// live lets things happen, and then quiet come.
func (w *world) live() {
	user := rapid.SampledFrom([]string{"ann", "bob", "cid"})
	w.t.Repeat(map[string]func(*rapid.T){
		"publish":  func(t *rapid.T) { w.publish(true) },
		"publish2": func(t *rapid.T) { w.publish(true) },
		"unheard":  func(t *rapid.T) { w.publish(false) },
		"remove": func(t *rapid.T) {
			if l := w.life(); len(l.keys) > 0 {
				l.keys = append(l.keys, "")
			}
		},
		"follow":  func(t *rapid.T) { w.follow(w.some(t), 3) },
		"follow2": func(t *rapid.T) { w.follow(w.some(t), 9) },
		"resume":  func(t *rapid.T) { m := w.some(t); w.move(m, Resumed); w.roster(m) },
		"reset":   func(t *rapid.T) { w.move(w.some(t), Reset) },
		"trim":    func(t *rapid.T) { w.trim(w.some(t)) },
		"epoch":   func(t *rapid.T) { w.newLife(rapid.Uint64Range(0, 5).Draw(t, "base")) },
		"come":    func(t *rapid.T) { w.online[user.Draw(t, "who")] = true },
		"go":      func(t *rapid.T) { delete(w.online, user.Draw(t, "who")) },
		"changes": func(t *rapid.T) { w.changes(w.some(t)) },
		"fault":   func(t *rapid.T) { w.tell("cluster-all", Record{Act: Fault, Kind: "kill"}) },
	})
	w.online["ann"] = true
	w.publish(true)
	w.publish(true)
	w.tell("cluster-all", Record{Act: Truth, Users: slices.Sorted(maps.Keys(w.online))})
	for _, m := range w.members {
		if m.life != len(w.lives)-1 {
			w.move(m, Reset)
		}
		w.follow(m, 1<<30)
		w.changes(m)
		w.tell(m.file, Record{Act: Ended})
	}
	for _, node := range []string{"n1", "n2"} {
		w.tell("cluster-all", Record{Act: Measure, Node: node, Phase: "after", Memory: 60 << 20, Goroutines: 41, Files: 31})
	}
}

func (w *world) some(t *rapid.T) *watcher { return rapid.SampledFrom(w.members).Draw(t, "member") }
