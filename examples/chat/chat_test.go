package main_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/rookery-chat/rookery/internal/browsertest"
	"github.com/rookery-chat/rookery/internal/exampletest"
	"github.com/rookery-chat/rookery/internal/processtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A node as the example tells of it.
type node struct {
	name, admin string
	pid         int
}

var nodeLine = regexp.MustCompile(`^  (node\d): kill -9 (\d+) +http://(\S+)/metrics$`)

// nodesOf reads what the example says after it is up.
func nodesOf(t *testing.T, p *exampletest.Program) []node {
	t.Helper()
	var nodes []node
	for i := range 3 {
		p.Await(0, fmt.Sprintf("  node%d: ", i+1))
	}
	for _, line := range p.Lines() {
		if m := nodeLine.FindStringSubmatch(line); m != nil {
			pid, _ := strconv.Atoi(m[2])
			nodes = append(nodes, node{m[1], m[3], pid})
		}
	}
	if len(nodes) != 3 {
		t.Fatalf("%d nodes are named in %q", len(nodes), p.Lines())
	}
	return nodes
}

// sessions are how many connections a node has.
func (n node) sessions(t *testing.T) int {
	t.Helper()
	c := http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	r, err := c.Get("http://" + n.admin + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	b, _ := io.ReadAll(r.Body)
	m := regexp.MustCompile(`(?m)^rookery_sessions (\d+)$`).FindSubmatch(b)
	if m == nil {
		t.Fatalf("%s does not say how many sessions it has", n.name)
	}
	count, _ := strconv.Atoi(string(m[1]))
	return count
}

func (n node) signal(t *testing.T, s syscall.Signal) {
	t.Helper()
	if err := syscall.Kill(n.pid, s); err != nil {
		t.Fatalf("%v to %s: %v", s, n.name, err)
	}
}

// A window is somebody's chat page.
type window struct {
	*browsertest.Page
	name string
}

// enter opens a window and waits until it counts online users.
func enter(b *browsertest.Browser, url, name string, online int) window {
	w := window{b.Open(url), name}
	w.Type("#name", name)
	w.Click("#enter")
	w.online(online)
	return w
}

func (w window) online(n int) {
	w.Until(fmt.Sprintf(`document.getElementById("online").textContent === "%d online"`, n))
}

func (w window) say(text string) { w.Type("#text", text+"\r") }

// sees waits until the window shows exactly these messages, under offsets without a hole.
func (w window) sees(messages ...string) {
	want, _ := json.Marshal(messages)
	offsets := make([]int, len(messages))
	for i := range offsets {
		offsets[i] = i + 1
	}
	wantOffsets, _ := json.Marshal(offsets)
	w.Until(fmt.Sprintf(`(() => {
		const shown = Array.from(document.querySelectorAll("#log .message"));
		const text = (m) => { const body = m.querySelector(".body").cloneNode(true); body.querySelector("time").remove(); return body.textContent; };
		return JSON.stringify(shown.map((m) => m.dataset.from + ": " + text(m))) === JSON.stringify(%s)
			&& JSON.stringify(shown.map((m) => Number(m.dataset.offset))) === JSON.stringify(%s);
	})()`, want, wantOffsets))
}

// Alice and bob chat through the load balancer, on two of the three nodes. The node of one
// is killed, then the node of the other ends in good order; all the time they go on. Nobody
// misses anything, and carol, who comes in the end, sees it all. Ctrl-C leaves nothing behind.
func TestCluster(t *testing.T) {
	t.Parallel()
	listen := processtest.FreeAddr(t)
	scratch := t.TempDir()
	p := exampletest.Run(t, exampletest.Command(t), "ROOKERY_LISTEN="+listen, "TMPDIR="+scratch)
	url := "http://" + listen + "/"
	p.Await(0, "open "+url)
	nodes := nodesOf(t, p)
	browser := browsertest.Start(t)
	alice := enter(browser, url, "alice", 1)
	var hers, his, third node
	for _, n := range nodes {
		if n.sessions(t) == 1 {
			hers = n
		}
	}
	bob := enter(browser, url, "bob", 2)
	for _, n := range nodes {
		switch {
		case n == hers:
		case n.sessions(t) == 1:
			his = n
		default:
			third = n
		}
	}
	if hers.pid == 0 || his.pid == 0 || third.pid == 0 {
		t.Fatalf("alice is on %q, bob on %q: not spread", hers.name, his.name)
	}
	said := []string{"alice: hello bob", "bob: hello alice"}
	alice.say("hello bob")
	bob.sees(said[:1]...)
	bob.say("hello alice")
	alice.sees(said...)

	at := len(p.Lines())
	hers.signal(t, syscall.SIGKILL)
	for i := range 5 {
		said = append(said, fmt.Sprintf("bob: meanwhile %d", i))
		bob.say(strings.TrimPrefix(said[len(said)-1], "bob: "))
		bob.sees(said...)
	}
	p.Await(at, hers.name+" has ended (signal: killed), 2 left")
	p.Await(at, "nodes/"+hers.name+" is DOWN")
	alice.sees(said...)
	alice.Until(`document.getElementById("banner").dataset.state === "recovered"`)

	// haproxy hears that the node is not ready before the node lets bob go.
	at = len(p.Lines())
	his.signal(t, syscall.SIGTERM)
	at = p.Await(at, "nodes/"+his.name+" is DOWN, reason: Layer7")
	for i := range 5 {
		said = append(said, fmt.Sprintf("alice: and %d", i))
		alice.say(strings.TrimPrefix(said[len(said)-1], "alice: "))
	}
	p.Await(at, his.name+" has ended (in good order), 1 left")
	said = append(said, "bob: still here")
	bob.say("still here")
	for _, w := range []window{alice, bob, enter(browser, url, "carol", 3)} {
		w.sees(said...)
		w.online(3)
	}
	if n := third.sessions(t); n != 3 {
		t.Errorf("the node that is left has %d sessions, want 3", n)
	}
	p.Interrupt()
	if left, err := os.ReadDir(scratch); err != nil || len(left) > 0 {
		t.Errorf("it leaves behind %v, %v", left, err)
	}
}

// Where something is missing or in the way, the command says what to do.
func TestTrouble(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	chat := filepath.Join(t.TempDir(), "chat")
	if out, err := exec.CommandContext(ctx, "go", "build", "-o", chat, ".").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	p := exampletest.Run(t, []string{chat}, "PATH=")
	p.Await(0, "chat: this machine lacks redis-server")
	p.Await(0, "(on Debian: apt install redis-server")
	if code := p.Wait(); code != 1 {
		t.Errorf("it ended with %d, want 1", code)
	}
	p = exampletest.Run(t, []string{chat})
	p.Await(0, "run me with  examples/run chat")

	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	p = exampletest.Run(t, exampletest.Command(t), "ROOKERY_LISTEN="+l.Addr().String())
	p.Await(0, "chat: -listen: listen tcp "+l.Addr().String()+": bind: address already in use")
	p.Wait()
}
