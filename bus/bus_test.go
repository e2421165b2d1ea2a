package bus_test

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"github.com/rookery-chat/rookery/bus"
	"github.com/rookery-chat/rookery/bus/bustest"
	"github.com/rookery-chat/rookery/internal/redistest"
)

func TestMain(m *testing.M) {
	redis.SetLogger(quiet{}) // it tells of each refused dial
	goleak.VerifyTestMain(m)
}

type quiet struct{}

func (quiet) Printf(context.Context, string, ...any) {}

func TestMemory(t *testing.T)       { bustest.Run(t, newMemory) }
func TestRedis(t *testing.T)        { bustest.Run(t, newRedis) }
func TestRedisCluster(t *testing.T) { bustest.Run(t, newSlots(t)) }

type memoryCluster struct{ *bus.Memory }

func newMemory(t *testing.T, opts *bus.Options) bustest.Cluster {
	return memoryCluster{bus.NewMemory(opts)}
}

func (c memoryCluster) Attach(t *testing.T) bus.Bus                  { return c.Memory.Attach() }
func (c memoryCluster) Cut(t *testing.T, b bus.Bus) (restore func()) { return c.Memory.Cut(b) }

func (c memoryCluster) Restart(t *testing.T, keep bool) {
	if keep {
		c.Failover(0)
	} else {
		c.Memory.Restart()
	}
}

// A redisCluster is one redis-server that hands everything to the kernel at once, and so
// loses nothing when it is killed (with fsync, it would wait for the disk while it keeps on).
type redisCluster struct {
	*redistest.Server
	opts *bus.Options
}

func newRedis(t *testing.T, opts *bus.Options) bustest.Cluster {
	return redisCluster{redistest.Start(t, "--appendonly", "yes", "--appendfsync", "no"), opts}
}

func (c redisCluster) Attach(t *testing.T) bus.Bus {
	return bus.NewRedis(client(t, c.Server), logged(t, c.opts))
}

// logged returns opts with a logger that writes into the test's output.
func logged(t testing.TB, opts *bus.Options) *bus.Options {
	var o bus.Options
	if opts != nil {
		o = *opts
	}
	o.Logger = slog.New(slog.NewTextHandler(t.Output(), nil))
	return &o
}

// Cut forbids new subscriptions, and ends the connection that b has.
func (c redisCluster) Cut(t *testing.T, b bus.Bus) (restore func()) {
	r := client(t, c.Server)
	do(t, r, "acl", "setuser", "default", "-ssubscribe")
	for _, conn := range b.(*bus.Redis).Connections() {
		do(t, r, "client", "kill", "id", conn.ID)
	}
	return sync.OnceFunc(func() { do(t, r, "acl", "setuser", "default", "+ssubscribe") })
}

func (c redisCluster) Restart(t *testing.T, keep bool) {
	c.Kill()
	if !keep {
		if err := os.RemoveAll(filepath.Join(c.Dir, "appendonlydir")); err != nil {
			t.Fatal(err)
		}
	}
	c.Server.Restart()
}

// client returns a client that is closed when the test ends.
func client(t testing.TB, s *redistest.Server) redis.UniversalClient {
	t.Helper()
	opts, err := bus.ParseURLs([]string{s.URL()})
	if err != nil {
		t.Fatal(err)
	}
	c := redis.NewUniversalClient(opts)
	t.Cleanup(func() { c.Close() })
	return c
}

func do(t testing.TB, c redis.UniversalClient, args ...any) any {
	t.Helper()
	answer, err := c.Do(t.Context(), args...).Result()
	if err != nil {
		t.Fatalf("%v: %v", args, err)
	}
	return answer
}
