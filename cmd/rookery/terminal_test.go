package main_test

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rookery-chat/rookery/bus"
	"github.com/rookery-chat/rookery/client"
	"github.com/rookery-chat/rookery/node"
	"github.com/rookery-chat/rookery/presence"
	"github.com/rookery-chat/rookery/store"
)

// patience bounds every wait. It is only reached when something is wrong.
const patience = time.Minute

// startNode runs a node in this process until the test ends, and returns its address.
func startNode(t *testing.T, opts *bus.Options) string {
	b := bus.NewMemory(opts).Attach()
	p := presence.NewMemory().Attach("", func(topic string, change []byte) { b.Signal(context.Background(), topic, change) })
	n := node.New(b, p, store.NewMemory(), &node.Options{Drain: time.Second})
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- n.Run(ctx) }()
	server := httptest.NewServer(n.Handler())
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Errorf("the node's Run: %v", err)
		}
		server.Close()
	})
	return server.Listener.Addr().String()
}

// startClient connects a client of this process until the test ends.
func startClient(t *testing.T, addr, user string) (*client.Client, context.Context) {
	ctx, stop := context.WithTimeout(context.Background(), patience)
	c := client.New("ws://"+addr+"/ws", &client.Options{User: user})
	done := make(chan error)
	go func() { done <- c.Run(ctx) }()
	t.Cleanup(func() { stop(); <-done })
	return c, ctx
}

// A console is one rookery process with a person at it.
type console struct {
	t   *testing.T
	cmd *exec.Cmd
	in  io.WriteCloser
	out output // what it printed to standard output
	err output // what it printed to standard error
}

// open starts rookery with arguments; env is added to a bare environment.
func open(t *testing.T, binary, addr string, env []string, args ...string) *console {
	t.Helper()
	ctx, stop := context.WithTimeout(context.Background(), patience)
	c := &console{t: t, cmd: exec.CommandContext(ctx, binary, args...)}
	c.cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "TZ=UTC", "ROOKERY_URL=ws://" + addr + "/ws"}, env...)
	c.cmd.Stdout, c.cmd.Stderr = &c.out, &c.err
	var err error
	if c.in, err = c.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.in.Close()
		c.cmd.Wait() // a second Wait is harmless
		stop()
		if t.Failed() {
			t.Logf("%v printed\n%s\nand to standard error\n%s", args, c.out.String(), c.err.String())
		}
	})
	return c
}

func (c *console) typed(line string) {
	c.t.Helper()
	if _, err := io.WriteString(c.in, line+"\n"); err != nil {
		c.t.Errorf("typing %q: %v", line, err)
	}
}

// end closes the input and returns whether the process said that all went well.
func (c *console) end() bool {
	c.in.Close()
	return c.cmd.Wait() == nil
}

// An output collects what a process prints.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer // Guarded by mu.
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// wait waits until the output contains text.
func (o *output) wait(t *testing.T, text string) {
	t.Helper()
	for deadline := time.Now().Add(patience); !strings.Contains(o.String(), text); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited for %q, and got\n%s", text, o.String())
		}
	}
}

// A cable leads to a node, and can be pulled out.
type cable struct {
	listener net.Listener
	target   string
	work     sync.WaitGroup

	mu   sync.Mutex
	out  bool                  // Guarded by mu. Pulled.
	open map[net.Conn]struct{} // Guarded by mu.
}

func newCable(t *testing.T, target string) *cable {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &cable{listener: l, target: target, open: make(map[net.Conn]struct{})}
	c.work.Go(func() {
		for {
			near, err := l.Accept()
			if err != nil {
				return
			}
			c.work.Go(func() { c.serve(near) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		c.pull(true)
		c.work.Wait()
	})
	return c
}

func (c *cable) serve(near net.Conn) {
	defer near.Close()
	far, err := net.Dial("tcp", c.target)
	if err != nil {
		return
	}
	defer far.Close()
	c.mu.Lock()
	out := c.out
	c.open[near], c.open[far] = struct{}{}, struct{}{}
	c.mu.Unlock()
	if !out {
		c.work.Go(func() { io.Copy(far, near); far.Close() })
		io.Copy(near, far)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.open, near)
	delete(c.open, far)
}

// pull cuts the connections, and lets no new ones through until it is put back.
func (c *cable) pull(out bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.out = out
	for conn := range c.open {
		conn.Close()
	}
}
