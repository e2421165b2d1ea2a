package store

import (
	"context"
	"errors"
	"time"
)

// AddTimer implements Store: not in Redis yet.
func (r *Redis) AddTimer(ctx context.Context, t Timer) error { return errors.ErrUnsupported }

// DeleteTimer implements Store: not in Redis yet.
func (r *Redis) DeleteTimer(ctx context.Context, id string) (bool, error) {
	return false, errors.ErrUnsupported
}

// Timers implements Store: none can be added in Redis yet.
func (r *Redis) Timers(ctx context.Context, cursor string, limit int) ([]Timer, string, error) {
	return nil, "", nil
}

// Claim implements Store: none can be added in Redis yet.
func (r *Redis) Claim(ctx context.Context, lease time.Duration, limit int) ([]Timer, time.Time, error) {
	return nil, time.Time{}, nil
}

// Fired implements Store: none can be added in Redis yet.
func (r *Redis) Fired(ctx context.Context, id string, count uint64) error {
	return errors.ErrUnsupported
}
