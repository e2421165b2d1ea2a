package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// A process is one server that a measurement needs.
type process struct {
	cmd    *exec.Cmd
	addr   string // host:port of the sessions
	admin  string // host:port
	exited chan struct{}
}

// start runs a program until stop, or until this one ends. One in Go has so many processors. line is called with what it says
// on standard error.
func start(line func(string), processors int, name string, args ...string) (*process, error) {
	p := &process{cmd: exec.Command(name, args...), exited: make(chan struct{})}
	p.cmd.Env = append(os.Environ(), "GOMAXPROCS="+strconv.Itoa(processors))
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	stderr, err := p.cmd.StderrPipe()
	if err != nil {
		return nil, err
	}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		for scan := bufio.NewScanner(stderr); scan.Scan(); {
			line(scan.Text())
		}
		p.cmd.Wait()
		close(p.exited)
	}()
	return p, nil
}

func (p *process) pid() string { return strconv.Itoa(p.cmd.Process.Pid) }

func (p *process) stop() {
	p.cmd.Process.Kill()
	<-p.exited
}

// A cluster is what is measured: nodes with their Redis, or the baseline alone.
type cluster struct {
	redis *process // nil: none
	url   string   // of redis
	nodes []*process
}

// startCluster runs two nodes and a Redis on free ports.
func (s *suite) startCluster(ctx context.Context, flags ...string) (*cluster, error) {
	return s.startNodes(ctx, 2, flags...)
}

func (s *suite) startNodes(ctx context.Context, count int, flags ...string) (*cluster, error) {
	port := strconv.Itoa(10_000 + rand.N(10_000))
	c := &cluster{url: "redis://127.0.0.1:" + port}
	var err error
	c.redis, err = start(func(string) {}, 1, "redis-server", "--bind", "127.0.0.1", "--port", port, "--dir", s.dir,
		"--save", "", "--appendonly", "no", "--maxmemory-policy", "noeviction")
	if err != nil {
		return nil, fmt.Errorf("redis-server: %w", err)
	}
	for range count {
		args := append([]string{"serve", "--redis=" + c.url, "--listen=127.0.0.1:0", "--admin=127.0.0.1:0", "--log-format=json"}, flags...)
		n, err := s.startServer(ctx, processorsEach(count), args...)
		if err != nil {
			c.stop()
			return nil, err
		}
		c.nodes = append(c.nodes, n)
	}
	for _, n := range c.nodes {
		if err := n.awaitReady(ctx); err != nil {
			c.stop()
			return nil, err
		}
	}
	select {
	case <-c.redis.exited:
		c.stop()
		return nil, fmt.Errorf("redis-server on port %s ended at once: is the port taken?", port)
	default:
		return c, nil
	}
}

// processorsEach is how many of the machine's processors each of some nodes has: as many as on a machine of
// its own with that much of this one.
func processorsEach(nodes int) int { return max(runtime.NumCPU()/nodes, 1) }

// startBaseline runs the baseline, with the processors of one of two nodes.
func (s *suite) startBaseline(ctx context.Context) (*cluster, error) {
	p, err := s.startServer(ctx, processorsEach(2), "bench", "baseline", "--listen=127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	return &cluster{nodes: []*process{p}}, nil
}

var listensOn = regexp.MustCompile(`listens on (\S+)`)

// startServer runs rookery and waits until it says where it listens.
func (s *suite) startServer(ctx context.Context, processors int, args ...string) (*process, error) {
	type listening struct{ Msg, Addr, Admin string }
	found := make(chan listening, 1)
	var last string // Owned by the process's reader until it has exited.
	p, err := start(func(text string) {
		last = text
		var l listening
		if json.Unmarshal([]byte(text), &l) == nil && l.Msg == "listening" {
			found <- l
		} else if m := listensOn.FindStringSubmatch(text); m != nil {
			found <- listening{Addr: m[1]}
		}
	}, processors, s.binary, args...)
	if err != nil {
		return nil, err
	}
	select {
	case l := <-found:
		p.addr, p.admin = l.Addr, l.Admin
		return p, nil
	case <-p.exited:
		return nil, fmt.Errorf("rookery %s ended at once: %s", args[0], last)
	case <-ctx.Done():
		p.stop()
		return nil, ctx.Err()
	}
}

func (p *process) awaitReady(ctx context.Context) error {
	for range 200 {
		if r, err := direct.Get("http://" + p.admin + "/readyz"); err == nil {
			r.Body.Close()
			if r.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
	return errors.New("a node does not become ready")
}

// direct asks no proxy.
var direct = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 5 * time.Second}

// metric adds up one of the nodes' metrics, given without labels.
func (c *cluster) metric(name string) (sum float64, err error) {
	for _, n := range c.nodes {
		r, err := direct.Get("http://" + n.admin + "/metrics")
		if err != nil {
			return 0, err
		}
		text, err := io.ReadAll(r.Body)
		r.Body.Close()
		if err != nil {
			return 0, err
		}
		for line := range strings.Lines(string(text)) {
			if value, ok := strings.CutPrefix(line, name+" "); ok {
				v, _ := strconv.ParseFloat(strings.TrimSpace(value), 64)
				sum += v
			}
		}
	}
	return sum, nil
}

func (c *cluster) stop() {
	for _, n := range c.nodes {
		n.stop()
	}
	if c.redis != nil {
		c.redis.stop()
	}
}

// flags tell rookery bench what to measure.
func (c *cluster) flags() (flags []string) {
	for _, n := range c.nodes {
		flags = append(flags, "--url=ws://"+n.addr+"/ws", "--pid="+n.pid())
	}
	if c.redis != nil {
		flags = append(flags, "--redis-pid="+c.redis.pid(), "--redis="+c.url)
	}
	return flags
}

// A result is one JSON line of rookery bench.
type result map[string]any

// number is one of the values; it must be there.
func (r result) number(name string) float64 {
	n, ok := r[name].(float64)
	if !ok {
		panic(fmt.Sprintf("the report of %v has no %s: %v", r["scenario"], name, r))
	}
	return n
}

// bench runs one scenario against c. A report with faults is a result too.
func (s *suite) bench(ctx context.Context, c *cluster, args ...string) (result, error) {
	cmd := exec.CommandContext(ctx, s.binary, append(append([]string{"bench"}, args...), append(c.flags(), "--json")...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	var r result
	if e := json.Unmarshal(out, &r); e != nil {
		return nil, fmt.Errorf("rookery bench %s: %w: %s", strings.Join(args, " "), errors.Join(err, e), stderr.String())
	}
	os.Stdout.Write(out)
	if faults, ok := r["faults"]; ok {
		s.faults = append(s.faults, fmt.Sprintf("`%s`: %v", strings.Join(args, " "), faults))
	}
	return r, nil
}
