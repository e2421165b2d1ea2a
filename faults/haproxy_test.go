package faults_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/rookery-chat/rookery/internal/dnstest"
	"github.com/rookery-chat/rookery/internal/processtest"
)

// A haproxy is a running load balancer.
type haproxy struct {
	*processtest.Process
	t     *testing.T
	inner string // where it tells of itself
}

// runHaproxy runs haproxy until the test ends, with more variables for its configuration.
func runHaproxy(t *testing.T, config string, env ...string) *haproxy {
	t.Helper()
	cmd := exec.Command("haproxy", "-db", "-f", config)
	cmd.Env = append(os.Environ(), env...)
	return &haproxy{Process: processtest.Start(t, cmd), t: t}
}

// unkept leaves no connection behind.
var unkept = http.Client{Timeout: 15 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}

// A post is the addresses of one server behind a load balancer: whoever serves there.
type post struct{ addr, admin string }

// balanceFleet runs haproxy as docker-compose.yml does, before three posts, which it finds by name; and returns where it listens.
func balanceFleet(t *testing.T) (h *haproxy, addr string, posts [3]post) {
	t.Helper()
	addr = processtest.FreeAddr(t)
	_, port, _ := net.SplitHostPort(processtest.FreeAddr(t))
	_, admin, _ := net.SplitHostPort(processtest.FreeAddr(t))
	var ips []net.IP
	for i := range posts {
		ip := net.IPv4(127, 0, 6, byte(i+1))
		ips = append(ips, ip)
		posts[i] = post{net.JoinHostPort(ip.String(), port), net.JoinHostPort(ip.String(), admin)}
	}
	inner := processtest.FreeAddr(t)
	h = runHaproxy(t, "../deploy/haproxy.cfg", "ROOKERY_BIND="+addr, "ROOKERY_API_BIND="+processtest.FreeAddr(t), "ROOKERY_INNER_BIND="+inner,
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
