package processtest

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"
)

// A Node is one `rookery serve`.
type Node struct {
	*Process
	// Fixed at construction.
	ID    string
	Addr  string // host:port of the sessions and the page
	Admin string // host:port
	tb    testing.TB
}

// Serve starts a node, and waits until it is ready. It listens on free ports, unless flags say otherwise.
func Serve(tb testing.TB, flags ...string) *Node {
	tb.Helper()
	return ServeIn(tb, nil, flags...)
}

// ServeIn is Serve with more of an environment.
func ServeIn(tb testing.TB, env []string, flags ...string) *Node {
	tb.Helper()
	n := launch(tb, env, flags)
	n.AwaitReady(true)
	return n
}

// Launch is Serve for a node that may not become ready: it waits until the node listens.
func Launch(tb testing.TB, flags ...string) *Node {
	tb.Helper()
	return launch(tb, nil, flags)
}

func launch(tb testing.TB, env, flags []string) *Node {
	tb.Helper()
	cmd := exec.Command(Rookery(tb), slices.Concat([]string{"serve", "--listen=127.0.0.1:0", "--admin=127.0.0.1:0", "--log-format=json"}, flags)...)
	cmd.Env = append(os.Environ(), env...)
	n := &Node{Process: Start(tb, cmd), tb: tb}
	Await(tb, "a node listens", func() bool {
		ended := n.ended()
		if n.listens() {
			return true
		}
		if ended {
			tb.Fatalf("node ended at once:\n%s", n.Said())
		}
		return false
	})
	return n
}

func (n *Node) ended() bool {
	select {
	case <-n.Exited:
		return true
	default:
		return false
	}
}

// listens looks in the log for where the node listens.
func (n *Node) listens() bool {
	for line := range strings.Lines(n.Said()) {
		var l struct{ Msg, Addr, Admin, Node string }
		if json.Unmarshal([]byte(line), &l) == nil && l.Msg == "listening" {
			n.ID, n.Addr, n.Admin = l.Node, l.Addr, l.Admin
			return true
		}
	}
	return false
}

// URL is where WebSocket sessions are opened.
func (n *Node) URL() string { return "ws://" + n.Addr + "/ws" }

// HTTP keeps no connection.
var HTTP = http.Client{Timeout: Patience, Transport: &http.Transport{DisableKeepAlives: true}}

// impatient asks those who may hang.
var impatient = http.Client{Timeout: 2 * time.Second, Transport: HTTP.Transport}

// AwaitReady waits until /readyz says what is wanted.
func (n *Node) AwaitReady(want bool) {
	n.tb.Helper()
	Await(n.tb, fmt.Sprintf("ready=%v on %s", want, n.ID), func() bool {
		r, err := impatient.Get("http://" + n.Admin + "/readyz")
		if err != nil {
			return false
		}
		io.Copy(io.Discard, r.Body)
		r.Body.Close()
		return (r.StatusCode == http.StatusOK) == want
	})
}

// Metric is one of the node's metrics, with its labels if it has any.
func (n *Node) Metric(name string) float64 {
	n.tb.Helper()
	value, there := n.LookUp(name)
	if !there {
		n.tb.Fatalf("no metric %s", name)
	}
	return value
}

// LookUp is Metric for one that may not be there yet.
func (n *Node) LookUp(name string) (value float64, there bool) {
	n.tb.Helper()
	r, err := HTTP.Get("http://" + n.Admin + "/metrics")
	if err != nil {
		n.tb.Fatal(err)
	}
	defer r.Body.Close()
	for scan := bufio.NewScanner(r.Body); scan.Scan(); {
		if text, ok := strings.CutPrefix(scan.Text(), name+" "); ok {
			fmt.Sscan(text, &value)
			return value, true
		}
	}
	return 0, false
}
