// Package deploy_test runs what deploy/ has for load balancers and for Prometheus, with real nodes.
package deploy_test

import (
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rookery-chat/rookery/internal/dnstest"
	"github.com/rookery-chat/rookery/internal/processtest"
	"github.com/rookery-chat/rookery/internal/redistest"
)

// patience bounds every wait. It is only reached when something is wrong.
const patience = processtest.Patience

// run runs a program until the test ends, with more of an environment.
func run(t *testing.T, env []string, name string, args ...string) *processtest.Process {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), env...)
	return processtest.Start(t, cmd)
}

var await = processtest.Await

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
	hosts map[string]*processtest.Node // Guarded by mu.
}

func newCluster(t *testing.T) *cluster {
	t.Helper()
	c := &cluster{t: t, redis: redistest.Start(t, "--maxmemory", "256mb", "--maxmemory-policy", "noeviction"), hosts: make(map[string]*processtest.Node)}
	c.port, c.admin = processtest.FreePort(t, ""), processtest.FreePort(t, "")
	c.dns = dnstest.Serve(t, c.addresses)
	return c
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
	n := processtest.ServeIn(c.t, c.env, append([]string{"--listen=" + c.at(host), "--admin=" + net.JoinHostPort(host, c.admin), "--redis=" + c.redis.URL(),
		"--api-key=" + apiKey, "--open-metrics", "--anonymous", "--trusted-proxies=127.0.0.0/8"}, flags...)...)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.hosts[host] = n
}

func (c *cluster) at(host string) string { return net.JoinHostPort(host, c.port) }

func (c *cluster) node(host string) *processtest.Node {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.hosts[host]
}

// remove takes a node out of the names, as when its container has ended.
func (c *cluster) remove(host string) (was *processtest.Node) {
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
	f := front{processtest.FreeAddr(c.t), processtest.FreeAddr(c.t), processtest.FreeAddr(c.t)}
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
	f := front{public: processtest.FreeAddr(c.t)}
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
	run(c.t, nil, "nginx", "-e", "stderr", "-c", config, "-g", "daemon off;").End = syscall.SIGTERM // it ends its workers
	c.awaitFront(f)
	return f
}

func (c *cluster) awaitFront(f front) {
	c.t.Helper()
	await(c.t, "the load balancer leads to a node", func() bool { status, _ := get("http://" + f.public + "/rookery.js"); return status == 200 })
}
