package main_test

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/rookery-chat/rookery/internal/processtest"
)

// `rookery health` is a container's health check: it asks the admin listener of its own
// environment, and its exit code is the answer.
func TestHealth(t *testing.T) {
	t.Parallel()
	binary := processtest.Rookery(t)
	var status atomic.Int32
	status.Store(http.StatusOK)
	node := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/readyz" {
			t.Errorf("it asked for %s", r.URL.Path)
		}
		w.WriteHeader(int(status.Load()))
		fmt.Fprintln(w, http.StatusText(int(status.Load())))
	}))
	defer node.Close()
	addr := node.Listener.Addr().String()
	_, port, _ := net.SplitHostPort(addr)
	ask := func(admin string) (string, error) {
		cmd := exec.Command(binary, "health")
		cmd.Env = append(os.Environ(), "ROOKERY_ADMIN="+admin, "HTTP_PROXY=http://192.0.2.1:1")
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	for _, admin := range []string{addr, "0.0.0.0:" + port, ":" + port} {
		if said, err := ask(admin); err != nil || said != "OK\n" {
			t.Errorf("%s is ready: %q, %v", admin, said, err)
		}
	}
	status.Store(http.StatusServiceUnavailable)
	if said, err := ask(addr); err == nil || !strings.Contains(said, "503") || !strings.Contains(said, addr) {
		t.Errorf("not ready: %q, %v", said, err)
	}
	if said, err := ask("9000"); err == nil || !strings.Contains(said, "--admin") {
		t.Errorf("no address: %q, %v", said, err)
	}
	node.Close()
	if said, err := ask(addr); err == nil || !strings.Contains(said, "no node answers at --admin "+addr) {
		t.Errorf("nobody there: %q, %v", said, err)
	}
}

// A secret may come from a file that ROOKERY_…_FILE names. Who sets both is told.
func TestSecretFile(t *testing.T) {
	t.Parallel()
	binary := processtest.Rookery(t)
	file := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(file, []byte("a secret of 32 bytes at the least\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	mint := func(env ...string) (string, error) {
		cmd := exec.Command(binary, "token", "--user=alice")
		cmd.Env = append(os.Environ(), env...)
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	if said, err := mint("ROOKERY_AUTH_SECRET_FILE=" + file); err != nil || strings.Count(said, ".") != 2 {
		t.Errorf("from a file: %q, %v", said, err)
	}
	if said, err := mint("ROOKERY_AUTH_SECRET_FILE="+file, "ROOKERY_AUTH_SECRET=another"); err == nil || !strings.Contains(said, "both set") {
		t.Errorf("both: %q, %v", said, err)
	}
	if said, err := mint("ROOKERY_AUTH_SECRET_FILE=" + file + "x"); err == nil || !strings.Contains(said, "ROOKERY_AUTH_SECRET_FILE") {
		t.Errorf("no file: %q, %v", said, err)
	}
}
