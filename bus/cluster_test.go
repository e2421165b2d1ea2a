package bus_test

import (
	"strings"
	"testing"

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
