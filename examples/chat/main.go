// Command chat runs a whole cluster on this machine, until Ctrl-C: a Redis, three nodes, and
// haproxy before them.
package main

import (
	"bufio"
	"cmp"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

//go:embed haproxy.cfg
var haproxyConfig []byte

func main() {
	log.SetFlags(0)
	listen := flag.String("listen", cmp.Or(os.Getenv("ROOKERY_LISTEN"), "127.0.0.1:8000"), "address of the load balancer")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	if err := run(ctx, *listen); err != nil && ctx.Err() == nil {
		log.Fatalf("chat: %v", err)
	}
}

// run runs a cluster until ctx is done, or until it cannot go on.
func run(ctx context.Context, listen string) error {
	redisServer, haproxy, err := programs()
	if err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	rookery := filepath.Join(filepath.Dir(self), "rookery")
	if _, err := os.Stat(rookery); err != nil {
		return fmt.Errorf("%w: run me with  examples/run chat", err)
	}
	if l, err := net.Listen("tcp", listen); err != nil {
		return fmt.Errorf("-listen: %w", err)
	} else {
		l.Close() // free: haproxy will take it
	}
	dir, err := os.MkdirTemp("", "rookery-chat-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)

	c := &cluster{}
	c.ctx, c.stop = context.WithCancelCause(ctx)
	defer c.work.Wait()
	defer c.stop(nil)

	redis, err := c.startRedis(redisServer, dir)
	if err != nil {
		return err
	}
	env := append(os.Environ(), "LISTEN="+listen)
	var nodes []node
	for i := range 3 {
		n, err := c.startNode(rookery, fmt.Sprintf("node%d", i+1), redis)
		if err != nil {
			return err
		}
		nodes = append(nodes, n)
		_, port, _ := net.SplitHostPort(n.admin)
		env = append(env, fmt.Sprintf("NODE%d=%s", i+1, n.addr), fmt.Sprintf("NODE%d_ADMIN_PORT=%s", i+1, port))
	}
	for _, n := range nodes {
		if err := c.await("http://" + n.admin + "/readyz"); err != nil {
			return err
		}
	}
	if err := c.startHaproxy(haproxy, dir, env); err != nil {
		return err
	}
	if err := c.await("http://" + listen + "/"); err != nil {
		return err
	}

	fmt.Printf("\nopen http://%s/ in two windows, and chat. Then kill a node, and chat on; Ctrl-C ends it all.\n", listen)
	for _, n := range nodes {
		fmt.Printf("  %s: kill -9 %d    http://%s/metrics\n", n.name, n.pid, n.admin)
	}
	<-c.ctx.Done()
	return context.Cause(c.ctx)
}

// programs finds what is needed beside the nodes.
func programs() (redisServer, haproxy string, err error) {
	var missing []string
	find := func(name string) string {
		path, err := exec.LookPath(name)
		if err != nil {
			// Debian keeps servers where only root's PATH leads to.
			path, err = exec.LookPath("/usr/sbin/" + name)
		}
		if err != nil {
			missing = append(missing, name)
		}
		return path
	}
	redisServer, haproxy = find("redis-server"), find("haproxy")
	if len(missing) > 0 {
		names := strings.Join(missing, " ")
		err = fmt.Errorf("this machine lacks %s: install it first (on Debian: apt install %[1]s)", names)
	}
	return redisServer, haproxy, err
}

// A cluster is what runs. All of it is killed when ctx is done: its data is worth nothing.
type cluster struct {
	ctx   context.Context         // Fixed at construction.
	stop  context.CancelCauseFunc // ends ctx, and says why. Fixed at construction.
	work  sync.WaitGroup          // whoever waits for a process
	nodes atomic.Int32            // how many are alive
}

// A node is one of the cluster.
type node struct {
	name        string
	pid         int
	addr, admin string // host:port
}

// startRedis starts a Redis that keeps nothing, and returns its URL.
func (c *cluster) startRedis(program, dir string) (url string, err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0") // a free port
	if err != nil {
		return "", err
	}
	addr := l.Addr().String()
	l.Close()
	host, port, _ := net.SplitHostPort(addr)
	cmd := exec.CommandContext(c.ctx, program, "--bind", host, "--port", port, "--dir", dir,
		"--save", "", "--appendonly", "no", "--maxmemory-policy", "noeviction")
	return "redis://" + addr, c.startVital(cmd)
}

// startHaproxy starts the load balancer, with the addresses in env.
func (c *cluster) startHaproxy(program, dir string, env []string) error {
	config := filepath.Join(dir, "haproxy.cfg")
	if err := os.WriteFile(config, haproxyConfig, 0o600); err != nil {
		return err
	}
	cmd := exec.CommandContext(c.ctx, program, "-db", "-f", config)
	cmd.Env = env
	cmd.Stderr = os.Stderr
	return c.startVital(cmd)
}

// startVital starts a process without which the cluster ends.
func (c *cluster) startVital(cmd *exec.Cmd) error {
	if err := cmd.Start(); err != nil {
		return err
	}
	c.work.Go(func() {
		err := cmd.Wait()
		select {
		case <-c.ctx.Done():
		case <-time.After(200 * time.Millisecond): // it was not Ctrl-C, which reaches all of us at once
			c.stop(fmt.Errorf("%s has ended (%v)", filepath.Base(cmd.Path), cmp.Or(err, errors.New("in good order"))))
		}
	})
	return nil
}

// startNode starts a node on free ports, and waits until it listens.
func (c *cluster) startNode(rookery, name, redis string) (node, error) {
	cmd := exec.CommandContext(c.ctx, rookery, "serve", "--listen=127.0.0.1:0", "--admin=127.0.0.1:0",
		"--redis="+redis, "--trusted-proxies=loopback", "--log-format=json")
	stderr, err := cmd.StderrPipe()
	if err != nil {
		return node{}, err
	}
	if err := cmd.Start(); err != nil {
		return node{}, err
	}
	n := node{name: name, pid: cmd.Process.Pid}
	c.nodes.Add(1)
	listening, ended := make(chan struct{}), make(chan struct{})
	c.work.Go(func() {
		defer close(ended)
		for lines := bufio.NewScanner(stderr); lines.Scan(); {
			var l struct{ Level, Msg, Addr, Admin string }
			json.Unmarshal(lines.Bytes(), &l) // what is not JSON is passed on
			switch {
			case l.Msg == "listening":
				n.addr, n.admin = l.Addr, l.Admin
				close(listening)
			case l.Level != "INFO":
				log.Printf("%s: %s", name, lines.Text())
			}
		}
		err := cmd.Wait()
		left := c.nodes.Add(-1)
		if c.ctx.Err() == nil {
			log.Printf("%s has ended (%v), %d left", name, cmp.Or(err, errors.New("in good order")), left)
		}
		if left == 0 {
			c.stop(errors.New("no node is left"))
		}
	})
	select {
	case <-listening:
		return n, nil
	case <-ended:
		return node{}, fmt.Errorf("%s did not start", name) // it said why
	}
}

// await waits until url is answered with 200.
func (c *cluster) await(url string) error {
	asks := http.Client{Timeout: 2 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	for c.ctx.Err() == nil {
		if answer, err := asks.Get(url); err == nil {
			answer.Body.Close()
			if answer.StatusCode == http.StatusOK {
				return nil
			}
		}
		time.Sleep(50 * time.Millisecond)
	}
	return context.Cause(c.ctx)
}
