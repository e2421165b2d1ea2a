package store

import (
	"context"
	"sync"
)

// Memory is a Store for the nodes of one process. What it knows ends with the process.
// The zero value is not ready: use NewMemory.
type Memory struct {
	mu    sync.Mutex
	reads map[string]map[string]mark // topic -> user -> mark. Guarded by mu.
}

// A mark is how far a user has read in the life epoch of a topic's log.
type mark struct {
	epoch  string
	offset uint64
}

var _ Store = (*Memory)(nil)

// NewMemory returns an empty store.
func NewMemory() *Memory {
	return &Memory{reads: make(map[string]map[string]mark)}
}

// MarkRead implements Store.
func (m *Memory) MarkRead(ctx context.Context, topic, user, epoch string, offset uint64) (uint64, bool, error) {
	if err := ctx.Err(); err != nil {
		return 0, false, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	stands := m.read(topic, user, epoch)
	if offset <= stands {
		return stands, false, nil
	}
	users := m.reads[topic]
	if users == nil {
		users = make(map[string]mark)
		m.reads[topic] = users
	}
	users[user] = mark{epoch, offset}
	return offset, true, nil
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
		offsets[topic] = m.read(topic, user, epoch)
	}
	return offsets, nil
}

// read returns user's read offset in topic, 0 where none is known for epoch. Needs mu.
func (m *Memory) read(topic, user, epoch string) uint64 {
	if at := m.reads[topic][user]; at.epoch == epoch {
		return at.offset
	}
	return 0
}
