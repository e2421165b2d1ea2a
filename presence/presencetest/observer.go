package presencetest

import (
	"context"
	"fmt"
	"maps"
	"math"
	"slices"
	"sync"

	"github.com/rookery-chat/rookery/presence"
)

// An Observer follows one topic by its changes, as a node does, and finds fault with
// them. It reads the roster anew when an epoch begins.
type Observer struct {
	topic string
	read  func(ctx context.Context, topic, cursor string, limit int) (presence.Roster, error)

	mu    sync.Mutex
	queue [][]byte // Guarded by mu. Payloads not looked at yet.

	epoch   string // Owned by Look's caller, as is all that follows.
	version uint64
	users   map[string]bool
	loaded  uint64            // the version that the roster had when it was read; earlier changes are in it
	heard   []presence.Change // those that name somebody
	joined  map[string]int    // how often each user joined
	left    map[string]int
}

// NewObserver makes the observer of a topic whose roster is read by read.
func NewObserver(topic string, read func(ctx context.Context, topic, cursor string, limit int) (presence.Roster, error)) *Observer {
	return &Observer{topic: topic, read: read, users: map[string]bool{}, joined: map[string]int{}, left: map[string]int{}}
}

// Hear takes the payload of a change. It may be called from any goroutine.
func (o *Observer) Hear(payload []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.queue = append(o.queue, slices.Clone(payload))
}

// Look follows what was heard, and tells the first fault: a version left out or
// repeated, a user who joins or leaves twice, a wrong count.
func (o *Observer) Look() error {
	o.mu.Lock()
	queue := o.queue
	o.queue = nil
	o.mu.Unlock()
	for _, payload := range queue {
		c, err := presence.ParseChange(payload)
		if err != nil {
			return err
		}
		if err := o.follow(c); err != nil {
			return fmt.Errorf("topic %q, %q after version %d of %s: %w", o.topic, payload, o.version, o.epoch, err)
		}
	}
	return nil
}

func (o *Observer) follow(c presence.Change) error {
	if len(c.Joined)+len(c.Left) > 0 {
		o.heard = append(o.heard, c)
	}
	for _, u := range c.Joined {
		o.joined[u]++
	}
	for _, u := range c.Left {
		o.left[u]++
	}
	switch {
	case c.Epoch != o.epoch:
		return o.load()
	case c.Version <= o.loaded:
		return nil
	case c.Version <= o.version:
		return fmt.Errorf("version again")
	case c.Version > o.version+1:
		return fmt.Errorf("versions left out")
	}
	o.version = c.Version
	for _, u := range c.Joined {
		if o.users[u] {
			return fmt.Errorf("%s joined twice", u)
		}
		o.users[u] = true
	}
	for _, u := range c.Left {
		if !o.users[u] {
			return fmt.Errorf("%s left twice", u)
		}
		delete(o.users, u)
	}
	if c.Online != len(o.users) {
		return fmt.Errorf("%d online, but %d are known", c.Online, len(o.users))
	}
	return nil
}

func (o *Observer) load() error {
	r, err := o.read(context.Background(), o.topic, "", math.MaxInt32)
	if err != nil {
		return err
	}
	if r.Online != len(r.Users) {
		return fmt.Errorf("a roster of %d users says that %d are online", len(r.Users), r.Online)
	}
	o.epoch, o.version, o.loaded = r.Epoch, r.Version, r.Version
	o.users = map[string]bool{}
	for _, u := range r.Users {
		o.users[u] = true
	}
	return nil
}

// Users are those that the observer takes to be in the topic, in order.
func (o *Observer) Users() []string { return slices.Sorted(maps.Keys(o.users)) }

// Joined and Left are how often a user did so.
func (o *Observer) Joined(user string) int { return o.joined[user] }
func (o *Observer) Left(user string) int   { return o.left[user] }
