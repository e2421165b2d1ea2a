package bus_test

import (
	"context"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/rookery-chat/rookery/bus"
	"github.com/rookery-chat/rookery/bus/bustest"
	"github.com/rookery-chat/rookery/internal/redistest"
)

// newSlots returns what makes a Redis Cluster of one server. Such a server serves 2 s
// after its start at the earliest, so some are started in advance.
func newSlots(t *testing.T) func(*testing.T, *bus.Options) bustest.Cluster {
	started := make(chan *redistest.Server, 24)
	for range cap(started) {
		started <- startSlots(t)
	}
	return func(t *testing.T, opts *bus.Options) bustest.Cluster {
		var s *redistest.Server
		select {
		case s = <-started:
		default:
			s = startSlots(t)
		}
		clusterUp(t, client(t, s))
		return slotsCluster{redisCluster{s, opts}}
	}
}

func startSlots(t *testing.T) *redistest.Server {
	s := redistest.Start(t, "--cluster-enabled", "yes", "--appendonly", "yes", "--appendfsync", "no")
	do(t, client(t, s), "cluster", "addslotsrange", 0, 16383)
	return s
}

// A slotsCluster is one redis-server that owns all slots.
type slotsCluster struct{ redisCluster }

func (c slotsCluster) Attach(t *testing.T) bus.Bus {
	return bus.NewRedis(clusterClient(t, c.Server), logged(t, c.opts))
}

func (c slotsCluster) Restart(t *testing.T, keep bool) {
	c.redisCluster.Restart(t, keep)
	clusterUp(t, client(t, c.Server))
}

func clusterUp(t *testing.T, c redis.UniversalClient) {
	t.Helper()
	eventually(t, "the cluster is up", func() bool {
		return strings.Contains(do(t, c, "cluster", "info").(string), "cluster_state:ok")
	})
}

func clusterClient(t *testing.T, s *redistest.Server) redis.UniversalClient {
	t.Helper()
	opts, err := bus.ParseURLs([]string{"redis+cluster://" + s.Addr})
	if err != nil {
		t.Fatal(err)
	}
	c := redis.NewUniversalClient(opts)
	t.Cleanup(func() { c.Close() })
	return c
}

// A slot moves to another server while its topic is in use.
func TestSlotMoves(t *testing.T) {
	t.Parallel()
	a, b := redistest.Start(t, "--cluster-enabled", "yes"), redistest.Start(t, "--cluster-enabled", "yes")
	onA, onB := client(t, a), client(t, b)
	do(t, onA, "cluster", "addslotsrange", 0, 8191)
	do(t, onB, "cluster", "addslotsrange", 8192, 16383)
	host, port, _ := net.SplitHostPort(b.Addr)
	do(t, onA, "cluster", "meet", host, port)
	for _, c := range []redis.UniversalClient{onA, onB} {
		eventually(t, "the cluster is up", func() bool {
			state := do(t, c, "cluster", "info").(string)
			return strings.Contains(state, "cluster_state:ok") && strings.Contains(state, "cluster_size:2")
		})
	}

	node, heard := attach(t, clusterClient(t, a), &bus.Options{LogLength: 1_000_000}, "lobby", "@alice", "*")
	topic := "@alice"
	slot := 256*bus.PartitionOf(topic) + 128
	if slot > 8191 {
		t.Fatalf("%s is not on the first server", topic)
	}
	quit, last := make(chan struct{}), make(chan bus.Receipt)
	go func() {
		var r bus.Receipt
		for n := 0; ; n++ {
			select {
			case <-quit:
				last <- r
				return
			default:
			}
			var err error
			if r, err = node.Publish(context.Background(), topic, bus.Draft{Payload: []byte(`{}`)}); err != nil {
				t.Errorf("Publish: %v", err)
			}
		}
	}()
	heard.WaitAt(t, topic, 10)

	idA, idB := do(t, onA, "cluster", "myid"), do(t, onB, "cluster", "myid")
	do(t, onB, "cluster", "setslot", slot, "importing", idA)
	do(t, onA, "cluster", "setslot", slot, "migrating", idB)
	for {
		keys := do(t, onA, "cluster", "getkeysinslot", slot, 1000).([]any)
		if len(keys) == 0 {
			break
		}
		do(t, onA, append([]any{"migrate", host, port, "", 0, 5000, "keys"}, keys...)...)
	}
	do(t, onB, "cluster", "setslot", slot, "node", idB)
	do(t, onA, "cluster", "setslot", slot, "node", idB)

	heard.Wait(t, topic, "a reset", func(h *bustest.Heard) bool { return len(h.Resets) == 1 })
	at := heard.Topic(topic).At.Offset
	heard.WaitAt(t, topic, at+10)
	close(quit)
	end := <-last
	heard.WaitAt(t, topic, end.Offset)
	h := heard.Topic(topic)
	if len(h.Messages) != int(end.Offset) || len(h.Resets) != 1 || !h.Resets[0].Recovered || h.Resets[0].Reason != "epoch" {
		t.Errorf("heard %d messages up to %d, and the resets %+v", len(h.Messages), end.Offset, h.Resets)
	}
	if h := heard.Topic("*"); len(h.Subscribed) != 1 && node.Stats().Reconnects == 1 {
		t.Error("a topic of another slot was interrupted")
	}
}

// A primary that stands still holds up its own topics, and no others: they are published to and heard on.
func TestFrozenPrimary(t *testing.T) {
	t.Parallel()
	c := redistest.StartCluster(t, 2, false, "--cluster-node-timeout", "30000")
	topic := func(half int) string {
		for i := 0; ; i++ {
			if name := fmt.Sprint("room ", i); bus.PartitionOf(name)/32 == half {
				return name
			}
		}
	}
	frozen, served := topic(0), topic(1)
	node, heard := attach(t, clusterClient(t, c.Servers[0]), nil, frozen, served)
	mustPublish(t, node, served, bus.Draft{})
	mustPublish(t, node, frozen, bus.Draft{})
	c.Servers[0].Pause()
	defer c.Servers[0].Continue()
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Second)
	defer cancel()
	var talking sync.WaitGroup
	for range 8 {
		talking.Go(func() {
			for ctx.Err() == nil {
				if _, err := node.Publish(ctx, frozen, bus.Draft{Payload: []byte(`{}`)}); err == nil {
					t.Error("a frozen primary took a message")
				}
			}
		})
	}
	time.Sleep(100 * time.Millisecond) // for these to be under way
	var last bus.Receipt
	n := 0
	for ; ctx.Err() == nil; n++ {
		if r, err := node.Publish(ctx, served, bus.Draft{Payload: []byte(`{}`)}); err == nil {
			last = r
		}
	}
	talking.Wait()
	if n < 20 { // each that waited for the frozen one would take seconds
		t.Errorf("only %d messages were published to the primary that serves", n)
	}
	heard.WaitAt(t, served, last.Offset)
	if h := heard.Topic(served); len(h.Subscribed) != 1 {
		t.Error("a topic of the primary that serves was interrupted")
	}
	t.Logf("%d messages meanwhile", n)
}
