package store

import (
	"context"
	"maps"
	"sync"
	"time"
)

// Memory is a Store for the nodes of one process. What it knows ends with the process.
// The zero value is not ready: use NewMemory.
type Memory struct {
	mu        sync.Mutex
	reads     map[string]*topicReads // by topic. Guarded by mu.
	swept     time.Time              // when forgotten topics were last taken out of reads. Guarded by mu.
	sanctions sanctions              // Guarded by mu.
	timers    timers                 // Guarded by mu.
}

// topicReads are the read offsets of one topic. Guarded by Memory.mu.
type topicReads struct {
	users map[string]mark
	moved time.Time // when one of them last moved
}

var _ Store = (*Memory)(nil)

// NewMemory returns an empty store.
func NewMemory() *Memory {
	return &Memory{
		reads:     make(map[string]*topicReads),
		swept:     time.Now(),
		sanctions: sanctions{until: make(map[Sanction]time.Time)},
		timers:    timers{byID: make(map[string]*memoryTimer), gone: make(map[string]goneTimer), swept: time.Now()},
	}
}

// MarkRead implements Store.
func (m *Memory) MarkRead(ctx context.Context, topic, user, epoch string, offset uint64) (uint64, bool, error) {
	if err := ctx.Err(); err != nil {
		return 0, false, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.sweep()
	at, moved := m.read(topic, user).move(epoch, offset)
	if moved {
		reads := m.reads[topic]
		if reads == nil {
			reads = &topicReads{users: make(map[string]mark)}
			m.reads[topic] = reads
		}
		reads.users[user] = at
		reads.moved = time.Now()
	}
	return at.in(epoch), moved, nil
}

// ReadOffsets implements Store.
func (m *Memory) ReadOffsets(ctx context.Context, user string, epochs map[string]string) (map[string]uint64, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	offsets := make(map[string]uint64, len(epochs))
	for topic, epoch := range epochs {
		offsets[topic] = m.read(topic, user).in(epoch)
	}
	return offsets, nil
}

// ReadBy implements Store.
func (m *Memory) ReadBy(ctx context.Context, topic, epoch string, users []string) (map[string]uint64, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	offsets := make(map[string]uint64)
	for _, user := range users {
		if at := m.read(topic, user).in(epoch); at > 0 {
			offsets[user] = at
		}
	}
	return offsets, nil
}

// DeleteUser implements Store.
func (m *Memory) DeleteUser(ctx context.Context, user string) error {
	if _, err := m.lift(ctx, func(s Sanction) bool { return s.User == user }); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, reads := range m.reads {
		delete(reads.users, user)
	}
	return nil
}

// DeleteTopic implements Store.
func (m *Memory) DeleteTopic(ctx context.Context, topic string) error {
	if _, err := m.lift(ctx, func(s Sanction) bool { return s.Topic == topic }); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.reads, topic)
	return nil
}

// read returns user's mark in topic. Needs mu.
func (m *Memory) read(topic, user string) mark {
	if reads := m.reads[topic]; reads != nil {
		return reads.users[user]
	}
	return mark{}
}

// sweep forgets, once a day, the topics that nobody reads any more. Needs mu.
func (m *Memory) sweep() {
	now := time.Now()
	if now.Sub(m.swept) < 24*time.Hour {
		return
	}
	m.swept = now
	maps.DeleteFunc(m.reads, func(_ string, r *topicReads) bool { return now.Sub(r.moved) > readLife })
}
