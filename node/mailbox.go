package node

import (
	"sync"
	"time"
)

// Bounds of what may wait in one shard's mailbox. Beyond them messages are left out:
// the shard then forgets its rings of those topics, and the cursors read the log.
const (
	mailboxMessages = 64 << 10
	mailboxBytes    = 32 << 20
)

// A letter is one thing for a shard to do: deliver frame to topic, or do.
type letter struct {
	topic string
	frame *frame
	do    func()
}

// A mailbox is a shard's queue. Putting never waits.
type mailbox struct {
	wake chan struct{} // capacity 1

	mu       sync.Mutex
	letters  []letter          // Guarded by mu.
	messages int               // Guarded by mu.
	bytes    int               // Guarded by mu.
	lost     map[string]uint64 // newest offset left out, by topic. Guarded by mu.
	high     int               // most letters that ever waited. Guarded by mu.
	first    time.Time         // when the first of letters came. Guarded by mu.
	begun    time.Time         // when the first of those came that were taken; zero when they are worked off. Guarded by mu.
}

func newMailbox() *mailbox { return &mailbox{wake: make(chan struct{}, 1)} }

// deliver puts a frame for a topic, or notes its loss when the mailbox is full.
func (m *mailbox) deliver(topic string, f *frame) {
	m.mu.Lock()
	if m.messages >= mailboxMessages || m.bytes >= mailboxBytes || m.lost[topic] > 0 {
		if f.offset > 0 {
			if m.lost == nil {
				m.lost = make(map[string]uint64)
			}
			m.lost[topic] = f.offset
		}
		m.mu.Unlock()
		m.signal()
		return
	}
	m.messages++
	m.bytes += len(f.bytes)
	m.put(letter{topic: topic, frame: f})
}

// postPosition is post for what tells a topic's position: it makes good what was lost of the
// topic before.
func (m *mailbox) postPosition(topic string, do func()) {
	m.mu.Lock()
	delete(m.lost, topic)
	m.put(letter{do: do})
}

// post puts something to do. It is never left out.
func (m *mailbox) post(do func()) {
	m.mu.Lock()
	m.put(letter{do: do})
}

// put appends and unlocks mu.
func (m *mailbox) put(l letter) {
	if len(m.letters) == 0 {
		m.first = time.Now()
	}
	m.letters = append(m.letters, l)
	m.high = max(m.high, len(m.letters))
	m.mu.Unlock()
	m.signal()
}

func (m *mailbox) signal() {
	select {
	case m.wake <- struct{}{}:
	default:
	}
}

// take exchanges the waiting letters for an empty slice of the caller's, who says when they are done.
func (m *mailbox) take(empty []letter) ([]letter, map[string]uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	letters, lost := m.letters, m.lost
	m.letters, m.lost = empty[:0], nil
	m.messages, m.bytes = 0, 0
	m.begun, m.first = m.first, time.Time{}
	return letters, lost
}

// done says that the letters taken last are worked off.
func (m *mailbox) done() {
	m.mu.Lock()
	m.begun = time.Time{}
	m.mu.Unlock()
}

// isEmpty reports whether nothing waits.
func (m *mailbox) isEmpty() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.letters) == 0 && len(m.lost) == 0
}

// waiting returns how many letters wait.
func (m *mailbox) waiting() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.letters)
}

// wait returns for how long the oldest letter has been there that is not worked off: while a shard has too much
// to do, at least as long as it takes for one round.
func (m *mailbox) wait(now time.Time) time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	oldest := m.begun
	if oldest.IsZero() {
		oldest = m.first
	}
	if oldest.IsZero() {
		return 0
	}
	return now.Sub(oldest)
}

// highWater returns the most letters that ever waited.
func (m *mailbox) highWater() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.high
}
