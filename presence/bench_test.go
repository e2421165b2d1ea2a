package presence_test

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/rookery-chat/rookery/internal/redistest"
	"github.com/rookery-chat/rookery/presence"
)

// BenchmarkStorm has 10,000 users come at once, each to * and to a room of ten. It tells
// the CPU time of this process and of Redis.
func BenchmarkStorm(b *testing.B) {
	s := redistest.Start(b)
	rdb := redis.NewClient(&redis.Options{Addr: s.Addr, MaxRetries: -1, ContextTimeoutEnabled: true})
	defer rdb.Close()
	const users = 10_000
	var scripts uint64
	var own, server time.Duration
	for b.Loop() {
		b.StopTimer()
		rdb.FlushAll(b.Context())
		ctx, stop := context.WithCancel(context.Background())
		p := presence.NewRedis(rdb, live, nil)
		done := make(chan error)
		go func() { done <- p.Run(ctx) }()
		if err := p.Join(ctx, "*", "first"); err != nil {
			b.Fatal(err)
		}
		own0, server0 := ownCPU(b), serverCPU(b, rdb)
		b.StartTimer()
		var wg sync.WaitGroup
		for i := range users {
			wg.Go(func() {
				user := "user" + strconv.Itoa(i)
				if p.Join(ctx, "*", user) != nil || p.Join(ctx, "room"+strconv.Itoa(i/10), user) != nil {
					b.Error("a join failed")
				}
			})
		}
		wg.Wait()
		b.StopTimer()
		own, server = own+ownCPU(b)-own0, server+serverCPU(b, rdb)-server0
		scripts += p.Stats().Scripts
		stop()
		<-done
		b.StartTimer()
	}
	joins := float64(b.N) * 2 * users
	b.ReportMetric(float64(b.Elapsed().Microseconds())/joins, "µs/join")
	b.ReportMetric(float64(own.Microseconds())/joins, "cpu-µs/join")
	b.ReportMetric(float64(server.Microseconds())/joins, "redis-cpu-µs/join")
	b.ReportMetric(float64(scripts)/joins, "scripts/join")
}

func ownCPU(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func serverCPU(b *testing.B, rdb *redis.Client) (cpu time.Duration) {
	info, err := rdb.Info(b.Context(), "cpu").Result()
	if err != nil {
		b.Fatal(err)
	}
	for line := range strings.Lines(info) {
		var seconds float64
		if _, err := fmt.Sscanf(line, "used_cpu_sys:%f", &seconds); err == nil {
			cpu += time.Duration(seconds * 1e9)
		}
		if _, err := fmt.Sscanf(line, "used_cpu_user:%f", &seconds); err == nil {
			cpu += time.Duration(seconds * 1e9)
		}
	}
	return cpu
}
