package proxy_test

import (
	"bufio"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/rookery-chat/rookery/proxy"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	trusted  = "127.0.0.2"
	stranger = "127.0.0.3"

	v1 = "PROXY TCP4 203.0.113.7 127.0.0.1 4711 8000\r\n"
	v2 = "\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c\xcb\x00\x71\x07\x7f\x00\x00\x01\x12\x67\x1f\x40"
	v6 = "\r\n\r\n\x00\r\nQUIT\n\x21\x21\x00\x24\x20\x01\x0d\xb8\x00\x02\x00\x00\x00\x00\x00\x00\x00\x00\x00\x05" +
		"\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01\x12\x67\x1f\x40"
	local = "\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00"
)

// listen returns a listener that trusts one of loopback's addresses.
func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return proxy.Listen(l, trust(t, trusted))
}

// dial connects from an address and sends first.
func dial(t *testing.T, l net.Listener, from, first string) net.Conn {
	t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	c, err := d.DialContext(t.Context(), "tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if _, err := io.WriteString(c, first); err != nil {
		t.Fatal(err)
	}
	return c
}

func accept(t *testing.T, l net.Listener) net.Conn {
	t.Helper()
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// Of a trusted proxy the header is taken off and believed, of anybody else it is what the caller
// said, and all bytes after it are there, also for who unwraps the connection.
func TestListen(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		from, header, address string
		read                  string // of the header
	}{
		"version 1":            {trusted, v1, "203.0.113.7:4711", ""},
		"version 2":            {trusted, v2, "203.0.113.7:4711", ""},
		"version 2, IPv6":      {trusted, v6, "[2001:db8:2::5]:4711", ""},
		"unknown":              {trusted, "PROXY UNKNOWN\r\n", trusted, ""},
		"the proxy itself":     {trusted, local, trusted, ""},
		"none":                 {trusted, "", trusted, ""},
		"one like it":          {trusted, "POST ", trusted, "POST "},
		"version 1 of another": {stranger, v1, stranger, v1},
		"version 2 of another": {stranger, v2, stranger, v2},
		"none of another":      {stranger, "", stranger, ""},
	} {
		for _, unwrap := range []bool{false, true} {
			l := listen(t)
			const text = "GET / HTTP/1.1\r\n\r\n"
			peer := dial(t, l, row.from, row.header+text)
			c := accept(t, l)
			if got := c.RemoteAddr().String(); !strings.HasPrefix(got, row.address) {
				t.Errorf("%s: from %s, want %s", name, got, row.address)
			}
			var early []byte
			if unwrap {
				c, early, _ = proxy.Unwrap(c)
				if _, ok := c.(*net.TCPConn); !ok {
					t.Errorf("%s: unwrapped to %T", name, c)
				}
			}
			io.WriteString(peer, "more")
			peer.(*net.TCPConn).CloseWrite()
			rest, err := io.ReadAll(c)
			if got := string(early) + string(rest); err != nil || got != row.read+text+"more" {
				t.Errorf("%s, unwrapped %v: read %q, %v", name, unwrap, got, err)
			}
		}
	}
}

// A trusted proxy whose header is wrong, or ends in the middle, gets nothing through.
func TestBadHeader(t *testing.T) {
	t.Parallel()
	for _, header := range []string{
		"PROXY TCP4 203.0.113.7 127.0.0.1 4711\r\n", "PROXY TCP4 203.0.113.777 127.0.0.1 4711 8000\r\n", "PROXY\r\n",
		"PROXY TCP4 203.0.113.7 127.0.0.1 4711 8000 \n", "PROXY " + strings.Repeat("x", 200) + "\r\n", v1[:20],
		v2[:20], strings.Replace(v2, "\x21\x11", "\x31\x11", 1), strings.Replace(v2, "\x00\x0c", "\xff\xff", 1),
	} {
		l := listen(t)
		peer := dial(t, l, trusted, header)
		peer.(*net.TCPConn).CloseWrite()
		c := accept(t, l)
		if b, err := io.ReadAll(c); err == nil || len(b) > 0 {
			t.Errorf("%q: read %q, %v", header, b, err)
		}
		if _, _, err := proxy.Unwrap(c); err == nil {
			t.Errorf("%q: unwrapped", header)
		}
		if got := c.RemoteAddr().String(); !strings.HasPrefix(got, trusted) {
			t.Errorf("%q: from %s", header, got)
		}
	}
}

// Who sends half a header holds up nobody else, and is not waited for beyond the deadline, be it
// the header's or an earlier one.
func TestHalfHeader(t *testing.T) {
	t.Parallel()
	l := listen(t)
	dial(t, l, trusted, v2[:14])
	half := accept(t, l)
	dial(t, l, trusted, v1+"hello\n")
	whole := accept(t, l)
	if s, err := bufio.NewReader(whole).ReadString('\n'); s != "hello\n" {
		t.Errorf("behind half a header: %q, %v", s, err)
	}
	half.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
	if _, err := half.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("half a header: %v", err)
	}

	dial(t, l, trusted, "PRO")
	half = accept(t, l)
	half.SetReadDeadline(time.Time{})
	if _, err := half.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("half a header, without a deadline of its own: %v", err)
	}
}

// A deadline that was set before the header came holds after it.
func TestDeadline(t *testing.T) {
	t.Parallel()
	l := listen(t)
	dial(t, l, trusted, v1+"x")
	c := accept(t, l)
	c.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
	for {
		if _, err := c.Read(make([]byte, 1)); err != nil {
			if !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Error(err)
			}
			return
		}
	}
}
