package presence_test

import (
	"context"
	"flag"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/rookery-chat/rookery/presence"
	"github.com/rookery-chat/rookery/presence/presencetest"
)

func TestMain(m *testing.M) {
	flag.Set("test.parallel", "10") // most tests wait for leases to lapse
	// On one processor: where several goroutines of a bubble find their timers expired at once,
	// on two, the race detector crashes (golang/go#78156).
	runtime.GOMAXPROCS(1)
	goleak.VerifyTestMain(m)
}

func TestMemory(t *testing.T) { presencetest.Run(t, withMemory) }
func TestRedis(t *testing.T)  { presencetest.Run(t, withRedis) }

// withMemory runs a test on a cluster in memory, in a bubble.
func withMemory(t *testing.T, test func(*testing.T, presencetest.Cluster)) {
	synctest.Test(t, func(t *testing.T) { test(t, newMemory(t)) })
}

// memory is a cluster under test.
type memory struct {
	t         *testing.T
	m         *presence.Memory
	turnsOff  bool                                      // Fixed before use, as is carry: see Gate.
	carry     func(payload []byte) [][]byte             // what observers hear of a change, if not the change
	records   func([]presence.Record) []presence.Record // what the journal tells, if not what it has
	mu        sync.Mutex
	observers map[string][]*presencetest.Observer // Guarded by mu. By topic.
}

func newMemory(t *testing.T) *memory {
	c := &memory{t: t, m: presence.NewMemory(), observers: map[string][]*presencetest.Observer{}}
	c.m.Journal(presencetest.Keep) // from the first change on
	return c
}

func (c *memory) notify(topic string, payload []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	payloads := [][]byte{payload}
	if c.carry != nil {
		payloads = c.carry(payload)
	}
	for _, o := range c.observers[topic] {
		for _, p := range payloads {
			o.Hear(p)
		}
	}
}

func (c *memory) Attach() presencetest.Node {
	return startNode(c.t, c.m.Attach("", c.notify), c.turnsOff, 2*time.Second, func() {})
}

func (c *memory) Observe(topic string) *presencetest.Observer {
	o := presencetest.NewObserver(topic, c.m.Attach("", c.notify).Roster)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.observers[topic] = append(c.observers[topic], o)
	return o
}

func (c *memory) Journal() presence.Journal {
	j := c.m.Journal(presencetest.Keep)
	if c.records != nil {
		return badJournal{j, c.records}
	}
	return j
}

// badJournal tells other records than there are.
type badJournal struct {
	presence.Journal
	change func([]presence.Record) []presence.Record
}

func (j badJournal) Pending(ctx context.Context) ([]presence.Record, error) {
	records, err := j.Journal.Pending(ctx)
	j.Journal.Told(ctx, records)
	return j.change(records), err
}

func (c *memory) Lose()       { c.m.Lose() }
func (c *memory) Exact() bool { return true }
func (c *memory) Timing() presence.Timing {
	return presence.Timing{Lease: 4 * time.Second, Renew: time.Second, Margin: 1500 * time.Millisecond, Serving: 5 * time.Second}
}

// node is a node under test, behind a gate.
type node struct {
	presence.Presence
	gate  presence.Gate
	late  time.Duration
	crash func()
}

// startNode runs p until it crashes, or the test ends; then it calls done.
func startNode(t *testing.T, p presence.Presence, turnsOff bool, late time.Duration, done func()) *node {
	n := &node{Presence: p, late: late}
	n.gate.TurnsOff = turnsOff
	n.gate.Through(p)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := p.Run(ctx); err != nil {
			t.Error(err)
		}
	}()
	n.crash = func() {
		cancel()
		<-ended
	}
	t.Cleanup(func() {
		n.crash()
		n.gate.Settle()
		done()
	})
	return n
}

func (n *node) Crash()  { n.crash() }
func (n *node) Pause()  { n.gate.Close() }
func (n *node) Resume() { n.gate.Open() }
func (n *node) Flaky(r *rand.Rand) {
	n.gate.Flaky(r, n.late)
	if r == nil {
		n.gate.Settle()
	}
}
