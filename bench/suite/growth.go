package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/procfs"

	"github.com/rookery-chat/rookery/bench"
)

// A growth is what was found about how cost grows.
type growth struct {
	nodes          []nodesFound
	deaf           deafFound
	topics, gather []result
	unready        int // times that a node was not, of asked
	asked          int
	publish, idle  result
	rooms          result
}

// nodesFound is of one number of nodes.
type nodesFound struct {
	count   int
	idle    result // before anybody came
	result  result
	leftOut float64 // how far a node's deliveries were from an even share, at most
}

// deafFound is of a node that has nobody in the rooms that others publish to.
type deafFound struct {
	quiet, busy float64 // its CPU seconds a minute
	heard       float64 // messages
	published   float64
}

const publishesBudget = 25_000 // a second, through one node into one Redis

// unlimited lets sessions do all that they can.
var unlimited = []string{"--limit-frames=1000000000", "--limit-bytes=1000000000", "--limit-publishes=1000000000", "--limit-topics=1000000000", "--handshakes=1000000000"}

func (s *suite) growth(ctx context.Context) error {
	for _, measure := range []func(context.Context) error{s.growNodes, s.growDeaf, s.growPublish, s.growGather, s.growRooms, s.growTopics, s.growIdle} {
		if err := measure(ctx); err != nil {
			return err
		}
	}
	return nil
}

// withNodes has a fresh cluster for as long as do runs.
func (s *suite) withNodes(ctx context.Context, count int, do func(c *cluster) error) error {
	c, err := s.startNodes(ctx, count, unlimited...)
	if err != nil {
		return err
	}
	defer c.stop()
	return do(c)
}

// on measures a fresh cluster once.
func (s *suite) on(ctx context.Context, nodes int, command string, then func(r result)) error {
	return s.withNodes(ctx, nodes, func(c *cluster) error {
		r, err := s.bench(ctx, c, strings.Fields(command)...)
		if err == nil {
			then(r)
		}
		return err
	})
}

// net is what of the commands of a publish nodes do not do each second anyway.
func (f *nodesFound) net(commands string) float64 {
	perSecond := f.result.number("publishes_measured") / f.result.number("seconds_measured")
	return f.result.number(commands+"_per_publish") - f.idle.number(commands+"_per_second")/perSecond
}

const growNodesCommand = "fanout --subscribers 799 --rate 50 --duration "

func (s *suite) growNodes(ctx context.Context) error {
	for _, count := range []int{1, 2, 4, 8} {
		err := s.withNodes(ctx, count, func(c *cluster) (err error) {
			f := nodesFound{count: count}
			if f.idle, err = s.bench(ctx, c, "idle", "--sessions=1", "--settle=2s", "--duration="+pick(s, "6s", "2s")); err != nil {
				return err
			}
			if f.result, err = s.bench(ctx, c, strings.Fields(growNodesCommand+pick(s, "8s", "2s"))...); err != nil {
				return err
			}
			sum, err := c.metric("rookery_deliveries_total")
			if err != nil {
				return err
			}
			for _, n := range c.nodes {
				one, err := (&cluster{nodes: []*process{n}}).metric("rookery_deliveries_total")
				if err != nil {
					return err
				}
				share := one / sum * float64(count)
				f.leftOut = max(f.leftOut, share-1, 1-share)
			}
			s.grown.nodes = append(s.grown.nodes, f)
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *suite) growDeaf(ctx context.Context) error {
	c, err := s.startNodes(ctx, 2, unlimited...)
	if err != nil {
		return err
	}
	defer c.stop()
	hears, deaf := &cluster{redis: c.redis, url: c.url, nodes: c.nodes[:1]}, &cluster{nodes: c.nodes[1:]}
	perMinute := func(do func() error) (float64, error) {
		before, begun := cpu(deaf.nodes[0]), time.Now()
		err := do()
		return (cpu(deaf.nodes[0]) - before) / time.Since(begun).Minutes(), err
	}
	d := &s.grown.deaf
	if d.quiet, err = perMinute(func() error { return sleep(ctx, pick(s, 10*time.Second, 2*time.Second)) }); err != nil {
		return err
	}
	d.busy, err = perMinute(func() error {
		r, err := s.bench(ctx, hears, "rooms", "--rate=4000", "--duration="+pick(s, "8s", "2s"))
		if err == nil {
			d.published = r.number("published")
		}
		return err
	})
	if err != nil {
		return err
	}
	d.heard, err = deaf.metric("rookery_messages_received_total")
	return err
}

func cpu(p *process) float64 {
	proc, err := procfs.NewProc(p.cmd.Process.Pid)
	if err != nil {
		return 0
	}
	stat, err := proc.Stat()
	if err != nil {
		return 0
	}
	return stat.CPUTime()
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

func (s *suite) growPublish(ctx context.Context) error {
	return s.on(ctx, 1, "publish --sessions 100 --duration "+pick(s, "8s", "2s"), func(r result) { s.grown.publish = r })
}

func (s *suite) growGather(ctx context.Context) error {
	for _, people := range pick(s, []int{100, 1000, 10_000}, []int{100, 1000}) {
		c, err := s.startNodes(ctx, 2, unlimited...)
		if err != nil {
			return err
		}
		asking, stop := context.WithCancel(ctx)
		var asks sync.WaitGroup
		for _, n := range c.nodes {
			asks.Go(func() { s.askReady(asking, n) })
		}
		r, err := s.bench(ctx, c, "gather", fmt.Sprintf("--sessions=%d", people), "--within=10s")
		stop()
		asks.Wait()
		c.stop()
		if err != nil {
			return err
		}
		r["people"] = float64(people)
		s.grown.gather = append(s.grown.gather, r)
	}
	return nil
}

// askReady asks a node again and again whether it is ready.
func (s *suite) askReady(ctx context.Context, n *process) {
	for sleep(ctx, 250*time.Millisecond) == nil {
		r, err := direct.Get("http://" + n.admin + "/readyz")
		ready := err == nil && r.StatusCode == http.StatusOK
		if err == nil {
			r.Body.Close()
		}
		s.mu.Lock()
		s.grown.asked++
		if !ready {
			s.grown.unready++
		}
		s.mu.Unlock()
	}
}

func (s *suite) growRooms(ctx context.Context) error {
	return s.on(ctx, 2, "rooms --rate 4000 --duration "+pick(s, "8s", "2s"), func(r result) { s.grown.rooms = r })
}

func (s *suite) growTopics(ctx context.Context) error {
	for _, topics := range pick(s, []int{100, 1000, 10_000, 100_000}, []int{100, 1000}) {
		command := fmt.Sprintf("topics --topics %d --each 1000 --settle %s --duration %s", topics, pick(s, "5s", "1s"), pick(s, "16s", "2s"))
		err := s.on(ctx, 1, command, func(r result) { s.grown.topics = append(s.grown.topics, r) })
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *suite) growIdle(ctx context.Context) error {
	command := fmt.Sprintf("idle --sessions %d --members 10 --settle %s --duration %s", pick(s, 10_000, 1000), pick(s, "30s", "3s"), pick(s, "30s", "5s"))
	return s.on(ctx, 1, command, func(r result) {
		r["people"] = float64(pick(s, 10_000, 1000))
		s.grown.idle = r
	})
}

const nodesPlot = "docs/images/growth-nodes.svg"

// drawNodes draws the CPU time of a publish by nodes.
func (s *suite) drawNodes() error {
	p := bench.Plot{Title: "CPU of all nodes for a publish to 799 members, in ms"}
	for _, f := range s.grown.nodes {
		p.Names = append(p.Names, fmt.Sprint(f.count, " nodes"))
		p.Bars = append(p.Bars, f.result.number("server_cpu_us_per_publish")/1000)
	}
	p.Names[0] = "1 node"
	if err := os.MkdirAll(filepath.Dir(nodesPlot), 0o755); err != nil {
		return err
	}
	file, err := os.Create(nodesPlot)
	if err != nil {
		return err
	}
	defer file.Close()
	if err := p.WriteSVG(file); err != nil {
		return err
	}
	return file.Close()
}
