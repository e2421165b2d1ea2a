// Package bustest is the conformance suite of bus.Bus: what every implementation promises.
package bustest

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/rookery-chat/rookery/bus"
)

// A Cluster is an empty cluster of one implementation, for one test.
type Cluster interface {
	// Attach returns one more attachment, which is not running yet.
	Attach(t *testing.T) bus.Bus
	// Cut breaks the live path of b until restore is called.
	Cut(t *testing.T, b bus.Bus) (restore func())
	// Restart ends the service and begins it again, with all data or with none.
	Restart(t *testing.T, keep bool)
}

// Run tests the implementation whose clusters newCluster makes, in parallel with other tests.
func Run(t *testing.T, newCluster func(t *testing.T, opts *bus.Options) Cluster) {
	t.Parallel()
	test := func(name string, opts *bus.Options, f func(t *testing.T, c *cluster)) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f(t, &cluster{Cluster: newCluster(t, opts)})
		})
	}
	short := &bus.Options{LogLength: 10}
	test("one order everywhere", nil, testOrder)
	test("receipts", nil, testReceipts)
	test("keys", nil, testKeys)
	test("keys at once", nil, testKeysAtOnce)
	test("together", nil, testTogether)
	test("pages", nil, testPages)
	test("big pages", nil, testBigPages)
	test("trimming", short, testTrimming)
	test("age", &bus.Options{LogAge: 300 * time.Millisecond}, testAge)
	test("bounds by topic", &bus.Options{LogFor: func(topic string) (int, time.Duration) {
		if topic == "short" {
			return 10, 0
		}
		return 0, 0
	}}, testBounds)
	test("except", nil, testExcept)
	test("remove and clear", nil, testRemove)
	test("subscribe under load", nil, testSubscribe)
	test("subscribe before Run", nil, testBeforeRun)
	test("unsubscribe under load", nil, testUnsubscribe)
	test("signals", nil, testSignals)
	test("cut", nil, testCut)
	test("cut and trimmed", short, testCutTrimmed)
	test("cuts under load", &bus.Options{LogLength: 1_000_000}, testCuts)
	test("restart empty", nil, testRestartEmpty)
	test("restart with data", nil, testRestartKept)
	test("many topics", nil, testManyTopics)
	test("bad input", nil, testBadInput)
}

// A cluster adds to a Cluster what the tests need.
type cluster struct{ Cluster }

// A node is an attachment that runs, and what it hears.
type node struct {
	bus.Bus
	*Recorder
}

// Signal is the bus's; the Recorder has one too.
func (n node) Signal(ctx context.Context, topic string, payload []byte) (int, error) {
	return n.Bus.Signal(ctx, topic, payload)
}

// run runs b until the test ends, and then looks for broken promises.
func run(t *testing.T, b bus.Bus) node {
	n := node{b, NewRecorder()}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- b.Run(ctx, n.Recorder) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run returned %v", err)
		}
		for _, f := range n.Faults() {
			t.Error("promise broken: ", f)
		}
	})
	return n
}

// nodes returns running attachments that are subscribed to topics.
func (c *cluster) nodes(t *testing.T, n int, topics ...string) []node {
	all := make([]node, n)
	for i := range all {
		all[i] = run(t, c.Attach(t))
		subscribe(t, all[i], topics...)
	}
	for _, n := range all {
		for _, topic := range topics {
			n.WaitSubscribed(t, topic)
		}
	}
	return all
}

func subscribe(t *testing.T, b bus.Bus, topics ...string) {
	t.Helper()
	if err := b.Subscribe(t.Context(), topics...); err != nil {
		t.Fatalf("Subscribe: %v", err)
	}
}

func publish(t *testing.T, b bus.Bus, topic, payload string) bus.Receipt {
	t.Helper()
	return publishDraft(t, b, topic, bus.Draft{Payload: []byte(payload)})
}

func publishDraft(t *testing.T, b bus.Bus, topic string, d bus.Draft) bus.Receipt {
	t.Helper()
	r, err := b.Publish(t.Context(), topic, d)
	if err != nil {
		t.Errorf("Publish to %s: %v", topic, err)
	}
	return r
}

func read(t *testing.T, b bus.Bus, topic string, after uint64, limit int) bus.Page {
	t.Helper()
	p, err := b.Read(t.Context(), topic, after, limit)
	if err != nil {
		t.Fatalf("Read of %s after %d: %v", topic, after, err)
	}
	return p
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("still waiting until %s", what)
		}
	}
}

// publishing publishes to topic until stop is called, which returns the last position.
func publishing(t *testing.T, b bus.Bus, topic string) (stop func() bus.Position) {
	quit := make(chan struct{})
	last := make(chan bus.Position, 1)
	go func() {
		var at bus.Position
		for i := 0; ; i++ {
			select {
			case <-quit:
				last <- at
				return
			default:
			}
			r, err := b.Publish(context.Background(), topic, bus.Draft{Payload: fmt.Appendf(nil, `{"n":%d}`, i)})
			if err == nil {
				at = r.Position
			}
			time.Sleep(100 * time.Microsecond)
		}
	}()
	once := sync.OnceValue(func() bus.Position { close(quit); return <-last })
	t.Cleanup(func() { once() })
	return once
}
