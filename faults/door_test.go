package faults_test

import (
	"io"
	"net"
	"sync"
	"testing"
	"time"
)

// A door is an address that leads to a server: what a load balancer is to clients, or the
// network between a node and Redis. It can be made to lead elsewhere, and to be a bad network.
type door struct {
	addr string

	mu      sync.Mutex
	to      string              // Guarded by mu.
	conns   map[net.Conn]string // and the server that each leads to. Guarded by mu.
	held    chan struct{}       // closed by release; nil while bytes pass. Guarded by mu.
	late    time.Duration       // that each piece of data takes. Guarded by mu.
	refuses bool                // new connections. Guarded by mu.
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
		d.release()
		d.lead("")
		wg.Wait()
	})
	return d
}

// lead makes the door lead to another server, and cuts the connections to the one before.
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

// cut ends all connections, each at once.
func (d *door) cut() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for c := range d.conns {
		c.Close()
	}
}

// hold swallows what comes from either side, without a word: as dropped packets do.
// Release lets it through, late.
func (d *door) hold() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.held == nil {
		d.held = make(chan struct{})
	}
}

func (d *door) release() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.held != nil {
		close(d.held)
		d.held = nil
	}
}

// slow makes every piece of data wait on its way.
func (d *door) slow(by time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.late = by
}

// refuse ends all connections and takes no new ones, until it is told to take them again.
func (d *door) refuse(on bool) {
	d.mu.Lock()
	d.refuses = on
	d.mu.Unlock()
	if on {
		d.cut()
	}
}

func (d *door) pass(c net.Conn) {
	defer c.Close()
	d.mu.Lock()
	to, refuses := d.to, d.refuses
	d.conns[c] = to
	d.mu.Unlock()
	defer func() {
		d.mu.Lock()
		delete(d.conns, c)
		d.mu.Unlock()
	}()
	if refuses {
		return
	}
	n, err := net.Dial("tcp", to)
	if err != nil {
		return
	}
	defer n.Close()
	var wg sync.WaitGroup
	wg.Go(func() { d.copy(n, c); n.(*net.TCPConn).CloseWrite() })
	d.copy(c, n)
	c.Close()
	wg.Wait()
}

// copy is io.Copy through what the door does to the network. What is on its way keeps nothing behind it
// waiting: who is far away is late, and hears as much as others.
func (d *door) copy(to io.Writer, from io.Reader) {
	type piece struct {
		data []byte
		held chan struct{}
		due  time.Time
		err  error
	}
	way, gone := make(chan piece, 1000), make(chan struct{})
	defer close(gone)
	go func() { // ends with from, which the door closes
		for {
			b := make([]byte, 32<<10)
			n, err := from.Read(b)
			d.mu.Lock()
			p := piece{b[:n], d.held, time.Now().Add(d.late), err}
			d.mu.Unlock()
			select {
			case way <- p:
			case <-gone:
				return
			}
			if err != nil {
				return
			}
		}
	}()
	for p := range way {
		if p.held != nil {
			<-p.held
		}
		time.Sleep(time.Until(p.due))
		if len(p.data) > 0 {
			if _, err := to.Write(p.data); err != nil {
				return
			}
		}
		if p.err != nil {
			return
		}
	}
}
