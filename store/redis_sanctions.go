package store

import (
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"
)

var (
	//go:embed impose.lua
	imposeSource string
	//go:embed lift.lua
	liftSource string
	//go:embed sanctions.lua
	sanctionsSource string

	imposeScript    = redis.NewScript(imposeSource)
	liftScript      = redis.NewScript(liftSource)
	sanctionsScript = redis.NewScript(sanctionsSource)
)

// Impose implements Store, in one round trip.
func (r *Redis) Impose(ctx context.Context, s Sanction) error {
	until := "+inf"
	if !s.Until.IsZero() {
		until = strconv.FormatInt(s.Until.UnixMilli(), 10)
	}
	err := imposeScript.Run(ctx, r.client, r.sanctions(), s.member(), until, newVersion()).Err()
	if err != nil {
		return fmt.Errorf("store: %s of %q in %q not imposed: see that Redis can be reached and takes writes, then repeat: %w", s.Kind, s.User, s.Topic, err)
	}
	return nil
}

// Lift implements Store, in one round trip.
func (r *Redis) Lift(ctx context.Context, kind Kind, topic, user string) (bool, error) {
	lifted, err := r.lift(ctx, Sanction{Kind: kind, Topic: topic, User: user}.member())
	if err != nil {
		return false, fmt.Errorf("store: %s of %q in %q not lifted: see that Redis can be reached and takes writes, then repeat: %w", kind, user, topic, err)
	}
	return lifted, nil
}

// Sanctions implements Store, in one round trip.
func (r *Redis) Sanctions(ctx context.Context, known string) ([]Sanction, string, error) {
	answer, err := sanctionsScript.Run(ctx, r.client, r.sanctions(), known).StringSlice()
	if err == nil && len(answer)%2 != 1 {
		err = fmt.Errorf("unexpected answer %q", answer)
	}
	if err != nil {
		return nil, known, fmt.Errorf("store: bans and mutes not read: see that Redis can be reached, then repeat: %w", err)
	}
	if answer[0] == known {
		return nil, known, nil
	}
	all := make([]Sanction, 0, len(answer)/2)
	for pair := range slices.Chunk(answer[1:], 2) {
		s, ok := parseMember(pair[0])
		until, err := strconv.ParseFloat(pair[1], 64)
		if !ok || err != nil {
			continue // from another hand
		}
		if !math.IsInf(until, 1) {
			s.Until = time.UnixMilli(int64(until))
		}
		all = append(all, s)
	}
	return all, answer[0], nil
}

// lift takes out the sanctions of the members, and tells whether one of them stood.
func (r *Redis) lift(ctx context.Context, members ...string) (bool, error) {
	args := []any{newVersion()}
	for _, member := range members {
		args = append(args, member)
	}
	n, err := liftScript.Run(ctx, r.client, r.sanctions(), args...).Int()
	return n > 0, err
}

// liftAll takes out those of all sanctions that are meant.
func (r *Redis) liftAll(ctx context.Context, meant func(Sanction) bool) error {
	// Expired ones that nobody has dropped yet go too.
	members, err := r.client.ZRange(ctx, r.sanctions()[0], 0, -1).Result()
	if err != nil {
		return err
	}
	members = slices.DeleteFunc(members, func(member string) bool {
		s, ok := parseMember(member)
		return !ok || !meant(s)
	})
	for some := range slices.Chunk(members, 1000) { // a script cannot unpack more than some thousand
		if _, err := r.lift(ctx, some...); err != nil {
			return err
		}
	}
	return nil
}

// sanctions are the keys of the sanctions and of their version.
func (r *Redis) sanctions() []string {
	return []string{r.prefix + "{sanctions}", r.prefix + "{sanctions}:version"}
}

// member is s in Redis, without its Until: ["ban","lobby","alice"].
func (s Sanction) member() string {
	text, _ := json.Marshal([]string{string(s.Kind), s.Topic, s.User}) // strings can always be marshalled
	return string(text)
}

// parseMember is the inverse of member, and tells whether it was one.
func parseMember(text string) (Sanction, bool) {
	var parts []string
	if err := json.Unmarshal([]byte(text), &parts); err != nil || len(parts) != 3 {
		return Sanction{}, false
	}
	return Sanction{Kind: Kind(parts[0]), Topic: parts[1], User: parts[2]}, true
}
