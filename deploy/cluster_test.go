// Package deploy_test runs what deploy/ has for load balancers and for Prometheus, with real nodes.
package deploy_test

import (
	"bufio"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rookery-chat/rookery/internal/dnstest"
	"github.com/rookery-chat/rookery/internal/redistest"
)

// patience bounds every wait. It is only reached when something is wrong.
const patience = 60 * time.Second

var binary string // the rookery under test

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "rookery-deploy-")
	if err != nil {
		panic(err)
	}
	binary = filepath.Join(dir, "rookery")
	if out, err := exec.Command("go", "build", "-o", binary, "../cmd/rookery").CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build: %v\n%s", err, out)
		os.Exit(1)
	}
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// A program runs until the test ends.
type program struct {
	cmd  *exec.Cmd
	done chan struct{}
	last os.Signal // what ends it

	mu  sync.Mutex
	log strings.Builder // Guarded by mu.
}

func run(t *testing.T, env []string, name string, args ...string) *program {
	t.Helper()
	p := &program{cmd: exec.Command(name, args...), done: make(chan struct{}), last: syscall.SIGKILL}
	p.cmd.Env = append(os.Environ(), env...)
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	p.cmd.Stdout, p.cmd.Stderr = w, w
	runtime.LockOSThread() // Pdeathsig is about the thread that started the process
	defer runtime.UnlockOSThread()
	if err := p.cmd.Start(); err != nil {
		t.Fatalf("%v: scripts/install-test-deps brings it", err)
	}
	w.Close()
	go func() {
		defer close(p.done)
		for scan := bufio.NewScanner(r); scan.Scan(); {
			p.mu.Lock()
			fmt.Fprintln(&p.log, scan.Text())
			p.mu.Unlock()
		}
		p.cmd.Wait()
		r.Close()
	}()
	t.Cleanup(func() {
		p.kill()
		if t.Failed() {
			p.mu.Lock()
			defer p.mu.Unlock()
			said := p.log.String()
			t.Logf("%s said:\n%s", filepath.Base(name), said[max(0, len(said)-4000):])
		}
	})
	return p
}

// kill is safe to repeat.
func (p *program) kill() {
	p.cmd.Process.Signal(p.last)
	<-p.done
}

func await(t *testing.T, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !done(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("in vain: %s", what)
		}
	}
}

var direct = http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}

// get returns the status of an answer, 0 without one.
func get(url string) (status int, body string) {
	r, err := direct.Get(url)
	if err != nil {
		return 0, ""
	}
	defer r.Body.Close()
	b, _ := io.ReadAll(r.Body)
	return r.StatusCode, string(b)
}

// A cluster is nodes that have the same ports on addresses of their own, as containers have, and
// a name server that knows them.
type cluster struct {
	t           *testing.T
	redis       *redistest.Server
	port, admin string
	dns         string
	env         []string // of nodes, beside this process'

	mu    sync.Mutex
	hosts map[string]*program // Guarded by mu.
}

func newCluster(t *testing.T) *cluster {
	t.Helper()
	c := &cluster{t: t, redis: redistest.Start(t, "--maxmemory", "256mb", "--maxmemory-policy", "noeviction"), hosts: make(map[string]*program)}
	c.port, c.admin = freePort(t, ""), freePort(t, "")
	c.dns = dnstest.Serve(t, c.addresses)
	return c
}

// freePort returns a port that is free on all addresses, and that no connection will have as its own.
func freePort(t *testing.T, host string) string {
	t.Helper()
	for range 100 {
		port := fmt.Sprint(10000 + rand.IntN(22768))
		if l, err := net.Listen("tcp", net.JoinHostPort(host, port)); err == nil {
			l.Close()
			return port
		}
	}
	t.Fatal("no free port")
	return ""
}

// addresses are those of the nodes that the name server tells of.
func (c *cluster) addresses() (ips []net.IP) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for host := range c.hosts {
		ips = append(ips, net.ParseIP(host))
	}
	return ips
}

const apiKey = "key-of-the-tests-0123456789"

// start runs a node as docker-compose.yml does, and waits until it is ready.
func (c *cluster) start(host string, flags ...string) {
	c.t.Helper()
	p := run(c.t, c.env, binary, append([]string{"serve", "--listen=" + c.at(host), "--admin=" + net.JoinHostPort(host, c.admin), "--redis=" + c.redis.URL(),
		"--api-key=" + apiKey, "--open-metrics", "--anonymous", "--trusted-proxies=127.0.0.0/8"}, flags...)...)
	await(c.t, host+" is ready", func() bool {
		status, _ := get("http://" + net.JoinHostPort(host, c.admin) + "/readyz")
		return status == 200
	})
	c.mu.Lock()
	defer c.mu.Unlock()
	c.hosts[host] = p
}

func (c *cluster) at(host string) string { return net.JoinHostPort(host, c.port) }

// remove takes a node out of the names, as when its container has ended.
func (c *cluster) remove(host string) (was *program) {
	c.mu.Lock()
	defer c.mu.Unlock()
	was = c.hosts[host]
	delete(c.hosts, host)
	return was
}

// A front is a load balancer before the cluster.
type front struct{ public, api, inner string }

// haproxy runs haproxy.cfg.
func (c *cluster) haproxy() front {
	f := front{"127.0.0.1:" + freePort(c.t, "127.0.0.1"), "127.0.0.1:" + freePort(c.t, "127.0.0.1"), "127.0.0.1:" + freePort(c.t, "127.0.0.1")}
	run(c.t, []string{
		"ROOKERY_BIND=" + f.public, "ROOKERY_API_BIND=" + f.api, "ROOKERY_INNER_BIND=" + f.inner, "ROOKERY_MAXCONN=1000",
		"ROOKERY_DNS=" + c.dns, "ROOKERY_PORT=" + c.port, "ROOKERY_ADMIN_PORT=" + c.admin,
	}, "haproxy", "-db", "-f", "haproxy.cfg")
	c.awaitFront(f)
	return f
}

// nginx runs nginx.conf, with its addresses exchanged.
func (c *cluster) nginx() front {
	c.t.Helper()
	f := front{public: "127.0.0.1:" + freePort(c.t, "127.0.0.1")}
	content, err := os.ReadFile("nginx.conf")
	if err != nil {
		c.t.Fatal(err)
	}
	dir := c.t.TempDir()
	os.Chmod(filepath.Dir(dir), 0o755) // its workers are nobody
	os.Chmod(dir, 0o777)
	for _, change := range [][2]string{
		{"127.0.0.11", c.dns}, {"listen 8000", "listen " + f.public}, {"$nodes:8000", "$nodes:" + c.port}, {" /tmp/", " " + dir + "/"},
		{"worker_rlimit_nofile 65536;", ""}, {"worker_connections 20000", "worker_connections 1000"},
	} {
		if !strings.Contains(string(content), change[0]) {
			c.t.Fatalf("nginx.conf has no %q any more", change[0])
		}
		content = []byte(strings.ReplaceAll(string(content), change[0], change[1]))
	}
	config := filepath.Join(dir, "nginx.conf")
	if err := os.WriteFile(config, content, 0o644); err != nil {
		c.t.Fatal(err)
	}
	run(c.t, nil, "nginx", "-e", "stderr", "-c", config, "-g", "daemon off;").last = syscall.SIGTERM // it ends its workers
	c.awaitFront(f)
	return f
}

func (c *cluster) awaitFront(f front) {
	c.t.Helper()
	await(c.t, "the load balancer leads to a node", func() bool { status, _ := get("http://" + f.public + "/rookery.js"); return status == 200 })
}
