package proxy_test

import (
	"bytes"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/rookery-chat/rookery/proxy"
)

// A script is a connection, and the listener that accepts it, whose peer has said all at once.
type script struct {
	net.Conn
	from string
	said *bytes.Reader
}

func (s *script) Accept() (net.Conn, error)       { return s, nil }
func (s *script) Addr() net.Addr                  { return nil }
func (s *script) Close() error                    { return nil }
func (s *script) Read(b []byte) (int, error)      { return s.said.Read(b) }
func (s *script) SetDeadline(time.Time) error     { return nil }
func (s *script) SetReadDeadline(time.Time) error { return nil }
func (s *script) RemoteAddr() net.Addr {
	return net.TCPAddrFromAddrPort(netip.MustParseAddrPort(s.from + ":4711"))
}

// Whatever a connection begins with: a stranger's bytes come as they are, under its own address; a
// trusted proxy's header is taken off whole, or ends the connection.
func FuzzHeader(f *testing.F) {
	for _, header := range []string{"", "GET / HTTP/1.1\r\n", v1, v2, v6, local, v1[:20], v2[:13], "PROXY UNKNOWN\r\n", "PROXY TCP4 1 2 3 4\r\n", "PROXY TCP6 ::1 ::1 1 99999\r\n", v1 + v1, "\r\n\r\n\x00\r\nQUIT\n\x21\x11\xff\xff"} {
		f.Add([]byte(header))
	}
	who := trust(f, trusted)
	f.Fuzz(func(t *testing.T, header []byte) {
		said := append(bytes.Clone(header), "\r\nrest"...)
		for _, from := range []string{stranger, trusted} {
			c, err := proxy.Listen(&script{from: from, said: bytes.NewReader(said)}, who).Accept()
			if err != nil {
				t.Fatal(err)
			}
			caller := proxy.AddrPort(c.RemoteAddr())
			got, err := io.ReadAll(c)
			switch {
			case err == nil && !bytes.HasSuffix(said, got):
				t.Errorf("%q became %q", said, got)
			case !caller.IsValid():
				t.Errorf("%q comes from nowhere", said)
			case from == stranger && (err != nil || len(got) != len(said) || caller.Addr().String() != stranger):
				t.Errorf("%q of a stranger became %q of %v, %v", said, got, caller, err)
			case err == nil && len(got) == len(said) && caller.Addr().String() != from:
				t.Errorf("without a header, %q comes from %v", said, caller)
			}
		}
	})
}
