package faults_test

import (
	"io"
	"net"
	"sync"
	"testing"
)

// A door is an address that leads to a node, and can be made to lead to another: what a load
// balancer is to clients.
type door struct {
	addr string

	mu    sync.Mutex
	to    string              // Guarded by mu.
	conns map[net.Conn]string // and the node that each leads to. Guarded by mu.
}

func newDoor(t testing.TB, to string) *door {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	d := &door{addr: l.Addr().String(), to: to, conns: make(map[net.Conn]string)}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { d.pass(c) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		d.lead("")
		wg.Wait()
	})
	return d
}

// lead makes the door lead to another node, and cuts the connections to the one before.
func (d *door) lead(to string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.to = to
	for c, was := range d.conns {
		if was != to {
			c.Close()
		}
	}
}

func (d *door) pass(c net.Conn) {
	defer c.Close()
	d.mu.Lock()
	to := d.to
	d.conns[c] = to
	d.mu.Unlock()
	defer func() {
		d.mu.Lock()
		delete(d.conns, c)
		d.mu.Unlock()
	}()
	n, err := net.Dial("tcp", to)
	if err != nil {
		return
	}
	defer n.Close()
	var wg sync.WaitGroup
	wg.Go(func() { io.Copy(n, c); n.(*net.TCPConn).CloseWrite() })
	io.Copy(c, n)
	c.Close()
	wg.Wait()
}
