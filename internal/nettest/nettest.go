// Package nettest gives a test a network of its own, in which packets can be dropped.
package nettest

import (
	"os"
	"os/exec"
	"testing"
)

const inside = "ROOKERY_INSIDE_NETWORK"

// Inside runs the test that calls it once more, as another process in a network that holds nothing but
// loopback, and tells whether this is that process. What is done to that network ends with it, and nobody
// else sees it. env is for that process alone.
func Inside(t *testing.T, env ...string) bool {
	t.Helper()
	if os.Getenv(inside) != "" {
		Command(t, "ip", "link", "set", "lo", "up")
		return true
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("unshare", "--map-root-user", "--net", "--kill-child", "--fork", self, "-test.run=^"+t.Name()+"$", "-test.v", "-test.timeout=8m")
	cmd.Env = append(append(os.Environ(), inside+"=1"), env...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("in a network of its own (unshare needs root, or user namespaces): %v", err)
	}
	t.Logf("%s", out)
	return false
}

// Drop makes the network lose all packets to and from an address of loopback, without a word to anybody.
func Drop(t *testing.T, addr string) {
	t.Helper()
	for _, way := range []string{"-s", "-d"} {
		Command(t, "iptables", "-A", "INPUT", way, addr, "-p", "tcp", "-j", "DROP")
	}
}

// Command runs a program that must succeed.
func Command(t testing.TB, words ...string) {
	t.Helper()
	if out, err := exec.Command(words[0], words[1:]...).CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", words, err, out)
	}
}
