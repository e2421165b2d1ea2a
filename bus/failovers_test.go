package bus_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rookery-chat/rookery/bus"
	"github.com/rookery-chat/rookery/internal/redistest"
)

var failovers = flag.Int("failovers", 5, "how often TestLossyFailovers loses acknowledged messages")

// Again and again a replica takes over that lacks messages which the old primary acknowledged, while
// everybody publishes; for a while some nodes still publish to the old one. No position ever
// names two messages: not to whom they were acknowledged, nor to whom they came, nor in the log.
// And who had a message that is lost is told so. More often: make failovers.
func TestLossyFailovers(t *testing.T) {
	t.Parallel()
	primary, replica := redistest.Start(t, prompt...), redistest.Start(t, prompt...)
	replica.Replicate(primary)
	l := &ledger{t: t, names: make(map[string]string)}
	topics := []string{"lobby", "@alice", "*"}
	var nodes [2]*bus.Redis
	var addrs [2]atomic.Value // where each node takes the primary to be
	for i := range nodes {
		addrs[i].Store(primary.Addr)
		nodes[i] = bus.NewRedis(follow(t, &addrs[i]), logged(t, nil))
		run(t, nodes[i], &reader{ledger: l, at: make(map[string]bus.Position)})
		if err := nodes[i].Subscribe(t.Context(), topics...); err != nil {
			t.Fatal(err)
		}
	}
	quit := make(chan struct{})
	var talking sync.WaitGroup
	for i, node := range nodes {
		for _, topic := range topics {
			talking.Go(func() {
				for n := 0; ; n++ {
					select {
					case <-quit:
						return
					default:
					}
					payload := fmt.Sprintf(`"%d to %s: %d"`, i, topic, n)
					r, err := node.Publish(context.Background(), topic, bus.Draft{Payload: []byte(payload)})
					switch {
					case err == nil:
						l.acked.Add(1)
						l.place(topic, r.Position, payload)
					case !errors.Is(err, bus.ErrUnavailable):
						t.Errorf("Publish: %v", err)
					}
				}
			})
		}
	}

	for range *failovers {
		before, resets := l.acked.Load(), l.lossy.Load()
		eventually(t, "everybody talks", func() bool { return l.acked.Load() > before+20 })
		ask(t, replica, "replicaof", "no", "one") // and so what comes now is lost
		before = l.acked.Load()
		eventually(t, "something is lost", func() bool { return l.acked.Load() > before+20 })
		for _, i := range rand.Perm(len(nodes)) { // one after the other
			addrs[i].Store(replica.Addr)
			ask(t, primary, "client", "kill", "type", "normal")
			ask(t, primary, "client", "kill", "type", "pubsub")
			time.Sleep(rand.N(30 * time.Millisecond))
		}
		replica, primary = primary, replica
		replica.Replicate(primary)
		eventually(t, "who had what is lost is told so", func() bool { return l.lossy.Load() > resets })
	}
	close(quit)
	talking.Wait()
	for _, topic := range topics {
		for after, more := uint64(0), true; more; {
			page, err := nodes[0].Read(t.Context(), topic, after, 0)
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range page.Entries {
				l.place(topic, bus.Position{Epoch: page.Epoch, Offset: e.Offset}, string(e.Payload))
				after = e.Offset
			}
			more = len(page.Entries) > 0 && after < page.Head
		}
	}
	l.mu.Lock() // members still read on
	defer l.mu.Unlock()
	t.Logf("%d failovers: %d messages acknowledged, %d positions seen, %d of them with two messages; %d resets, %d told of losses",
		*failovers, l.acked.Load(), len(l.names), l.collisions, l.resets.Load(), l.lossy.Load())
}

// A ledger holds which message each position was ever said to be.
type ledger struct {
	t                    *testing.T
	acked, resets, lossy atomic.Int64

	mu         sync.Mutex
	names      map[string]string // Guarded by mu.
	collisions int               // Guarded by mu.
}

func (l *ledger) place(topic string, at bus.Position, payload string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	key := fmt.Sprintf("%s %s:%d", topic, at.Epoch, at.Offset)
	if was, ok := l.names[key]; ok && was != payload {
		l.collisions++
		l.t.Errorf("%s names %s and %s", key, was, payload)
	}
	l.names[key] = payload
}

// A reader is a node's Handler. Each topic's calls are in order.
type reader struct {
	*ledger
	mu sync.Mutex
	at map[string]bus.Position // Guarded by mu.
}

func (r *reader) Subscribed(topic string, at bus.Position) { r.move(topic, at) }
func (r *reader) Signal(string, []byte)                    {}

func (r *reader) Message(topic string, e bus.Entry) {
	r.mu.Lock()
	at := r.at[topic]
	r.mu.Unlock()
	if e.Offset != at.Offset+1 {
		r.t.Errorf("%s: %d came after %d", topic, e.Offset, at.Offset)
	}
	at.Offset = e.Offset
	r.move(topic, at)
	r.place(topic, at, string(e.Payload))
}

func (r *reader) Reset(topic string, at bus.Position, reason string, recovered bool) {
	r.resets.Add(1)
	if !recovered {
		r.lossy.Add(1)
	}
	r.move(topic, at)
}

func (r *reader) move(topic string, at bus.Position) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.at[topic] = at
}

// run runs a bus until the test ends.
func run(t *testing.T, b *bus.Redis, h bus.Handler) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- b.Run(ctx, h) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run returned %v", err)
		}
	})
}

func ask(t *testing.T, s *redistest.Server, words ...any) {
	t.Helper()
	if _, err := s.Ask(words...); err != nil {
		t.Fatalf("%v: %v", words, err)
	}
}
