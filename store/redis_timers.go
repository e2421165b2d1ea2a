package store

import (
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

var (
	//go:embed addtimer.lua
	addTimerSource string
	//go:embed deletetimer.lua
	deleteTimerSource string
	//go:embed timers.lua
	timersSource string
	//go:embed claim.lua
	claimSource string
	//go:embed fired.lua
	firedSource string

	addTimerScript    = redis.NewScript(addTimerSource)
	deleteTimerScript = redis.NewScript(deleteTimerSource)
	timersScript      = redis.NewScript(timersSource)
	claimScript       = redis.NewScript(claimSource)
	firedScript       = redis.NewScript(firedSource)
)

// AddTimer implements Store, in one round trip.
func (r *Redis) AddTimer(ctx context.Context, t Timer) error {
	t, err := t.checked()
	if err != nil {
		return err
	}
	err = addTimerScript.Run(ctx, r.client, r.timer(t.ID),
		t.ID, t.what(), t.At.UnixMilli(), t.Every.Milliseconds(), strconv.FormatUint(t.Count, 10)).Err()
	if err != nil {
		return fmt.Errorf("store: timer %q not added: see that Redis can be reached and takes writes, then repeat: %w", t.ID, err)
	}
	return nil
}

// DeleteTimer implements Store, in one round trip.
func (r *Redis) DeleteTimer(ctx context.Context, id string) (bool, error) {
	was, err := deleteTimerScript.Run(ctx, r.client, r.timer(id), id, afterlife.Milliseconds()).Bool()
	if err != nil {
		return false, fmt.Errorf("store: timer %q not deleted: see that Redis can be reached and takes writes, then repeat: %w", id, err)
	}
	return was, nil
}

// Timers implements Store, in one round trip.
func (r *Redis) Timers(ctx context.Context, cursor string, limit int) ([]Timer, string, error) {
	if err := checkLimit(limit); err != nil {
		return nil, "", err
	}
	keys := []string{r.timers("what"), r.timers("state"), r.timers("ids")}
	answer, err := timersScript.Run(ctx, r.client, keys, "("+cursor, limit).StringSlice()
	if err != nil {
		return nil, "", fmt.Errorf("store: timers not read: see that Redis can be reached, then repeat: %w", err)
	}
	var next string
	if len(answer) > 3*limit {
		answer = answer[:3*limit]
		next = answer[len(answer)-3]
	}
	return parseTimers(answer), next, nil
}

// Claim implements Store, in one round trip.
func (r *Redis) Claim(ctx context.Context, lease time.Duration, limit int) ([]Timer, time.Time, error) {
	var next time.Time
	if err := checkLease(lease); err != nil {
		return nil, next, err
	}
	if err := checkLimit(limit); err != nil {
		return nil, next, err
	}
	keys := []string{r.timers("what"), r.timers("state"), r.timers("due")}
	answer, err := claimScript.Run(ctx, r.client, keys, lease.Milliseconds(), limit).StringSlice()
	if err == nil && len(answer)%3 != 1 {
		err = fmt.Errorf("unexpected answer %q", answer)
	}
	if err == nil && answer[0] != "" {
		var wait int64
		wait, err = strconv.ParseInt(answer[0], 10, 64)
		next = time.UnixMilli(time.Now().UnixMilli() + wait)
	}
	if err != nil {
		return nil, time.Time{}, fmt.Errorf("store: timers not claimed: see that Redis can be reached and takes writes, then repeat: %w", err)
	}
	return parseTimers(answer[1:]), next, nil
}

// Fired implements Store, in one round trip.
func (r *Redis) Fired(ctx context.Context, id string, count uint64) error {
	err := firedScript.Run(ctx, r.client, r.timer(id), id, strconv.FormatUint(count, 10), afterlife.Milliseconds()).Err()
	if err != nil {
		return fmt.Errorf("store: timer %q not advanced: see that Redis can be reached and takes writes, then repeat: %w", id, err)
	}
	return nil
}

// timers is the key of one part of all timers.
func (r *Redis) timers(part string) string { return r.prefix + "{timers}:" + part }

// timer are the keys that a change of the timer id concerns.
func (r *Redis) timer(id string) []string {
	return []string{r.timers("what"), r.timers("state"), r.timers("due"), r.timers("ids"), r.timers("last:" + id)}
}

// what is the part of t that stays as it is, in Redis: its topic and data.
func (t Timer) what() string {
	return strconv.Itoa(len(t.Topic)) + ":" + t.Topic + string(t.Data)
}

// parseTimers returns the timers that a script answered, each as id, what, state, without
// those that another hand wrote.
func parseTimers(answer []string) []Timer {
	timers := make([]Timer, 0, len(answer)/3)
	for part := range slices.Chunk(answer, 3) {
		if t, ok := parseTimer(part[0], part[1], part[2]); ok {
			timers = append(timers, t)
		}
	}
	return timers
}

// parseTimer returns the timer that id, what and state make, and whether they make one.
func parseTimer(id, what, state string) (Timer, bool) {
	var count uint64
	var at, every int64
	if n, err := fmt.Sscanf(state, "%d %d %d", &count, &at, &every); n != 3 || err != nil {
		return Timer{}, false
	}
	if count > mostCount || every < 0 || every > math.MaxInt64/int64(time.Millisecond) {
		return Timer{}, false
	}
	length, rest, _ := strings.Cut(what, ":")
	n, err := strconv.Atoi(length)
	if err != nil || n < 0 || n > len(rest) {
		return Timer{}, false
	}
	return Timer{
		ID: id, Topic: rest[:n], Data: json.RawMessage(rest[n:]),
		Every: time.Duration(every) * time.Millisecond, At: time.UnixMilli(at), Count: count,
	}, true
}
