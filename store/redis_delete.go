package store

import (
	"context"
	"fmt"
	"strings"

	"github.com/redis/go-redis/v9"
)

// DeleteUser implements Store. There is no index of the topics that a user has read, which
// each first mark would have to pay for: it scans the keys of all primaries, in steps that
// stall nobody, for a user is seldom deleted. A topic's marks that a cluster moves from one
// primary to another during the scan may be missed; repeat the call then.
func (r *Redis) DeleteUser(ctx context.Context, user string) error {
	err := r.liftAll(ctx, func(s Sanction) bool { return s.User == user })
	if err == nil {
		if cluster, ok := r.client.(*redis.ClusterClient); ok {
			err = cluster.ForEachMaster(ctx, func(ctx context.Context, primary *redis.Client) error {
				return r.deleteMarks(ctx, primary, user)
			})
		} else {
			err = r.deleteMarks(ctx, r.client, user)
		}
	}
	if err != nil {
		return fmt.Errorf("store: user %q not all forgotten: see that Redis can be reached and takes writes, then repeat: %w", user, err)
	}
	return nil
}

// DeleteTopic implements Store.
func (r *Redis) DeleteTopic(ctx context.Context, topic string) error {
	err := r.liftAll(ctx, func(s Sanction) bool { return s.Topic == topic })
	if err == nil {
		err = r.client.Unlink(ctx, r.marks(topic)).Err()
	}
	if err != nil {
		return fmt.Errorf("store: topic %q not all forgotten: see that Redis can be reached and takes writes, then repeat: %w", topic, err)
	}
	return nil
}

// deleteMarks takes user's mark out of all topics whose marks primary has.
func (r *Redis) deleteMarks(ctx context.Context, primary redis.Cmdable, user string) error {
	pattern := globEscaper.Replace(r.prefix) + "read:{*}"
	var cursor uint64
	for {
		keys, next, err := primary.ScanType(ctx, cursor, pattern, 1000, "hash").Result()
		if err != nil {
			return err
		}
		if len(keys) > 0 {
			// Through the client, for the key may have moved since.
			_, err := r.client.Pipelined(ctx, func(pipe redis.Pipeliner) error {
				for _, key := range keys {
					pipe.HDel(ctx, key, user)
				}
				return nil
			})
			if err != nil {
				return err
			}
		}
		if cursor = next; cursor == 0 {
			return nil
		}
	}
}

// globEscaper makes a text stand for itself in a pattern of Redis.
var globEscaper = strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`, `]`, `\]`)
