package store

import (
	"context"
	"maps"
	"time"
)

// sanctions are all that were imposed. Guarded by Memory.mu.
type sanctions struct {
	until   map[Sanction]time.Time // by the sanction without its Until
	version string                 // "" until the first change
}

// Impose implements Store.
func (m *Memory) Impose(ctx context.Context, s Sanction) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.dropExpired()
	until := s.Until
	if !until.IsZero() {
		until = time.UnixMilli(until.UnixMilli())
	}
	s.Until = time.Time{}
	m.sanctions.until[s] = until
	m.sanctions.version = newVersion()
	return nil
}

// Lift implements Store.
func (m *Memory) Lift(ctx context.Context, kind Kind, topic, user string) (bool, error) {
	return m.lift(ctx, func(s Sanction) bool {
		return s == Sanction{Kind: kind, Topic: topic, User: user}
	})
}

// Sanctions implements Store.
func (m *Memory) Sanctions(ctx context.Context, known string) ([]Sanction, string, error) {
	if err := ctx.Err(); err != nil {
		return nil, known, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.sanctions.version == known {
		return nil, known, nil
	}
	now := time.Now()
	all := make([]Sanction, 0, len(m.sanctions.until))
	for s, until := range m.sanctions.until {
		if s.Until = until; s.stands(now) {
			all = append(all, s)
		}
	}
	return all, m.sanctions.version, nil
}

// lift takes out the sanctions that are meant, and tells whether there were any that stood.
func (m *Memory) lift(ctx context.Context, meant func(Sanction) bool) (bool, error) {
	if err := ctx.Err(); err != nil {
		return false, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.dropExpired()
	before := len(m.sanctions.until)
	maps.DeleteFunc(m.sanctions.until, func(s Sanction, _ time.Time) bool { return meant(s) })
	lifted := len(m.sanctions.until) < before
	if lifted {
		m.sanctions.version = newVersion()
	}
	return lifted, nil
}

// dropExpired takes out what is past its time. Needs mu.
func (m *Memory) dropExpired() {
	now := time.Now()
	maps.DeleteFunc(m.sanctions.until, func(s Sanction, until time.Time) bool {
		s.Until = until
		return !s.stands(now)
	})
}
