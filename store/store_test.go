package store_test

import (
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"github.com/rookery-chat/rookery/internal/redistest"
	"github.com/rookery-chat/rookery/store"
	"github.com/rookery-chat/rookery/store/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestMemory(t *testing.T)  { storetest.Run(t, memory) }
func TestRedis(t *testing.T)   { storetest.Run(t, inRedis(redistest.Start(t))) }
func TestCluster(t *testing.T) { storetest.Run(t, inCluster(startCluster(t))) }

func memory(t *testing.T) func() store.Store {
	m := store.NewMemory()
	return func() store.Store { return m }
}

// inRedis opens stores that share one server, each under a prefix of its own.
func inRedis(server *redistest.Server) func(t *testing.T) func() store.Store {
	return func(t *testing.T) func() store.Store {
		return func() store.Store { return store.NewRedis(dial(t, server), t.Name()+":") }
	}
}

// inCluster does so in a cluster.
func inCluster(server *redistest.Server) func(t *testing.T) func() store.Store {
	return func(t *testing.T) func() store.Store {
		return func() store.Store {
			c := redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{server.Addr}, MaxRetries: -1})
			t.Cleanup(func() { c.Close() })
			return store.NewRedis(c, t.Name()+":")
		}
	}
}

// startCluster runs a cluster of one server, which is as strict about slots as any.
func startCluster(t *testing.T) *redistest.Server {
	server := redistest.Start(t, "--cluster-enabled", "yes")
	c := dial(t, server)
	if err := c.ClusterAddSlotsRange(t.Context(), 0, 16383).Err(); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(time.Minute)
	for {
		info, err := c.ClusterInfo(t.Context()).Result()
		if err == nil && strings.Contains(info, "cluster_state:ok") {
			return server
		}
		if time.Now().After(deadline) {
			t.Fatalf("the cluster is not up: %v\n%s", err, info)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// dial returns a client of server that is closed when the test ends.
func dial(t *testing.T, server *redistest.Server) redis.UniversalClient {
	c := redis.NewClient(&redis.Options{Addr: server.Addr, MaxRetries: -1, DialerRetries: 1})
	t.Cleanup(func() { c.Close() })
	return c
}
