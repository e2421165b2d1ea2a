package bench_test

import (
	"testing"
	"time"

	"github.com/rookery-chat/rookery/bench"
	"github.com/rookery-chat/rookery/node"
)

// What one session publishes, every subscriber on every node gets, and each of them is counted.
func TestFanout(t *testing.T) {
	t.Parallel()
	found := measure(t, &bench.Fanout{Subscribers: 50, Rate: 40, Duration: time.Second, Payload: 128},
		&bench.Options{URLs: serve(t, 2, nil), UserPrefix: "bench"})
	exactly(t, found, map[string]float64{
		"sessions": 51, "published": 80, // a second to warm up, and one to measure
		"deliveries_expected": 80 * 50, "deliveries_received": 80 * 50, "deliveries_measured": 40 * 50,
		"deliveries_doubled": 0, "deliveries_missing": 0, "deliveries_disordered": 0,
	})
	if found["latency_p50_ms"] <= 0 || found["latency_p99_ms"] < found["latency_p50_ms"] || found["latency_max_ms"] > 60_000 {
		t.Errorf("latencies of nobody's messages: %v", found)
	}
}

// unlimited lets sessions do all that the machine can.
var unlimited = node.Limits{Frames: 1e9, Bytes: 1e9, Publishes: 1e9}

// Several sessions publish as fast as it arrives, and nothing is lost.
func TestSaturate(t *testing.T) {
	t.Parallel()
	found := measure(t, &bench.Fanout{Subscribers: 20, Rate: 1, Duration: time.Second, Payload: 32, Saturate: true, Bound: time.Second},
		&bench.Options{URLs: serve(t, 2, &node.Options{Limits: unlimited}), UserPrefix: "bench"})
	if found["published"] < 100 || found["deliveries_received"] != found["deliveries_expected"] || found["window"] < 1 {
		t.Errorf("found %v", found)
	}
}
