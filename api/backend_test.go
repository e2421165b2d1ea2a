package api_test

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/rookery-chat/rookery/api"
	"github.com/rookery-chat/rookery/wire"
)

// A hall is a cluster of one process that knows no sockets: a second implementation of
// api.Backend, in maps, so that these tests are about HTTP and lines alone. What the
// nodes make of the calls is tested where nodes are.
type hall struct {
	mu       sync.Mutex // Guards all below.
	logs     map[string][]api.Stored
	keys     map[string]api.Receipt
	members  map[string]map[string]bool
	sessions map[string]string // session -> user
	bans     map[string]time.Time
	mutes    map[string]time.Time
	clocks   map[string]api.Timer
	signals  []string
	silent   int   // nodes that do not answer
	made     int   // timers
	broken   error // every call answers this, if set
	left     int   // calls until broken; 0 is at once
}

func newHall() *hall {
	return &hall{
		logs: make(map[string][]api.Stored), keys: make(map[string]api.Receipt),
		members: make(map[string]map[string]bool), sessions: make(map[string]string),
		bans: make(map[string]time.Time), mutes: make(map[string]time.Time), clocks: make(map[string]api.Timer),
	}
}

var opened = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// enter lets a user come online with a session.
func (h *hall) enter(session, user string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.sessions[session] = user
	h.add(wire.Everyone, user)
}

// add makes user a member of topic. h.mu is held.
func (h *hall) add(topic, user string) {
	if h.members[topic] == nil {
		h.members[topic] = make(map[string]bool)
	}
	h.members[topic][user] = true
}

// fail lets every call fail after the next n.
func (h *hall) fail(err error, n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.broken, h.left = err, n
}

// begin takes the lock, and reports what is broken.
func (h *hall) begin() (unlock func(), err error) {
	h.mu.Lock()
	if h.broken != nil {
		if h.left == 0 {
			return h.mu.Unlock, h.broken
		}
		h.left--
	}
	return h.mu.Unlock, nil
}

func (h *hall) sessionsOf(user string) (ids []string) {
	for id, u := range h.sessions {
		if u == user {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}

func (h *hall) Publish(_ context.Context, topic string, m api.Message) (api.Receipt, error) {
	unlock, err := h.begin()
	defer unlock()
	if err != nil {
		return api.Receipt{}, err
	}
	key := fmt.Sprintf("%q %q %q", topic, m.From, m.Key)
	if first, known := h.keys[key]; known && m.Key != "" {
		first.Duplicate = true
		return first, nil
	}
	r := api.Receipt{Epoch: "e1", Offset: uint64(len(h.logs[topic]) + 1)}
	if user := wire.InboxUser(topic); user != "" && len(h.sessionsOf(user)) > 0 {
		r.Reached = 1
	}
	h.logs[topic] = append(h.logs[topic], api.Stored{Offset: r.Offset, Time: opened.UnixMilli(), From: m.From, Data: m.Data})
	h.keys[key] = r
	return r, nil
}

func (h *hall) Signal(_ context.Context, topic, from string, data json.RawMessage) error {
	unlock, err := h.begin()
	defer unlock()
	if err == nil {
		h.signals = append(h.signals, topic+" "+from+" "+string(data))
	}
	return err
}

func (h *hall) History(_ context.Context, topic string, after uint64, limit int) (api.Page, error) {
	unlock, err := h.begin()
	defer unlock()
	log := h.logs[topic]
	p := api.Page{Epoch: "e1", First: uint64(min(1, len(log))), Head: uint64(len(log))}
	rest := log[min(after, p.Head):]
	p.Messages = slices.Clone(rest[:min(limit, len(rest))])
	p.More = len(p.Messages) < len(rest)
	return p, err
}

func (h *hall) DeleteMessage(_ context.Context, topic string, offset uint64) error {
	unlock, err := h.begin()
	defer unlock()
	if err == nil && offset <= uint64(len(h.logs[topic])) {
		h.logs[topic][offset-1].Data = nil
	}
	return err
}

func (h *hall) DeleteTopic(_ context.Context, topic string) error {
	unlock, err := h.begin()
	defer unlock()
	delete(h.logs, topic)
	return err
}

func (h *hall) Topics(_ context.Context, cursor string, limit int) (api.TopicPage, error) {
	unlock, err := h.begin()
	defer unlock()
	online := make(map[string]int)
	for topic, members := range h.members {
		online[topic] = len(members)
	}
	for _, user := range h.sessions {
		online[wire.Inbox(user)] = 1
	}
	p := api.TopicPage{Silent: h.silent}
	some, next := cut(slices.Sorted(maps.Keys(online)), cursor, limit)
	for _, name := range some {
		p.Topics = append(p.Topics, api.Topic{Name: name, Online: online[name]})
	}
	p.Next = next
	return p, err
}

func (h *hall) Members(_ context.Context, topic, cursor string, limit int) (api.Roster, error) {
	unlock, err := h.begin()
	defer unlock()
	users, next := cut(slices.Sorted(maps.Keys(h.members[topic])), cursor, limit)
	return api.Roster{Version: 7, Online: len(h.members[topic]), Users: users, Next: next}, err
}

// cut returns what comes after cursor, which is a name, and the cursor of what follows.
func cut(names []string, cursor string, limit int) (some []string, next string) {
	i, _ := slices.BinarySearch(names, cursor+"\x00")
	names = names[i:]
	if len(names) <= limit {
		return names, ""
	}
	return names[:limit], names[limit-1]
}

func (h *hall) Nodes(context.Context) ([]api.Node, error) {
	unlock, err := h.begin()
	defer unlock()
	users := make(map[string]bool)
	for _, user := range h.sessions {
		users[user] = true
	}
	nodes := []api.Node{{
		ID: "n1", State: "ready", Address: "127.0.0.1:8000", Since: opened, Version: "v1",
		Sessions: len(h.sessions), Users: len(users),
	}}
	for i := range h.silent {
		nodes = append(nodes, api.Node{ID: "n" + strconv.Itoa(i+2), State: "silent"})
	}
	return nodes, err
}

func (h *hall) Sessions(_ context.Context, user string) (all []api.Session, silent int, err error) {
	unlock, err := h.begin()
	defer unlock()
	for _, id := range h.sessionsOf(user) {
		all = append(all, api.Session{ID: id, Node: "n1", Address: "127.0.0.1:4711", Since: opened, Version: "v1", Client: "go"})
	}
	return all, h.silent, err
}

func (h *hall) Join(_ context.Context, topic, user string) error {
	unlock, err := h.begin()
	defer unlock()
	if err == nil && len(h.sessionsOf(user)) == 0 {
		return fmt.Errorf("join: %w", api.ErrNotFound)
	}
	h.add(topic, user)
	return err
}

func (h *hall) Remove(_ context.Context, topic, user string) error {
	unlock, err := h.begin()
	defer unlock()
	delete(h.members[topic], user)
	return err
}

func (h *hall) Kick(_ context.Context, user string) error {
	unlock, err := h.begin()
	defer unlock()
	for _, id := range h.sessionsOf(user) {
		delete(h.sessions, id)
	}
	return err
}

func (h *hall) Shed(_ context.Context, node string, percent int) (int, error) {
	unlock, err := h.begin()
	defer unlock()
	if node != "n1" && err == nil {
		return 0, fmt.Errorf("shed: %w", api.ErrNotFound)
	}
	return percent, err
}

func (h *hall) KickSession(_ context.Context, session string) error {
	unlock, err := h.begin()
	defer unlock()
	if _, ok := h.sessions[session]; !ok && err == nil {
		return fmt.Errorf("kick: %w", api.ErrNotFound)
	}
	delete(h.sessions, session)
	return err
}

func (h *hall) DeleteUser(ctx context.Context, user string) error {
	if err := h.Kick(ctx, user); err != nil {
		return err
	}
	return h.DeleteTopic(ctx, wire.Inbox(user))
}

func (h *hall) Ban(_ context.Context, topic, user string, until time.Time) error {
	unlock, err := h.begin()
	defer unlock()
	h.bans[topic+" "+user] = until
	return err
}

func (h *hall) Unban(_ context.Context, topic, user string) error {
	unlock, err := h.begin()
	defer unlock()
	delete(h.bans, topic+" "+user)
	return err
}

func (h *hall) Mute(_ context.Context, topic, user string, until time.Time) error {
	unlock, err := h.begin()
	defer unlock()
	h.mutes[topic+" "+user] = until
	return err
}

func (h *hall) Unmute(_ context.Context, topic, user string) error {
	unlock, err := h.begin()
	defer unlock()
	delete(h.mutes, topic+" "+user)
	return err
}

func (h *hall) AddTimer(_ context.Context, t api.Timer) (api.Timer, error) {
	unlock, err := h.begin()
	defer unlock()
	if err != nil {
		return t, err
	}
	h.made++
	t.ID = "t" + strconv.Itoa(h.made)
	if t.Next.IsZero() {
		t.Next = opened.Add(t.Every)
	}
	h.clocks[t.ID] = t
	return t, nil
}

func (h *hall) Timers(_ context.Context, cursor string, limit int) (api.TimerPage, error) {
	unlock, err := h.begin()
	defer unlock()
	ids, next := cut(slices.Sorted(maps.Keys(h.clocks)), cursor, limit)
	p := api.TimerPage{Next: next}
	for _, id := range ids {
		p.Timers = append(p.Timers, h.clocks[id])
	}
	return p, err
}

func (h *hall) DeleteTimer(_ context.Context, id string) error {
	unlock, err := h.begin()
	defer unlock()
	if _, ok := h.clocks[id]; !ok && err == nil {
		return fmt.Errorf("timer %s: %w", id, api.ErrNotFound)
	}
	delete(h.clocks, id)
	return err
}

// log returns what a topic holds, one "from data" each.
func (h *hall) log(topic string) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	var all []string
	for _, m := range h.logs[topic] {
		all = append(all, strings.TrimSpace(m.From+" "+string(m.Data)))
	}
	return strings.Join(all, ", ")
}
