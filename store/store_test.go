package store_test

import (
	"testing"

	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"github.com/rookery-chat/rookery/internal/redistest"
	"github.com/rookery-chat/rookery/store"
	"github.com/rookery-chat/rookery/store/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestMemory(t *testing.T) { storetest.Run(t, memory) }
func TestRedis(t *testing.T)  { storetest.Run(t, inRedis(redistest.Start(t))) }

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

// dial returns a client of server that is closed when the test ends.
func dial(t *testing.T, server *redistest.Server) redis.UniversalClient {
	c := redis.NewClient(&redis.Options{Addr: server.Addr, MaxRetries: -1, DialerRetries: 1})
	t.Cleanup(func() { c.Close() })
	return c
}
