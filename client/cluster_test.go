package client_test

import (
	"context"
	"io"
	"net"
	"net/http/httptest"
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

// startNodes runs nodes on one bus in memory until the test ends, and returns their addresses.
func startNodes(t testing.TB, count int) (addrs []string) {
	memory, people, facts := bus.NewMemory(&bus.Options{LogLength: 100_000}), presence.NewMemory(), store.NewMemory()
	for range count {
		b := memory.Attach()
		p := people.Attach("", func(topic string, change []byte) { b.Signal(context.Background(), topic, change) })
		n := node.New(b, p, facts, &node.Options{Drain: time.Second})
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
		addrs = append(addrs, server.Listener.Addr().String())
	}
	return addrs
}

func url(addr string) string { return "ws://" + addr + "/ws" }

// A proxy passes TCP connections on, to one target after the other, and can cut them.
type proxy struct {
	listener net.Listener
	targets  []string
	work     sync.WaitGroup

	mu    sync.Mutex
	open  map[net.Conn]struct{} // Guarded by mu. Both sides.
	count int                   // Guarded by mu. Connections that came.
}

// newProxy runs a proxy until the test ends.
func newProxy(t *testing.T, targets ...string) *proxy {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{listener: listener, targets: targets, open: make(map[net.Conn]struct{})}
	p.work.Go(p.accept)
	t.Cleanup(func() {
		listener.Close()
		p.cut()
		p.work.Wait()
	})
	return p
}

func (p *proxy) url() string { return url(p.listener.Addr().String()) }

func (p *proxy) accept() {
	for {
		near, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.mu.Lock()
		target := p.targets[p.count%len(p.targets)]
		p.count++
		p.mu.Unlock()
		far, err := net.Dial("tcp", target)
		if err != nil {
			near.Close()
			continue
		}
		p.mu.Lock()
		p.open[near], p.open[far] = struct{}{}, struct{}{}
		p.mu.Unlock()
		p.work.Go(func() { p.pass(near, far) })
		p.work.Go(func() { p.pass(far, near) })
	}
}

func (p *proxy) pass(from, to net.Conn) {
	io.Copy(to, from)
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range []net.Conn{from, to} {
		c.Close()
		delete(p.open, c)
	}
}

// cut breaks all connections, as a power cut would: what is under way is lost.
func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.open {
		c.(*net.TCPConn).SetLinger(0)
		c.Close()
	}
}

func (p *proxy) connections() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.count
}

// dialClient starts a client that comes back quickly.
func dialClient(t *testing.T, url, user string) *run {
	c := client.New(url, &client.Options{User: user})
	c.SetJitter(func(limit time.Duration) time.Duration { return min(limit, client.BackoffBase) / 50 })
	r := start(t, c)
	ctx, cancel := context.WithTimeout(r.ctx, patience)
	t.Cleanup(cancel)
	r.ctx = ctx
	return r
}
