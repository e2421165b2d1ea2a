package bench_test

import (
	"context"
	"net"
	"testing"
	"time"

	"github.com/rookery-chat/rookery/bench"
)

// The baseline does what a scenario needs, with every delivery counted as at a node.
func TestBaseline(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- bench.Baseline(ctx, l) }()
	opts := &bench.Options{URLs: []string{"ws://" + l.Addr().String()}, UserPrefix: "bench"}
	found := measure(t, &bench.Fanout{Subscribers: 20, Rate: 40, Duration: time.Second, Payload: 128}, opts)
	exactly(t, found, map[string]float64{"published": 80, "deliveries_expected": 1600, "deliveries_received": 1600, "deliveries_measured": 800, "deliveries_missing": 0})
	found = measure(t, &bench.Rooms{Rooms: 5, Members: 4, Rate: 50, Duration: time.Second, Payload: 128}, opts)
	exactly(t, found, map[string]float64{"published": 100, "deliveries_expected": 400, "deliveries_received": 400, "deliveries_measured": 200, "deliveries_missing": 0})
	found = measure(t, &bench.Connect{Sessions: 30, AtOnce: 10}, opts)
	exactly(t, found, map[string]float64{"sessions": 30})
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
