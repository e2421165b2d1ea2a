package proxy

import (
	"bufio"
	"errors"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/pires/go-proxyproto"
)

// headerTimeout is how long a trusted proxy may take to send its PROXY header, or the first
// bytes that tell that there is none.
const headerTimeout = 5 * time.Second

// headerBuffer holds a whole header of version 1, which must come at once.
const headerBuffer = 128

// Listen makes the connections that l accepts from trusted proxies tell who their caller is: when
// they begin with a header of the PROXY protocol, version 1 or 2, RemoteAddr is the address in
// it. Connections from anybody else are left as they are, a header that they send included.
//
// Accept does not wait for the header: the first Read or RemoteAddr of the connection does. So
// call these on the connection's own goroutine.
func Listen(l net.Listener, trusted Trusted) net.Listener {
	if len(trusted) == 0 {
		return l
	}
	return &listener{l, trusted}
}

type listener struct {
	net.Listener
	trusted Trusted // Fixed at construction.
}

func (l *listener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil || !l.trusted.Contains(AddrPort(c.RemoteAddr()).Addr()) {
		return c, err
	}
	return &conn{Conn: c}, nil
}

// AddrPort returns a TCP address as a value; the zero value for any other.
func AddrPort(a net.Addr) netip.AddrPort {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	ap := tcp.AddrPort()
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}

// A conn comes from a trusted proxy, and may begin with a header.
type conn struct {
	net.Conn

	begin  sync.Once
	err    error    // why the header could not be read. Set by begin.
	remote net.Addr // Set by begin.

	early []byte // read with the header. Set by begin, then owned by the reader.

	mu       sync.Mutex
	begun    bool      // the header was read, or was not there. Guarded by mu.
	by       time.Time // when the header must have come; zero before anybody waits for it. Guarded by mu.
	deadline time.Time // of reads, as it was set from outside before begun. Guarded by mu.
}

func (c *conn) header() error {
	c.begin.Do(func() {
		c.remote = c.Conn.RemoteAddr()
		c.bound()
		r := bufio.NewReaderSize(c.Conn, headerBuffer)
		h, err := proxyproto.Read(r)
		switch {
		case errors.Is(err, proxyproto.ErrNoProxyProtocol):
		case err != nil:
			c.err = err
		case !h.Command.IsLocal():
			if source, ok := h.SourceAddr.(*net.TCPAddr); ok {
				c.remote = source
			}
		}
		held, _ := r.Peek(r.Buffered())
		c.early = append(c.early, held...)
		c.unbound()
	})
	return c.err
}

// bound sets the deadline of the header, unless an earlier one was set.
func (c *conn) bound() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.by = time.Now().Add(headerTimeout)
	if !c.deadline.IsZero() && c.deadline.Before(c.by) {
		c.by = c.deadline
	}
	c.Conn.SetReadDeadline(c.by)
}

// unbound sets the deadline that would be there without a header.
func (c *conn) unbound() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.begun = true
	c.Conn.SetReadDeadline(c.deadline)
}

func (c *conn) RemoteAddr() net.Addr {
	c.header()
	return c.remote
}

func (c *conn) Read(p []byte) (int, error) {
	if err := c.header(); err != nil {
		return 0, err
	}
	if len(c.early) > 0 {
		n := copy(p, c.early)
		if c.early = c.early[n:]; len(c.early) == 0 {
			c.early = nil
		}
		return n, nil
	}
	return c.Conn.Read(p)
}

// SetDeadline and SetReadDeadline hold for the header too, and after it.
func (c *conn) SetDeadline(t time.Time) error {
	if err := c.Conn.SetWriteDeadline(t); err != nil {
		return err
	}
	return c.SetReadDeadline(t)
}

func (c *conn) SetReadDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.begun {
		if c.deadline = t; t.IsZero() || !t.Before(c.by) {
			return nil // bound and unbound see to it
		}
	}
	return c.Conn.SetReadDeadline(t)
}

// NetConn returns the connection under c, as that of a tls.Conn does.
func (c *conn) NetConn() net.Conn { return c.Conn }

// CloseWrite lets an HTTP server end a connection after an error without losing its answer.
func (c *conn) CloseWrite() error {
	if tcp, ok := c.Conn.(*net.TCPConn); ok {
		return tcp.CloseWrite()
	}
	return nil
}

// Unwrap returns the connection that the kernel knows, for who wants more of it than net.Conn
// offers, and what was read of it beyond the header. The error is that of a header that is none. Call
// it once, when nobody else reads.
func Unwrap(c net.Conn) (net.Conn, []byte, error) {
	p, ok := c.(*conn)
	if !ok {
		return c, nil, nil
	}
	err := p.header()
	return p.Conn, p.early, err
}

// PutBack returns c as it was before bytes were read of it, all of which came since. Unwrap sees
// through it. Call it when nobody else reads.
func PutBack(c net.Conn, early []byte) net.Conn {
	p, ok := c.(*conn)
	if !ok {
		p = &conn{Conn: c}
		p.begin.Do(func() { p.remote, p.begun = c.RemoteAddr(), true })
	}
	p.early = append(early, p.early...)
	return p
}
