// Command suite runs every scenario of rookery bench against two nodes and a Redis that it starts, and writes what it
// found beside the budgets into docs/benchmarks.md. With the argument growth it measures how cost grows with nodes, topics and
// people, and writes that part of the page. With BENCH=quick it does less, and prints only.
package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

type suite struct {
	quick  bool
	dir    string // of what is needed while it runs
	binary string
	rows   []row
	faults []string // of deliveries
	begun  time.Time
	limits limits  // what auth and limits cost
	bare   float64 // µs a delivery of the baseline's fan-out; 0 before it is measured

	mu    sync.Mutex // guards counting in grown, while nodes are asked whether they are ready
	grown growth
}

// A row is one budget, or one figure without a budget.
type row struct {
	what    string
	command string
	unit    string
	budget  float64 // 0: none
	atLeast bool    // the budget is a least, not a most
	runs    []float64
	bare    []float64 // of the baseline; nil: not measured
}

// limits are medians of µs a delivery, in runs that took turns.
type limits struct {
	with, without             float64
	withRuns, withoutRuns     []float64
	withCommand, otherCommand string
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	s := &suite{quick: os.Getenv("BENCH") == "quick", begun: time.Now()}
	var err error
	if s.dir, err = os.MkdirTemp("", "rookery-bench-"); err != nil {
		return err
	}
	defer os.RemoveAll(s.dir)
	s.binary = filepath.Join(s.dir, "rookery")
	build := exec.CommandContext(ctx, "go", "build", "-o", s.binary, "./cmd/rookery")
	build.Stderr = os.Stderr
	if err := build.Run(); err != nil {
		return fmt.Errorf("go build: %w", err)
	}
	before, err := machineBusy()
	if err != nil {
		return err
	}
	grows := len(os.Args) > 1 && os.Args[1] == "growth"
	measures := []func(context.Context) error{s.fanout, s.saturated, s.rooms, s.connect, s.resume, s.churn, s.authAndLimits, s.idle}
	if grows {
		measures = []func(context.Context) error{s.growth}
	}
	for _, measure := range measures {
		if err := measure(ctx); err != nil {
			return err
		}
	}
	after, err := machineBusy()
	if err != nil {
		return err
	}
	const page = "docs/benchmarks.md"
	old, err := os.ReadFile(page)
	if err != nil {
		return err
	}
	text := ""
	switch others := after.others(before); {
	case !grows:
		text = withGrowth(s.document(others), growthOf(string(old)))
	case s.quick:
		text = s.growthSection(others)
	default:
		if err := s.drawNodes(); err != nil {
			return err
		}
		text = withGrowth(string(old), s.growthSection(others))
	}
	if s.quick {
		fmt.Print(text)
		return nil
	}
	return os.WriteFile(page, []byte(text), 0o644)
}

// pick chooses by how much is wanted.
func pick[T any](s *suite, full, quick T) T {
	if s.quick {
		return quick
	}
	return full
}

// beside measures the nodes and the baseline in turns, and returns all runs of each of the values.
func (s *suite) beside(ctx context.Context, command string, values ...string) (nodes, bare [][]float64, err error) {
	rookery, err := s.startCluster(ctx)
	if err != nil {
		return nil, nil, err
	}
	defer rookery.stop()
	baseline, err := s.startBaseline(ctx)
	if err != nil {
		return nil, nil, err
	}
	defer baseline.stop()
	found := [2][][]float64{make([][]float64, len(values)), make([][]float64, len(values))}
	for range pick(s, 3, 1) {
		for i, c := range []*cluster{rookery, baseline} {
			r, err := s.bench(ctx, c, strings.Fields(command)...)
			if err != nil {
				return nil, nil, err
			}
			for v, name := range values {
				found[i][v] = append(found[i][v], r.number(name))
			}
		}
	}
	return found[0], found[1], nil
}

func median(of []float64) float64 {
	sorted := slices.Sorted(slices.Values(of))
	return sorted[len(sorted)/2]
}

const (
	perDelivery = "server_cpu_us_per_delivery"
	perSecond   = "deliveries_per_second"
	p99         = "latency_p99_ms"
)

func (s *suite) add(r row) { s.rows = append(s.rows, r) }

func (s *suite) fanout(ctx context.Context) error {
	command := "fanout --duration " + pick(s, "5s", "2s")
	nodes, bare, err := s.beside(ctx, command, perDelivery, p99)
	if err != nil {
		return err
	}
	s.bare = median(bare[0])
	s.add(row{"fan-out 1→1000 at 50 messages a second", command, "µs a delivery", 6, false, nodes[0], bare[0]})
	s.add(row{"… its 99th percentile of latency", command, "ms", 0, false, nodes[1], bare[1]})
	return nil
}

func (s *suite) saturated(ctx context.Context) error {
	command := "fanout --saturate --duration " + pick(s, "5s", "2s")
	nodes, bare, err := s.beside(ctx, command, perSecond, perDelivery)
	if err != nil {
		return err
	}
	s.add(row{"fan-out saturated, 99th percentile below 250 ms", command, "deliveries/s", 900_000, true, nodes[0], bare[0]})
	s.add(row{"… its cost", command, "µs a delivery", 1.5, false, nodes[1], bare[1]})
	return nil
}

func (s *suite) rooms(ctx context.Context) error {
	for _, r := range []struct {
		rate   int
		budget float64
	}{{400, 26}, {4000, 12}} {
		command := fmt.Sprintf("rooms --rate %d --duration %s", r.rate, pick(s, "5s", "2s"))
		nodes, bare, err := s.beside(ctx, command, perDelivery)
		if err != nil {
			return err
		}
		s.add(row{fmt.Sprintf("200 rooms of 10 at %d messages a second", r.rate), command, "µs a delivery", r.budget, false, nodes[0], bare[0]})
	}
	return nil
}

func (s *suite) connect(ctx context.Context) error {
	command := fmt.Sprintf("connect --sessions %d --rate 2000", pick(s, 4000, 1000))
	nodes, bare, err := s.beside(ctx, command, "server_cpu_us_per_connection", "welcome_p99_ms")
	if err != nil {
		return err
	}
	s.add(row{"connect, hello, welcome", command, "µs a connection", 80, false, nodes[0], bare[0]})
	s.add(row{"… its 99th percentile of time", command, "ms", 0, false, nodes[1], bare[1]})
	return nil
}

// alone measures fresh nodes once.
func (s *suite) alone(ctx context.Context, command string, then func(c *cluster, r result) error) error {
	c, err := s.startCluster(ctx)
	if err != nil {
		return err
	}
	defer c.stop()
	r, err := s.bench(ctx, c, strings.Fields(command)...)
	if err != nil {
		return err
	}
	return then(c, r)
}

func (s *suite) resume(ctx context.Context) error {
	command := fmt.Sprintf("resume --sessions %d", pick(s, 5000, 1000))
	return s.alone(ctx, command, func(c *cluster, r result) error {
		reads, err := c.metric("rookery_log_reads_total")
		if err != nil {
			return err
		}
		s.add(row{"all sessions of 10 rooms resume at once with 20 messages missed: the 99th percentile is level after", command, "ms", 0, false, []float64{r.number("time_to_level_p99_ms")}, nil})
		s.add(row{"… their reads of logs, of both nodes together", command, "reads", 0, false, []float64{reads}, nil})
		s.add(row{"… their cost, connecting included", command, "µs a delivery", 0, false, []float64{r.number(perDelivery)}, nil})
		return nil
	})
}

func (s *suite) churn(ctx context.Context) error {
	command := "presence-churn --duration " + pick(s, "10s", "3s")
	return s.alone(ctx, command, func(_ *cluster, r result) error {
		s.add(row{"200 joins and leaves a second before 500 members", command, "µs a change", 0, false, []float64{r.number("server_cpu_us_per_change")}, nil})
		s.add(row{"… frames for each change and member", command, "frames", 0, false, []float64{r.number("frames_per_change_and_member")}, nil})
		s.add(row{"… seen after, 99th percentile", command, "ms", 0, false, []float64{r.number("seen_p99_ms")}, nil})
		return nil
	})
}

// idle measures the nodes and the baseline once each, because that takes minutes.
func (s *suite) idle(ctx context.Context) error {
	count := pick(s, 10_000, 1000)
	command := fmt.Sprintf("idle --sessions %d --settle %s --duration %s", count, pick(s, "55s", "3s"), pick(s, "60s", "5s"))
	bare, err := s.bareIdle(ctx, command)
	if err != nil {
		return err
	}
	return s.alone(ctx, command, func(_ *cluster, r result) error {
		s.add(row{"memory of an idle connection", command, "KiB", 10, false, []float64{r.number("server_rss_kib_per_connection")}, nil})
		s.add(row{"… Redis's share", command, "KiB", 0, false, []float64{r.number("redis_rss_kib_per_connection")}, nil})
		used := r.number("server_cpu_s_per_minute") + r.number("redis_cpu_s_per_minute")
		s.add(row{"CPU of " + figure(float64(count)) + " idle connections with their heartbeats, nodes and Redis", command, "s a minute", 0.6, false, []float64{used}, []float64{bare}})
		return nil
	})
}

// bareIdle is what idle connections cost the baseline, in seconds of CPU a minute.
func (s *suite) bareIdle(ctx context.Context, command string) (float64, error) {
	baseline, err := s.startBaseline(ctx)
	if err != nil {
		return 0, err
	}
	defer baseline.stop()
	r, err := s.bench(ctx, baseline, strings.Fields(command)...)
	if err != nil {
		return 0, err
	}
	return r.number("server_cpu_s_per_minute"), nil
}

// authAndLimits compares nodes that want tokens and have their limits with nodes that want none and never reach theirs.
func (s *suite) authAndLimits(ctx context.Context) error {
	const secret = "a secret of at least 32 bytes, for HS256"
	const plenty = "1000000000"
	with, err := s.startCluster(ctx, "--auth-secret="+secret)
	if err != nil {
		return err
	}
	defer with.stop()
	without, err := s.startCluster(ctx, "--limit-frames="+plenty, "--limit-bytes="+plenty, "--limit-publishes="+plenty, "--limit-topics="+plenty, "--limit-sessions="+plenty, "--handshakes="+plenty)
	if err != nil {
		return err
	}
	defer without.stop()
	command := []string{"fanout", "--duration", pick(s, "5s", "2s")}
	l := &s.limits
	for range pick(s, 5, 1) {
		r, err := s.bench(ctx, with, append(command, "--auth-secret="+secret)...)
		if err != nil {
			return err
		}
		l.withRuns = append(l.withRuns, r.number(perDelivery))
		if r, err = s.bench(ctx, without, command...); err != nil {
			return err
		}
		l.withoutRuns = append(l.withoutRuns, r.number(perDelivery))
	}
	l.with, l.without = median(l.withRuns), median(l.withoutRuns)
	l.otherCommand = strings.Join(command, " ")
	l.withCommand = l.otherCommand + " --auth-secret SECRET"
	return nil
}
