package faults_test

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// A haproxy is a running load balancer.
type haproxy struct {
	t   *testing.T
	pid int

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

// awaitSaid waits until haproxy has said something after it had said so much.
func (h *haproxy) awaitSaid(from int, what string) {
	h.t.Helper()
	await(h.t, "haproxy says "+what, func() bool { return strings.Contains(h.said()[from:], what) })
}

// A post is the addresses of one server behind a load balancer: whoever serves there.
type post struct{ addr, admin string }

// balanceChat runs haproxy as examples/chat does, before three posts, and returns where it listens.
func balanceChat(t *testing.T) (h *haproxy, addr string, posts [3]post) {
	t.Helper()
	addr = freeAddr(t)
	env := []string{"LISTEN=" + addr}
	for i := range posts {
		p := post{lastingAddr(t), lastingAddr(t)}
		posts[i] = p
		_, port, _ := net.SplitHostPort(p.admin)
		env = append(env, fmt.Sprintf("NODE%d=%s", i+1, p.addr), fmt.Sprintf("NODE%d_ADMIN_PORT=%s", i+1, port))
	}
	return runHaproxy(t, "../examples/chat/haproxy.cfg", env...), addr, posts
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
