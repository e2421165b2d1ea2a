package bus

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Memory is a cluster within one process: its logs live and die with it. Every
// attachment of it is a Bus. Messages are delivered by the goroutine that publishes.
type Memory struct {
	opts  Options // fixed at construction
	parts [partitions]memoryPart
}

// A memoryPart holds the topics of one partition. A subscription is a cursor over the
// log, and all delivery is one step, advance: so a live message, a healed gap and a
// new epoch are the same case.
type memoryPart struct {
	mu     sync.Mutex // held while Handlers are called
	topics map[string]*memoryTopic
	keys   map[memoryKey]memoryRepeat
	expiry []memoryKey // the keys, oldest first
}

// A memoryTopic is one topic's log and who hears it. Guarded by the part's mu.
type memoryTopic struct {
	epoch    string
	head     uint64
	previous Position
	entries  []Entry // the newest of the log; the last one has offset head
	used     time.Time
	subs     map[*attachment]*memorySub
}

// A memorySub is one attachment's cursor. Guarded by the part's mu.
type memorySub struct {
	live bool // Handler.Subscribed was called
	at   Position
}

type memoryKey struct{ topic, user, key string }

// A memoryRepeat is what a key's first publish was answered.
type memoryRepeat struct {
	at      Position
	time    int64
	expires time.Time
}

// An attachment is one Bus of a Memory.
type attachment struct {
	m       *Memory
	handler atomic.Pointer[Handler] // nil until Run
	ended   atomic.Bool             // Run has ended
	cut     atomic.Bool
	gaps    atomic.Uint64
	resets  atomic.Uint64
	cuts    atomic.Uint64
}

// NewMemory returns an empty cluster.
func NewMemory(opts *Options) *Memory {
	m := &Memory{opts: opts.withDefaults()}
	for i := range m.parts {
		m.parts[i].topics = make(map[string]*memoryTopic)
		m.parts[i].keys = make(map[memoryKey]memoryRepeat)
	}
	return m
}

// Attach returns a new attachment to the cluster.
func (m *Memory) Attach() Bus { return &attachment{m: m} }

// Cut breaks b's live delivery, as a lost connection would, until restore is called:
// then b heals its gaps. It is for tests of what is built on a bus.
func (m *Memory) Cut(b Bus) (restore func()) {
	a := b.(*attachment)
	a.cut.Store(true)
	return sync.OnceFunc(func() {
		a.cut.Store(false)
		a.cuts.Add(1)
		m.each(func(p *memoryPart) {
			for name, t := range p.topics {
				s := t.subs[a]
				switch {
				case s == nil:
				case !s.live:
					a.start(name, t, s)
				default:
					if s.at != t.position() {
						a.gaps.Add(1)
					}
					t.advance(name)
					(*a.handler.Load()).Subscribed(name, s.at)
				}
			}
		})
	})
}

// Restart forgets every log and key, as a Redis that is restarted empty. It is for
// tests of what is built on a bus.
func (m *Memory) Restart() { m.turn(0, true) }

// Failover starts a new epoch in every log after it lost its newest messages, as when
// a replica takes over that did not have them. It is for tests of what is built on a bus.
func (m *Memory) Failover(lost uint64) { m.turn(lost, false) }

func (m *Memory) turn(lost uint64, all bool) {
	m.each(func(p *memoryPart) {
		if all {
			p.keys, p.expiry = make(map[memoryKey]memoryRepeat), nil
		}
		for name, t := range p.topics {
			if all {
				t.head, t.entries, t.previous = 0, nil, Position{}
			} else {
				n := min(lost, uint64(len(t.entries)))
				t.head -= n
				t.entries = t.entries[:len(t.entries)-int(n)]
				t.previous = t.position()
			}
			t.epoch = newEpoch()
			t.advance(name)
		}
		for k, first := range p.keys {
			if first.at.Offset > p.topics[k.topic].head {
				delete(p.keys, k) // it went with its message
			}
		}
	})
}

// each calls f for every part, with its lock held.
func (m *Memory) each(f func(*memoryPart)) {
	for i := range m.parts {
		p := &m.parts[i]
		p.mu.Lock()
		f(p)
		p.mu.Unlock()
	}
}

// open locks the topic's part and returns it with the topic, which is created if need be.
func (m *Memory) open(topic string, now time.Time) (*memoryPart, *memoryTopic) {
	p := &m.parts[partitionOf(topic)]
	p.mu.Lock()
	t := p.topics[topic]
	if t == nil {
		t = &memoryTopic{epoch: newEpoch(), subs: make(map[*attachment]*memorySub)}
		p.topics[topic] = t
	}
	if _, age := m.opts.logBounds(topic); t.expired(now, age) {
		t.entries = nil
	}
	t.used = now
	return p, t
}

// expired tells whether the log's last message is older than age.
func (t *memoryTopic) expired(now time.Time, age time.Duration) bool {
	n := len(t.entries)
	return n > 0 && now.UnixMilli()-t.entries[n-1].Time >= age.Milliseconds()
}

func (t *memoryTopic) position() Position { return Position{t.epoch, t.head} }

// page returns the log without its entries; after counts from where they go on.
func (t *memoryTopic) page() Page {
	return Page{Epoch: t.epoch, First: t.head - uint64(len(t.entries)) + 1, Head: t.head, Previous: t.previous}
}

// after returns the log's entries after an offset.
func (t *memoryTopic) after(offset uint64) []Entry {
	if offset >= t.head {
		return nil
	}
	return t.entries[len(t.entries)-int(min(t.head-offset, uint64(len(t.entries)))):]
}

// advance takes every subscription to the head.
func (t *memoryTopic) advance(name string) {
	for a, s := range t.subs {
		if !s.live || a.cut.Load() {
			continue
		}
		h := *a.handler.Load()
		after, reason, recovered := t.page().Judge(s.at)
		if s.at = (Position{t.epoch, after}); reason != "" {
			a.resets.Add(1)
			h.Reset(name, s.at, reason, recovered)
		}
		for _, e := range t.after(after) {
			s.at.Offset = e.Offset
			h.Message(name, e)
		}
	}
}

// receivers counts the attachments that hear the topic now.
func (t *memoryTopic) receivers() (n int) {
	for a, s := range t.subs {
		if s.live && !a.cut.Load() {
			n++
		}
	}
	return n
}

// sweep frees what nobody asks for any more.
func (m *Memory) sweep(now time.Time) {
	m.each(func(p *memoryPart) {
		p.expire(now)
		for name, t := range p.topics {
			_, age := m.opts.logBounds(name)
			if t.expired(now, age) {
				t.entries = nil
			}
			if len(t.subs) == 0 && now.Sub(t.used) >= max(positionLife, 2*age) {
				delete(p.topics, name)
			}
		}
	})
}

// expire forgets the keys whose time is over.
func (p *memoryPart) expire(now time.Time) {
	for len(p.expiry) > 0 && !now.Before(p.keys[p.expiry[0]].expires) {
		delete(p.keys, p.expiry[0])
		p.expiry = p.expiry[1:]
	}
}

// Run delivers to h until ctx is done.
func (a *attachment) Run(ctx context.Context, h Handler) error {
	if !a.handler.CompareAndSwap(nil, &h) {
		return errors.New("bus: Run was called twice")
	}
	a.m.each(func(p *memoryPart) {
		for name, t := range p.topics {
			if s := t.subs[a]; s != nil {
				a.start(name, t, s)
			}
		}
	})
	tick := time.NewTicker(time.Minute)
	defer tick.Stop()
	for {
		select {
		case now := <-tick.C:
			a.m.sweep(now)
		case <-ctx.Done():
			a.ended.Store(true)
			a.m.each(func(p *memoryPart) {
				for _, t := range p.topics {
					delete(t.subs, a)
				}
			})
			return nil
		}
	}
}

// start makes a subscription live if it can be. The part's mu is held.
func (a *attachment) start(name string, t *memoryTopic, s *memorySub) {
	h := a.handler.Load()
	if h == nil || s.live || a.cut.Load() || a.ended.Load() {
		return
	}
	s.live, s.at = true, t.position()
	(*h).Subscribed(name, s.at)
}

func (a *attachment) Subscribe(ctx context.Context, topics ...string) error {
	for _, topic := range topics {
		p, t := a.m.open(topic, time.Now())
		if t.subs[a] == nil {
			t.subs[a] = new(memorySub)
			a.start(topic, t, t.subs[a])
		}
		p.mu.Unlock()
	}
	return nil
}

func (a *attachment) Unsubscribe(ctx context.Context, topics ...string) error {
	for _, topic := range topics {
		p, t := a.m.open(topic, time.Now())
		delete(t.subs, a)
		p.mu.Unlock()
	}
	return nil
}

func (a *attachment) Publish(ctx context.Context, topic string, d Draft) (Receipt, error) {
	receipts, err := a.PublishAll(ctx, topic, []Draft{d})
	if err != nil {
		return Receipt{}, err
	}
	return receipts[0], nil
}

func (a *attachment) PublishAll(ctx context.Context, topic string, drafts []Draft) ([]Receipt, error) {
	if err := checkDrafts(drafts); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	now := time.Now()
	p, t := a.m.open(topic, now)
	defer p.mu.Unlock()
	p.expire(now)
	receipts := make([]Receipt, len(drafts))
	for i, d := range drafts {
		receipts[i] = a.m.store(p, t, topic, d, now)
		t.advance(topic)
	}
	return receipts, nil
}

// store appends a message, unless its key is known. The lock of the partition is held.
func (m *Memory) store(p *memoryPart, t *memoryTopic, topic string, d Draft, now time.Time) Receipt {
	key := memoryKey{topic, d.User, d.Key}
	if first, ok := p.keys[key]; ok && d.Key != "" {
		return Receipt{Position: first.at, Time: first.time, Duplicate: true, Receivers: t.receivers()}
	}
	t.head++
	e := Entry{Offset: t.head, Time: now.UnixMilli(), Payload: d.Payload, Except: d.Except}
	t.entries = append(t.entries, e)
	if length, _ := m.opts.logBounds(topic); len(t.entries) > length {
		t.entries[0] = Entry{} // the array lives on
		t.entries = t.entries[1:]
	}
	r := Receipt{Position: t.position(), Time: e.Time, Receivers: t.receivers()}
	if d.Key != "" {
		p.keys[key] = memoryRepeat{r.Position, r.Time, now.Add(keyLife)}
		p.expiry = append(p.expiry, key)
	}
	return r
}

func (a *attachment) Signal(ctx context.Context, topic string, payload []byte) (receivers int, err error) {
	if err := ctx.Err(); err != nil {
		return 0, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	p, t := a.m.open(topic, time.Now())
	defer p.mu.Unlock()
	for b, s := range t.subs {
		if s.live && !b.cut.Load() {
			(*b.handler.Load()).Signal(topic, payload)
			receivers++
		}
	}
	return receivers, nil
}

func (a *attachment) Read(ctx context.Context, topic string, after uint64, limit int) (Page, error) {
	if err := ctx.Err(); err != nil {
		return Page{}, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	p, t := a.m.open(topic, time.Now())
	defer p.mu.Unlock()
	page := t.page()
	rest := t.after(after)
	n, bytes := 0, 0
	for n < min(limit, len(rest)) && (n == 0 || bytes+len(rest[n].Payload) <= pageBytes) {
		bytes += len(rest[n].Payload)
		n++
	}
	page.Entries = slices.Clone(rest[:n])
	return page, nil
}

func (a *attachment) Remove(ctx context.Context, topic string, offset uint64) error {
	p, t := a.m.open(topic, time.Now())
	defer p.mu.Unlock()
	if i := int(offset - t.page().First); offset >= t.page().First && i < len(t.entries) {
		t.entries[i].Payload, t.entries[i].Except = nil, nil
	}
	return nil
}

func (a *attachment) Clear(ctx context.Context, topic string) error {
	p, t := a.m.open(topic, time.Now())
	defer p.mu.Unlock()
	t.entries = nil
	return nil
}

func (a *attachment) Stats() Stats {
	return Stats{Heard: time.Now(), Reconnects: a.cuts.Load(), Gaps: a.gaps.Load(), Resets: a.resets.Load()}
}
