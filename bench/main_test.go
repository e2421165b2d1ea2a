package bench_test

import (
	"context"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/rookery-chat/rookery/bench"
	"github.com/rookery-chat/rookery/bus"
	"github.com/rookery-chat/rookery/node"
	"github.com/rookery-chat/rookery/presence"
	"github.com/rookery-chat/rookery/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds every wait. It is only reached when something is wrong.
const patience = time.Minute

// serve runs count nodes on one bus until the test ends, and returns their URLs.
func serve(t *testing.T, count int, opts *node.Options) (urls []string) {
	t.Helper()
	memory, people, facts := bus.NewMemory(nil), presence.NewMemory(), store.NewMemory()
	for range count {
		o := node.Options{Drain: 2 * time.Second}
		if opts != nil {
			o = *opts
		}
		b := memory.Attach()
		p := people.Attach("", func(topic string, change []byte) { b.Signal(context.Background(), topic, change) })
		n := node.New(b, p, facts, &o)
		ctx, stop := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() { done <- n.Run(ctx) }()
		server := httptest.NewServer(n.Handler())
		t.Cleanup(func() {
			stop()
			if err := <-done; err != nil {
				t.Errorf("Run: %v", err)
			}
			server.Close()
		})
		urls = append(urls, "ws"+strings.TrimPrefix(server.URL, "http")+"/ws")
	}
	return urls
}

// A scenario is one of package bench.
type scenario interface {
	Run(ctx context.Context, opts *bench.Options) (*bench.Report, error)
}

// measure runs a scenario, which must find nothing wrong, and returns its values.
func measure(t *testing.T, s scenario, opts *bench.Options) map[string]float64 {
	t.Helper()
	ctx, stop := context.WithTimeout(t.Context(), patience)
	defer stop()
	r, err := s.Run(ctx, opts)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Err(); err != nil {
		t.Error(err)
	}
	return values(r)
}

func values(r *bench.Report) map[string]float64 {
	found := make(map[string]float64)
	for _, v := range r.Values {
		switch n := v.Value.(type) {
		case int:
			found[v.Name] = float64(n)
		case uint64:
			found[v.Name] = float64(n)
		case float64:
			found[v.Name] = n
		}
	}
	return found
}

// exactly compares some of the values.
func exactly(t *testing.T, found, want map[string]float64) {
	t.Helper()
	for name, n := range want {
		if got, ok := found[name]; !ok || got != n {
			t.Errorf("%s is %v (there: %v), want %v", name, got, ok, n)
		}
	}
}
