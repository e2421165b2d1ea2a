package presence_test

import (
	"context"
	"fmt"
	"hash/fnv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/rookery-chat/rookery/internal/redistest"
	"github.com/rookery-chat/rookery/presence"
	"github.com/rookery-chat/rookery/presence/presencetest"
)

// fast is a fifth of the usual: real servers know no other time than the real one.
var fast = presence.Timing{Lease: 800 * time.Millisecond, Renew: 200 * time.Millisecond, Margin: 300 * time.Millisecond, Serving: time.Second}

// live names the live channels as a bus might, in few partitions.
func live(topic string) (channel, prefix string) {
	h := fnv.New32a()
	h.Write([]byte(topic))
	return fmt.Sprintf("rookery:{p%d}:live:%s", h.Sum32()%4, topic), "s:"
}

// withRedis runs a test on a cluster that meets in one redis-server.
func withRedis(t *testing.T, test func(*testing.T, presencetest.Cluster)) {
	t.Parallel()
	test(t, newRedis(t, redistest.Start(t).Addr))
}

// cluster is a cluster under test that meets in Redis.
type cluster struct {
	t       *testing.T
	connect func() redis.UniversalClient
	rdb     redis.UniversalClient
	timing  presence.Timing
	nodes   int
}

func newRedis(t *testing.T, addr string) *cluster {
	return newCluster(t, func() redis.UniversalClient {
		return redis.NewClient(&redis.Options{Addr: addr, MaxRetries: -1, ContextTimeoutEnabled: true})
	})
}

func newCluster(t *testing.T, connect func() redis.UniversalClient) *cluster {
	c := &cluster{t: t, connect: connect, rdb: connect(), timing: fast}
	t.Cleanup(func() { c.rdb.Close() })
	return c
}

func (c *cluster) Attach() presencetest.Node {
	c.nodes++
	rdb := c.connect()
	p := presence.NewRedis(rdb, live, &presence.Options{ConnName: fmt.Sprint("node", c.nodes), Timing: &c.timing, Journal: presencetest.Keep})
	return startNode(c.t, p, false, c.timing.Lease/2, func() { rdb.Close() })
}

func (c *cluster) Timing() presence.Timing { return c.timing }
func (c *cluster) Exact() bool             { return false }

func (c *cluster) Lose() {
	if err := c.rdb.FlushAll(context.Background()).Err(); err != nil {
		c.t.Fatal(err)
	}
}

func (c *cluster) Journal() presence.Journal {
	return presence.NewJournal(c.rdb, []string{"{p0}", "{p1}", "{p2}", "{p3}"}, nil)
}

func (c *cluster) Observe(topic string) *presencetest.Observer {
	return c.observe(topic, presence.NewRedis(c.rdb, live, nil).Roster, nil)
}

// observe calls again, if that is not nil, whenever the subscription was made anew.
func (c *cluster) observe(topic string, read func(context.Context, string, string, int) (presence.Roster, error), again func()) *presencetest.Observer {
	o := presencetest.NewObserver(topic, read)
	channel, prefix := live(topic)
	ctx, cancel := context.WithCancel(context.Background())
	sub := c.rdb.SSubscribe(ctx, channel)
	if _, err := sub.Receive(ctx); err != nil {
		c.t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for ctx.Err() == nil {
			switch m, err := sub.Receive(ctx); m := m.(type) {
			case *redis.Message:
				o.Hear([]byte(strings.TrimPrefix(m.Payload, prefix)))
			case *redis.Subscription:
				if again != nil {
					again()
				}
			default:
				if err != nil {
					time.Sleep(10 * time.Millisecond)
				}
			}
		}
	})
	c.t.Cleanup(func() {
		cancel()
		sub.Close()
		wg.Wait()
	})
	return o
}
