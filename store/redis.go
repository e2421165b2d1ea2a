package store

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"strconv"

	"github.com/redis/go-redis/v9"
)

var (
	//go:embed markread.lua
	markReadSource string

	markReadScript = redis.NewScript(markReadSource)
)

// Redis is a Store in Redis, single, with Sentinel or in a cluster.
//
// The marks of a topic are one hash, <prefix>read:{<topic>}: user -> "epoch:offset:previous
// epoch". A topic cannot hold braces, so in a cluster the hashes spread over all primaries.
// All sanctions are one sorted set, <prefix>{sanctions}, scored by when they expire, and
// <prefix>{sanctions}:version; all timers are the keys <prefix>{timers}:… that addtimer.lua
// lists. Neither has a life, so that they stand as long as Redis keeps its data.
type Redis struct {
	client redis.UniversalClient // Fixed at construction.
	prefix string                // Fixed at construction.
	trips  trips
}

var _ Store = (*Redis)(nil)

// NewRedis returns the store that client leads to. Its keys begin with prefix, which may
// not hold braces. The caller closes client, after the last call.
//
// A client that repeats commands may report a move as none (or a sanction, or a timer), when
// Redis made it and the first answer was lost; what is stored is right all the same. A claim
// whose answer was lost leases its timers to nobody until the lease is over.
func NewRedis(client redis.UniversalClient, prefix string) *Redis {
	return &Redis{client: client, prefix: prefix, trips: trips{client: client}}
}

// MarkRead implements Store, in one round trip.
func (r *Redis) MarkRead(ctx context.Context, topic, user, epoch string, offset uint64) (uint64, bool, error) {
	cmd := markReadScript.Run(ctx, r.client, []string{r.marks(topic)},
		user, epoch, strconv.FormatUint(offset, 10), int64(readLife.Seconds()))
	answer, err := cmd.Uint64Slice()
	if err == nil && len(answer) != 2 {
		err = fmt.Errorf("unexpected answer %v", cmd.Val())
	}
	if err != nil {
		return 0, false, fmt.Errorf("store: read offset of %q in %q not kept: see that Redis can be reached and takes writes, then repeat: %w", user, topic, err)
	}
	return answer[0], answer[1] == 1, nil
}

var errUnanswered = errors.New("the connection to Redis was refused")

// ReadBy implements Store, in one round trip.
func (r *Redis) ReadBy(ctx context.Context, topic, epoch string, users []string) (map[string]uint64, error) {
	offsets := make(map[string]uint64)
	if len(users) == 0 {
		return offsets, nil
	}
	marks, err := r.client.HMGet(ctx, r.marks(topic), users...).Result()
	if err != nil {
		return nil, fmt.Errorf("store: read offsets in %q not read: see that Redis can be reached, then repeat: %w", topic, err)
	}
	for i, value := range marks {
		if s, ok := value.(string); ok {
			if at := parseMark(s).in(epoch); at > 0 {
				offsets[users[i]] = at
			}
		}
	}
	return offsets, nil
}

// marks is the key of topic's marks.
func (r *Redis) marks(topic string) string { return r.prefix + "read:{" + topic + "}" }
