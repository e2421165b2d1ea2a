package nowait

import (
	"io"
	"net"
	"os"
	"sync"
	"syscall"
)

// A Conn is a connection that reads and writes as this package does, and waits as ever.
type Conn struct {
	net.Conn // Fixed at construction.
	raw      syscall.RawConn
	in, out  direction
}

// A direction is one side of a connection. A RawConn wants a function; a new one for each call would be garbage.
type direction struct {
	mu  sync.Mutex // held by who reads, or writes
	p   []byte     // Guarded by mu, as are the following.
	n   int
	err error
	do  func(fd uintptr) bool
}

// NewConn returns c as it should be used. Where it is no socket of the kernel's, that is c itself.
func NewConn(c net.Conn) net.Conn {
	s, ok := c.(syscall.Conn)
	if !ok {
		return c
	}
	raw, err := s.SyscallConn()
	if err != nil {
		return c
	}
	n := &Conn{Conn: c, raw: raw}
	n.in.do, n.out.do = n.in.read, n.out.write
	return n
}

// Read implements net.Conn.
func (c *Conn) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return c.Conn.Read(p)
	}
	n, err := c.in.run(c.raw.Read, p)
	if n == 0 && err == nil {
		return 0, io.EOF
	}
	return n, c.explain("read", err)
}

// Write implements net.Conn.
func (c *Conn) Write(p []byte) (int, error) {
	if len(p) == 0 {
		return c.Conn.Write(p)
	}
	n, err := c.out.run(c.raw.Write, p)
	return n, c.explain("write", err)
}

func (d *direction) run(wait func(func(uintptr) bool) error, p []byte) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.p, d.n, d.err = p, 0, nil
	err := wait(d.do)
	if d.p = nil; err == nil {
		err = d.err
	}
	return d.n, err
}

// read reads once, and reports whether that is done. The caller holds mu.
func (d *direction) read(fd uintptr) bool {
	d.n, d.err = Read(int(fd), d.p)
	return d.err != syscall.EAGAIN
}

// write writes what it can, and reports whether that is done. The caller holds mu.
func (d *direction) write(fd uintptr) bool {
	for d.n < len(d.p) {
		n, err := Write(int(fd), d.p[d.n:])
		if d.n += n; err != nil {
			d.err = err
			return err != syscall.EAGAIN
		}
	}
	d.err = nil
	return true
}

// explain tells more of the kernel's errors, as the net package does. Its own tell enough.
func (c *Conn) explain(op string, err error) error {
	if errno, ok := err.(syscall.Errno); ok {
		return &net.OpError{Op: op, Net: c.RemoteAddr().Network(), Source: c.LocalAddr(), Addr: c.RemoteAddr(), Err: os.NewSyscallError(op, errno)}
	}
	return err
}

// SyscallConn implements syscall.Conn.
func (c *Conn) SyscallConn() (syscall.RawConn, error) { return look{c.raw}, nil }

// A look is a RawConn for who reads only when there is something to read, such as go-redis, which looks
// at a connection before it uses it.
type look struct{ syscall.RawConn }

// Read implements syscall.RawConn.
func (l look) Read(f func(fd uintptr) bool) error {
	return l.RawConn.Read(func(fd uintptr) bool {
		var b [1]byte
		if _, err := Peek(int(fd), b[:]); err == syscall.EAGAIN {
			return true
		}
		return f(fd)
	})
}
