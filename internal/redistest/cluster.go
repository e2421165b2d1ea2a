package redistest

import (
	"context"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// primaries is how many a cluster has.
const primaries = 3

// StartCluster runs a Redis Cluster of three primaries without replicas until the test ends.
// It goes on without a primary that is killed.
func StartCluster(tb testing.TB) []*Server {
	tb.Helper()
	servers := make([]*Server, primaries)
	clients := make([]*redis.Client, primaries)
	var first, bus string // where the others meet the first
	for i := range servers {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			tb.Fatal(err)
		}
		_, port, _ := net.SplitHostPort(l.Addr().String())
		l.Close()
		servers[i] = Start(tb, "--cluster-enabled", "yes", "--cluster-port", port,
			"--cluster-node-timeout", "2000", "--cluster-require-full-coverage", "no")
		if i == 0 {
			_, first, _ = net.SplitHostPort(servers[0].Addr)
			bus = port
		}
		clients[i] = redis.NewClient(&redis.Options{Addr: servers[i].Addr})
		defer clients[i].Close()
	}
	const slots = 16384
	for i, c := range clients {
		from, to := i*slots/primaries, (i+1)*slots/primaries-1
		if err := c.ClusterAddSlotsRange(context.Background(), from, to).Err(); err != nil {
			tb.Fatal(err)
		}
		if err := c.Do(context.Background(), "CLUSTER", "MEET", "127.0.0.1", first, bus).Err(); err != nil {
			tb.Fatal(err)
		}
	}
	deadline := time.Now().Add(30 * time.Second)
	for _, c := range clients {
		for {
			info, err := c.ClusterInfo(context.Background()).Result()
			if strings.Contains(info, "cluster_state:ok") && strings.Contains(info, "cluster_slots_ok:16384") {
				break
			}
			if time.Now().After(deadline) {
				tb.Fatalf("the cluster does not come up: %s, %v", info, err)
			}
			time.Sleep(20 * time.Millisecond)
		}
	}
	return servers
}
