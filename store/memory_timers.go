package store

import (
	"bytes"
	"cmp"
	"context"
	"maps"
	"slices"
	"time"
)

// timers are the timers that stand, and what is remembered of those that are gone. Guarded by Memory.mu.
type timers struct {
	byID  map[string]*memoryTimer
	gone  map[string]goneTimer // by ID
	swept time.Time            // when forgotten ones were last taken out of gone
}

type memoryTimer struct {
	Timer
	due time.Time // At, or when the lease ends
}

type goneTimer struct {
	count uint64
	since time.Time
}

// AddTimer implements Store.
func (m *Memory) AddTimer(ctx context.Context, t Timer) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	t, err := t.checked()
	if err != nil {
		return err
	}
	t.Data = bytes.Clone(t.Data)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.end(t.ID)
	if gone, ok := m.timers.gone[t.ID]; ok && time.Since(gone.since) < afterlife {
		t.Count = max(t.Count, gone.count+1)
	}
	m.timers.byID[t.ID] = &memoryTimer{t, t.At}
	return nil
}

// DeleteTimer implements Store.
func (m *Memory) DeleteTimer(ctx context.Context, id string) (bool, error) {
	if err := ctx.Err(); err != nil {
		return false, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.end(id), nil
}

// Timers implements Store.
func (m *Memory) Timers(ctx context.Context, cursor string, limit int) ([]Timer, string, error) {
	if err := cmp.Or(ctx.Err(), checkLimit(limit)); err != nil {
		return nil, "", err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	ids := slices.Sorted(maps.Keys(m.timers.byID))
	from, _ := slices.BinarySearch(ids, cursor+"\x00") // the least string after cursor
	ids = ids[from:]
	var next string
	if len(ids) > limit {
		ids, next = ids[:limit], ids[limit-1]
	}
	page := make([]Timer, 0, len(ids))
	for _, id := range ids {
		page = append(page, m.timers.byID[id].copy())
	}
	return page, next, nil
}

// Claim implements Store.
func (m *Memory) Claim(ctx context.Context, lease time.Duration, limit int) ([]Timer, time.Time, error) {
	if err := cmp.Or(ctx.Err(), checkLease(lease), checkLimit(limit)); err != nil {
		return nil, time.Time{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	sorted := slices.SortedFunc(maps.Values(m.timers.byID), func(a, b *memoryTimer) int {
		return cmp.Or(a.due.Compare(b.due), cmp.Compare(a.ID, b.ID))
	})
	var due []Timer
	for _, t := range sorted {
		if len(due) == limit || t.due.After(now) {
			return due, t.due, nil
		}
		t.due = now.Add(lease)
		due = append(due, t.copy())
	}
	return due, time.Time{}, nil
}

// Fired implements Store.
func (m *Memory) Fired(ctx context.Context, id string, count uint64) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	t := m.timers.byID[id]
	switch {
	case t == nil || t.Count != count:
	case t.Every == 0:
		m.end(id)
	default:
		t.Count++
		at, every := t.At.UnixMilli(), t.Every.Milliseconds() // a Duration cannot hold all that a time can be past
		missed := max((time.Now().UnixMilli()-at)/every, 0)
		t.At = time.UnixMilli(at + (missed+1)*every)
		t.due = t.At
	}
	return nil
}

// end takes the timer out, and remembers its count. It tells whether there was one. Needs mu.
func (m *Memory) end(id string) bool {
	now := time.Now()
	if now.Sub(m.timers.swept) > afterlife {
		m.timers.swept = now
		maps.DeleteFunc(m.timers.gone, func(_ string, g goneTimer) bool { return now.Sub(g.since) >= afterlife })
	}
	t, ok := m.timers.byID[id]
	if ok {
		delete(m.timers.byID, id)
		m.timers.gone[id] = goneTimer{t.Count, now}
	}
	return ok
}

// copy returns the timer for a caller, who owns what it gets.
func (t *memoryTimer) copy() Timer {
	c := t.Timer
	c.Data = bytes.Clone(c.Data)
	return c
}
