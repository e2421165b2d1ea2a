package node

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/rookery-chat/rookery/store"
	"github.com/rookery-chat/rookery/wire"
)

// sanctionsEvery is how often a node looks whether it missed a change of the bans and mutes.
const sanctionsEvery = time.Second

// sanctions are the cluster's bans and mutes, as this node knows them.
type sanctions struct {
	node  *Node         // Fixed at construction.
	wake  chan struct{} // capacity 1: somebody says that they have changed
	known chan struct{} // closed by run once they were read

	mu      sync.RWMutex
	version string                 // Guarded by mu.
	until   map[sentence]time.Time // zero: for good. Guarded by mu.
}

// A sentence names one sanction.
type sentence struct {
	kind        store.Kind
	topic, user string
}

func newSanctions(n *Node) *sanctions {
	return &sanctions{node: n, wake: make(chan struct{}, 1), known: make(chan struct{})}
}

// hit tells whether a sanction of that kind stands, on the topic or on everyone.
func (sa *sanctions) hit(kind store.Kind, topic, user string) bool {
	sa.mu.RLock()
	defer sa.mu.RUnlock()
	if len(sa.until) == 0 {
		return false
	}
	for _, t := range [...]string{topic, wire.Everyone} {
		if until, ok := sa.until[sentence{kind, t, user}]; ok && (until.IsZero() || time.Now().Before(until)) {
			return true
		}
	}
	return false
}

// await waits until this node knows who is banned: until then it lets nobody in.
func (sa *sanctions) await(ctx context.Context) error {
	select {
	case <-sa.known:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// ready tells whether they were read.
func (sa *sanctions) ready() bool {
	select {
	case <-sa.known:
		return true
	default:
		return false
	}
}

func (sa *sanctions) changed() {
	select {
	case sa.wake <- struct{}{}:
	default:
	}
}

// run follows the store until ctx is done.
func (sa *sanctions) run(ctx context.Context) {
	tick := time.NewTicker(sanctionsEvery)
	defer tick.Stop()
	for {
		switch err := sa.load(ctx); {
		case err == nil && !sa.ready():
			close(sa.known)
		case err != nil && ctx.Err() == nil:
			slog.Debug("bans and mutes not read; trying again", "err", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-sa.wake:
		}
	}
}

// load takes what has changed, and ends what the bans forbid on this node.
func (sa *sanctions) load(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	all, version, err := sa.node.store.Sanctions(ctx, sa.version)
	if err != nil || version == sa.version {
		return err
	}
	until := make(map[sentence]time.Time, len(all))
	for _, s := range all {
		until[sentence{s.Kind, s.Topic, s.User}] = s.Until
	}
	sa.mu.Lock()
	sa.version, sa.until = version, until
	sa.mu.Unlock()
	for _, s := range all {
		if s.Kind != store.Ban || !sa.node.users.has(s.User) {
			continue
		}
		o := order{Do: doRemove, Topic: s.Topic}
		if s.Topic == wire.Everyone {
			o = order{Do: doKick}
		}
		for _, sh := range sa.node.shards {
			sh.mail.post(func() { sh.obey(wire.Inbox(s.User), o) })
		}
	}
	return nil
}

// Sanction bans or mutes a user in a topic, on every node and for those who connect later;
// the topic Everyone is the whole cluster.
func (n *Node) Sanction(ctx context.Context, s store.Sanction) error {
	if err := n.store.Impose(ctx, s); err != nil {
		return err
	}
	return n.tellSanctions(ctx)
}

// Pardon lifts a ban or mute, and tells whether there was one.
func (n *Node) Pardon(ctx context.Context, kind store.Kind, topic, user string) (bool, error) {
	was, err := n.store.Lift(ctx, kind, topic, user)
	if err != nil || !was {
		return was, err
	}
	return true, n.tellSanctions(ctx)
}

// tellSanctions tells all nodes that have sessions. One that does not hear it looks by itself.
func (n *Node) tellSanctions(ctx context.Context) error {
	n.sanctions.changed()
	_, err := n.send(ctx, wire.Everyone, order{Do: doSanctions})
	return err
}
