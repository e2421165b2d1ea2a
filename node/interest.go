package node

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/rookery-chat/rookery/bus"
)

// interest knows which topics this node hears, and which of its shards want each. It is
// the bus's Handler: what comes in is encoded once and put in the mailbox of every shard
// that wants it.
type interest struct {
	node *Node         // Fixed at construction.
	wake chan struct{} // capacity 1

	mu     sync.Mutex
	topics map[string]*heard   // Guarded by mu.
	dirty  map[string]struct{} // where what is wanted and what is asked of the bus may differ. Guarded by mu.
}

// heard is one topic's state. Guarded by interest.mu.
type heard struct {
	shards uint64       // bit i: shard i wants it
	orders bool         // the node itself wants it
	asked  bool         // the bus was asked to deliver it
	live   bool         // the bus delivers it
	at     bus.Position // of the last message, while live
}

func newInterest(n *Node) *interest {
	return &interest{node: n, wake: make(chan struct{}, 1), topics: make(map[string]*heard), dirty: make(map[string]struct{})}
}

// add makes a shard hear a topic. The shard is told by subscribed once it is live.
func (in *interest) add(topic string, shard int) {
	in.mu.Lock()
	h := in.topics[topic]
	if h == nil {
		h = &heard{}
		in.topics[topic] = h
	}
	h.shards |= 1 << shard
	if h.live {
		// Under mu, so that no message can come between this position and the shard's mailbox.
		sh, at := in.node.shards[shard], h.at
		sh.mail.postPosition(topic, func() { sh.subscribed(topic, at) })
	}
	in.touch(topic, h)
	in.mu.Unlock()
}

// hearOrders makes the node hear a topic of which no shard wants the messages.
func (in *interest) hearOrders(topic string) {
	in.mu.Lock()
	defer in.mu.Unlock()
	h := &heard{orders: true}
	in.topics[topic] = h
	in.touch(topic, h)
}

func (in *interest) remove(topic string, shard int) {
	in.mu.Lock()
	if h := in.topics[topic]; h != nil {
		h.shards &^= 1 << shard
		in.touch(topic, h)
	}
	in.mu.Unlock()
}

func (h *heard) wanted() bool { return h.shards != 0 || h.orders }

// touch queues a topic for run when the bus has to be told. The caller holds mu.
func (in *interest) touch(topic string, h *heard) {
	if h.wanted() == h.asked {
		return
	}
	in.dirty[topic] = struct{}{}
	select {
	case in.wake <- struct{}{}:
	default:
	}
}

// position returns where a heard topic is, if it is live.
func (in *interest) position(topic string) (bus.Position, bool) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if h := in.topics[topic]; h != nil && h.live {
		return h.at, true
	}
	return bus.Position{}, false
}

// count returns how many topics are heard for sessions.
func (in *interest) count() int {
	in.mu.Lock()
	defer in.mu.Unlock()
	n := len(in.topics)
	for _, h := range in.topics {
		if h.orders {
			n--
		}
	}
	return n
}

// list returns the topics that this node's sessions are in, in byte order, at most limit of
// those after the name after.
func (in *interest) list(after string, limit int) []string {
	in.mu.Lock()
	names := make([]string, 0, len(in.topics))
	for topic, h := range in.topics {
		if h.shards != 0 {
			names = append(names, topic)
		}
	}
	in.mu.Unlock()
	// The rest without mu, which messages on their way need.
	names = slices.DeleteFunc(names, func(name string) bool { return name <= after })
	slices.Sort(names)
	return names[:min(max(limit, 0), len(names))]
}

// run tells the bus, in batches, which topics to deliver, until ctx is done. It is the
// only one that does, so that subscribing and unsubscribing a topic cannot cross.
func (in *interest) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-in.wake:
		}
		for in.step(ctx) {
		}
	}
}

// step brings the bus's subscriptions nearer to what is wanted, and reports whether there was anything to do.
func (in *interest) step(ctx context.Context) bool {
	var more, less []string
	in.mu.Lock()
	for topic := range in.dirty {
		h := in.topics[topic]
		switch {
		case h == nil:
		case h.wanted() && !h.asked:
			h.asked = true
			more = append(more, topic)
		case !h.wanted() && h.asked:
			h.asked, h.live = false, false
			less = append(less, topic)
		case !h.wanted():
			delete(in.topics, topic)
		}
	}
	clear(in.dirty)
	in.mu.Unlock()

	if len(less) > 0 {
		if err := in.node.bus.Unsubscribe(ctx, less...); err != nil && ctx.Err() == nil {
			slog.Warn("unsubscribe", "topics", len(less), "err", err)
		}
		in.mu.Lock()
		for _, topic := range less {
			h := in.topics[topic]
			h.live = false
			if !h.wanted() {
				delete(in.topics, topic)
			} else {
				in.touch(topic, h)
			}
		}
		in.mu.Unlock()
	}
	if len(more) > 0 {
		if err := in.node.bus.Subscribe(ctx, more...); err != nil {
			if ctx.Err() != nil {
				return false
			}
			slog.Warn("subscribe; trying again", "topics", len(more), "err", err)
			in.mu.Lock()
			for _, topic := range more {
				h := in.topics[topic]
				h.asked = false
				in.touch(topic, h)
			}
			in.mu.Unlock()
			select {
			case <-ctx.Done():
			case <-time.After(time.Second):
			}
		}
	}
	return len(more)+len(less) > 0
}

// Subscribed implements bus.Handler.
func (in *interest) Subscribed(topic string, at bus.Position) {
	in.mu.Lock()
	h := in.topics[topic]
	if h == nil {
		in.mu.Unlock()
		return
	}
	again := h.live
	h.live, h.at = true, at
	in.each(h, func(sh *shard) {
		sh.mail.postPosition(topic, func() { sh.subscribed(topic, at) })
	})
	in.mu.Unlock()
	if again {
		in.node.rosters.reload(topic)
	}
}

// Message implements bus.Handler.
func (in *interest) Message(topic string, e bus.Entry) {
	f := newFrame(topic, e)
	in.mu.Lock()
	if h := in.topics[topic]; h != nil {
		h.at.Offset = e.Offset
		in.each(h, func(sh *shard) { sh.mail.deliver(topic, f) })
	}
	in.mu.Unlock()
	in.node.metrics.received.Add(1)
}

// Signal implements bus.Handler. The payload's first byte tells what it is.
func (in *interest) Signal(topic string, payload []byte) {
	if len(payload) == 0 {
		return
	}
	switch payload[0] {
	case presenceSignal:
		in.node.rosters.change(topic, payload)
		return
	case readSignal:
		in.pass(topic, &frame{topic: topic, encoding: encode(payload[1:])})
	case clientSignal:
		in.pass(topic, newSignalFrame(topic, payload))
	case orderSignal:
		in.order(topic, payload[1:])
	case reportSignal:
		in.node.questions.heard(payload[1:])
	}
}

// What a signal on the bus is, by its first byte.
const (
	clientSignal   = '{' // a session's signal: wire's payload object
	presenceSignal = 'p' // a presence.Change
	readSignal     = 'r' // a ready-made read frame follows
	orderSignal    = 'o' // an order of the server API, in JSON
	reportSignal   = 'a' // a node's answer to an order to report
)

func (in *interest) pass(topic string, f *frame) {
	in.mu.Lock()
	if h := in.topics[topic]; h != nil {
		in.each(h, func(sh *shard) { sh.mail.deliver(topic, f) })
	}
	in.mu.Unlock()
}

// Reset implements bus.Handler.
func (in *interest) Reset(topic string, at bus.Position, reason string, recovered bool) {
	in.mu.Lock()
	if h := in.topics[topic]; h != nil {
		h.at = at
		in.each(h, func(sh *shard) {
			sh.mail.postPosition(topic, func() { sh.reset(topic, at, reason, recovered) })
		})
	}
	in.mu.Unlock()
}

// each calls do for every shard that wants the topic. The caller holds mu.
func (in *interest) each(h *heard, do func(*shard)) {
	for i, sh := range in.node.shards {
		if h.shards&(1<<i) != 0 {
			do(sh)
		}
	}
}
