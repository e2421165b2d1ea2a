package bus_test

import (
	"bytes"
	"fmt"
	"runtime"
	"testing"

	"github.com/rookery-chat/rookery/bus"
	"github.com/rookery-chat/rookery/internal/redistest"
)

// BenchmarkPublish publishes 128 bytes from 100 goroutines to 100 topics that nobody hears.
func BenchmarkPublish(b *testing.B) {
	for _, keyed := range []bool{false, true} {
		b.Run(fmt.Sprintf("keyed=%v", keyed), func(b *testing.B) {
			r := bus.NewRedis(client(b, redistest.Start(b)), nil)
			benchmarkPublish(b, r, keyed)
		})
	}
	b.Run("memory", func(b *testing.B) { benchmarkPublish(b, bus.NewMemory(nil).Attach(), false) })
}

func benchmarkPublish(b *testing.B, bs bus.Bus, keyed bool) {
	payload := bytes.Repeat([]byte("x"), 128)
	next := make(chan int, 100)
	for i := range cap(next) {
		next <- i
	}
	b.SetParallelism(100 / runtime.GOMAXPROCS(0))
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		me := <-next
		topic := fmt.Sprint("room ", me)
		for n := 0; pb.Next(); n++ {
			d := bus.Draft{Payload: payload}
			if keyed {
				d.User, d.Key = "alice", fmt.Sprint(me, n)
			}
			if _, err := bs.Publish(b.Context(), topic, d); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "publishes/s")
}
