package faults_test

import (
	"bufio"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rookery-chat/rookery/internal/dnstest"
)

// A haproxy is a running load balancer.
type haproxy struct {
	t     *testing.T
	pid   int
	inner string // where it tells of itself

	mu  sync.Mutex
	log strings.Builder // what it said. Guarded by mu.
}

// runHaproxy runs haproxy until the test ends, with more variables for its configuration.
func runHaproxy(t *testing.T, config string, env ...string) *haproxy {
	t.Helper()
	h := &haproxy{t: t}
	cmd := exec.Command("haproxy", "-db", "-f", config)
	cmd.Env = append(os.Environ(), env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	runtime.LockOSThread() // Pdeathsig is about the thread that started the process
	defer runtime.UnlockOSThread()
	if err := cmd.Start(); err != nil {
		t.Fatalf("%v: scripts/install-test-deps brings it", err)
	}
	h.pid = cmd.Process.Pid
	read := make(chan struct{})
	go func() {
		defer close(read)
		for scan := bufio.NewScanner(out); scan.Scan(); {
			h.mu.Lock()
			fmt.Fprintln(&h.log, scan.Text())
			h.mu.Unlock()
		}
	}()
	t.Cleanup(func() {
		cmd.Process.Kill()
		<-read
		cmd.Wait()
		if t.Failed() {
			t.Logf("haproxy said:\n%s", tail(h.said(), 4000))
		}
	})
	return h
}

// said returns the log so far.
func (h *haproxy) said() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.log.String()
}

// unkept leaves no connection behind.
var unkept = http.Client{Timeout: 15 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}

// A post is the addresses of one server behind a load balancer: whoever serves there.
type post struct{ addr, admin string }

// balanceFleet runs haproxy as docker-compose.yml does, before three posts, which it finds by name; and returns where it listens.
func balanceFleet(t *testing.T) (h *haproxy, addr string, posts [3]post) {
	t.Helper()
	addr = freeAddr(t)
	_, port, _ := net.SplitHostPort(lastingAddr(t))
	_, admin, _ := net.SplitHostPort(lastingAddr(t))
	var ips []net.IP
	for i := range posts {
		ip := net.IPv4(127, 0, 6, byte(i+1))
		ips = append(ips, ip)
		posts[i] = post{net.JoinHostPort(ip.String(), port), net.JoinHostPort(ip.String(), admin)}
	}
	inner := freeAddr(t)
	h = runHaproxy(t, "../deploy/haproxy.cfg", "ROOKERY_BIND="+addr, "ROOKERY_API_BIND="+freeAddr(t), "ROOKERY_INNER_BIND="+inner,
		"ROOKERY_DNS="+dnstest.Serve(t, func() []net.IP { return ips }), "ROOKERY_PORT="+port, "ROOKERY_ADMIN_PORT="+admin,
		"ROOKERY_CONN_RATE=1000000", // all come from one address
		fmt.Sprint("ROOKERY_MAXCONN=", *clients+1000))
	h.inner = inner
	return h, addr, posts
}

// awaitServers waits until haproxy sends sessions to so many servers.
func (h *haproxy) awaitServers(n int) {
	h.t.Helper()
	want := fmt.Sprintf("\nhaproxy_backend_active_servers{proxy=\"nodes\"} %d\n", n)
	await(h.t, fmt.Sprint("haproxy knows ", n, " nodes that are ready"), func() bool {
		r, err := unkept.Get("http://" + h.inner + "/metrics")
		if err != nil {
			return false
		}
		defer r.Body.Close()
		b, _ := io.ReadAll(r.Body)
		return strings.Contains(string(b), want)
	})
}

// lastingAddr returns an address of loopback that nobody listens on, and that no connection will
// have as its own: Linux gives them ports from 32768 on. So one server after the other can have it.
func lastingAddr(t *testing.T) string {
	t.Helper()
	for range 100 {
		l, err := net.Listen("tcp", fmt.Sprint("127.0.0.1:", 10000+rand.IntN(22768)))
		if err == nil {
			defer l.Close()
			return l.Addr().String()
		}
	}
	t.Fatal("no free port")
	return ""
}
