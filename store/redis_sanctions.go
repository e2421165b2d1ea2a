package store

import (
	"context"
	"errors"
)

// Impose implements Store: not in Redis yet.
func (r *Redis) Impose(ctx context.Context, s Sanction) error {
	return errors.ErrUnsupported
}

// Lift implements Store: not in Redis yet.
func (r *Redis) Lift(ctx context.Context, kind Kind, topic, user string) (bool, error) {
	return false, errors.ErrUnsupported
}

// Sanctions implements Store: none can be imposed in Redis yet.
func (r *Redis) Sanctions(ctx context.Context, known string) ([]Sanction, string, error) {
	return nil, known, nil
}

// DeleteUser implements Store: not in Redis yet.
func (r *Redis) DeleteUser(ctx context.Context, user string) error { return errors.ErrUnsupported }

// DeleteTopic implements Store: not in Redis yet.
func (r *Redis) DeleteTopic(ctx context.Context, topic string) error { return errors.ErrUnsupported }
