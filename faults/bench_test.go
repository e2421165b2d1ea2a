package faults_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rookery-chat/rookery/internal/processtest"
	"github.com/rookery-chat/rookery/internal/redistest"
)

// rookery bench on real nodes: one line of JSON with exact counts and what processes used, a table beside it, a plot.
func TestBench(t *testing.T) {
	t.Parallel()
	redis := redistest.Start(t)
	flags := []string{"--redis-pid", strconv.Itoa(redis.Pid())}
	for range 2 {
		p := serve(t, redis)
		flags = append(flags, "--url", p.URL(), "--pid", strconv.Itoa(p.Cmd.Process.Pid))
	}
	svg := filepath.Join(t.TempDir(), "latency.svg")
	found := benchmark(t, "fanout", append(flags, "--subscribers=40", "--rate=50", "--duration=1s", "--svg="+svg)...)
	for name, n := range map[string]float64{
		"subscribers": 40, "rate": 50, "sessions": 41, "published": 100, "deliveries_expected": 4000, "deliveries_received": 4000,
		"deliveries_measured": 2000, "deliveries_doubled": 0, "deliveries_missing": 0, "deliveries_disordered": 0,
	} {
		if found[name] != n {
			t.Errorf("%s is %v, want %v", name, found[name], n)
		}
	}
	for _, name := range []string{"server_cpu_us_per_delivery", "redis_cpu_us_per_delivery", "bench_cpu_us_per_delivery", "latency_p99_ms"} {
		if _, ok := found[name].(float64); !ok {
			t.Errorf("%s is missing in %v", name, found)
		}
	}
	if text, err := os.ReadFile(svg); err != nil || !bytes.Contains(text, []byte("</svg>")) {
		t.Errorf("plot: %v, %s", err, text)
	}
	if found := benchmark(t, "resume", append(flags, "--sessions=60", "--rooms=3", "--missed=5")...); found["deliveries_received"] != 360.0 || found["sessions_level"] != 60.0 {
		t.Errorf("resume: %v", found)
	}
	if found := benchmark(t, "presence-churn", append(flags, "--members=10", "--churners=20", "--rate=100", "--duration=1s")...); found["members_wrong_at_the_end"] != 0.0 || found["changes"] != 120.0 {
		t.Errorf("presence: %v", found)
	}
	found = benchmark(t, "idle", append(flags, "--sessions=300", "--settle=1s", "--duration=1s")...)
	if kib, ok := found["server_rss_kib_per_connection"].(float64); !ok || kib < 0 || kib > 200 {
		t.Errorf("idle: %v", found)
	}
}

// benchCommand is rookery bench with a scenario and flags.
func benchCommand(t *testing.T, scenario string, flags ...string) *exec.Cmd {
	return exec.Command(processtest.Rookery(t), append([]string{"bench", scenario, "--json"}, flags...)...)
}

// benchmark runs rookery bench, which must find nothing wrong.
func benchmark(t *testing.T, scenario string, flags ...string) map[string]any {
	t.Helper()
	cmd := benchCommand(t, scenario, flags...)
	var table strings.Builder
	cmd.Stderr = &table
	out, err := cmd.Output()
	var found map[string]any
	if e := json.Unmarshal(out, &found); err != nil || e != nil || bytes.Count(out, []byte("\n")) != 1 {
		t.Fatalf("%v: %v, %v: %s\n%s", cmd.Args[1:], err, e, out, &table)
	}
	if !strings.Contains(table.String(), fmt.Sprint(found["sessions"])) {
		t.Errorf("no table: %s", &table)
	}
	return found
}

// An interrupted benchmark tells what there was until then.
func TestBenchInterrupted(t *testing.T) {
	t.Parallel()
	p := serve(t, nil)
	cmd := benchCommand(t, "fanout", "--subscribers=5", "--duration=1h", "--url="+p.URL())
	var out, table strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &table
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	await(t, "deliveries", func() bool { return p.Metric("rookery_deliveries_total") > 500 }) // past the second of warming up
	cmd.Process.Signal(syscall.SIGINT)
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	select {
	case err := <-done:
		if err != nil || !strings.Contains(out.String(), `"interrupted":true`) || !strings.Contains(table.String(), "interrupted") {
			t.Errorf("%v: %s\n%s", err, &out, &table)
		}
	case <-time.After(patience):
		cmd.Process.Kill()
		t.Error("it does not end")
	}
}
