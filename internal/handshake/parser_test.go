package handshake_test

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rookery-chat/rookery/internal/handshake"
)

// What could be read in two ways, or wants anything beside a WebSocket, is left to the server.
func TestDoubtful(t *testing.T) {
	t.Parallel()
	with := func(lines string) string { return "GET /ws HTTP/1.1\r\n" + upgrade + lines + "\r\n" }
	less := func(line string) string {
		if !strings.Contains(shake, line) {
			t.Fatalf("%q is not there", line)
		}
		return strings.Replace(shake, line, "", 1)
	}
	for name, p := range map[string]string{
		"nothing":               "",
		"half":                  shake[:len(shake)-2],
		"no CR":                 strings.ReplaceAll(shake, "\r\n", "\n"),
		"an end without CR":     "GET /ws HTTP/1.1\r\n" + upgrade + "\n" + upgrade + "\r\n",
		"a CR alone":            with("X\rContent-Length: 38\r\n"),
		"a NUL":                 with("X: \x00\r\n"),
		"a tab":                 with("X:\ty\r\n"),
		"a DEL":                 with("X: \x7f\r\n"),
		"other than ASCII":      with("X: \xe4\r\n"),
		"another method":        strings.Replace(shake, "GET", "POST", 1),
		"a small method":        strings.Replace(shake, "GET", "get", 1),
		"another path":          strings.Replace(shake, "/ws", "/wss", 1),
		"a path to be cleaned":  strings.Replace(shake, "/ws", "/./ws", 1),
		"an encoded path":       strings.Replace(shake, "/ws", "/%77s", 1),
		"a whole URL":           strings.Replace(shake, "/ws", "http://x/ws", 1),
		"a fragment":            strings.Replace(shake, "/ws", "/ws#x", 1),
		"a space in the target": strings.Replace(shake, "/ws", "/ws?a b", 1),
		"HTTP/1.0":              strings.Replace(shake, "1.1", "1.0", 1),
		"HTTP/2":                strings.Replace(shake, "1.1", "2.0", 1),
		"HTTP/0.9":              "GET /ws?\r\n\r\n" + shake,
		"no host":               less("Host: x\r\n"),
		"an empty host":         strings.Replace(shake, "Host: x", "Host:", 1),
		"two hosts":             with("Host: y\r\n"),
		"a host with a path":    strings.Replace(shake, "Host: x", "Host: x/y", 1),
		"a host with a user":    strings.Replace(shake, "Host: x", "Host: u@x", 1),
		"no upgrade":            less("Upgrade: websocket\r\n"),
		"another upgrade":       strings.Replace(shake, ": websocket", ": h2c", 1),
		"two upgrades":          strings.Replace(shake, ": websocket", ": websocket, h2c", 1),
		"no connection":         less("Connection: keep-alive, Upgrade\r\n"),
		"connection twice":      with("Connection: close\r\n"),
		"another version":       strings.Replace(shake, ": 13", ": 7", 1),
		"two keys":              with("Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"),
		"a body":                with("Content-Length: 4\r\n") + "body",
		"an empty body":         with("Content-Length: 0\r\n"),
		"two lengths":           with("Content-Length: 0\r\nContent-Length: 4\r\n"),
		"chunks":                with("Transfer-Encoding: chunked\r\n") + "0\r\n\r\n",
		"an unknown coding":     with("Transfer-Encoding: xchunked\r\n"),
		"a trailer":             with("Trailer: X\r\n"),
		"an expectation":        with("Expect: 100-continue\r\n"),
		"a folded line":         with("X: y\r\n Content-Length: 4\r\n"),
		"a folded first line":   "GET /ws HTTP/1.1\r\n " + upgrade + "\r\n",
		"a space before colon":  with("X : y\r\n"),
		"a name with a space":   with("X Y: z\r\n"),
		"no name":               with(": z\r\n"),
		"no colon":              with("X\r\n"),
		"a name in brackets":    with("(X): z\r\n"),
	} {
		if r, _ := handshake.Parse([]byte(p)); r != nil {
			t.Errorf("%s is taken: %q", name, p)
		}
	}
}

// A handshake that is taken is one that the server reads in the same way, up to the same byte.
func FuzzParse(f *testing.F) {
	for _, lines := range []string{"", "Origin: http://x\r\n", "X-Forwarded-For: 1.2.3.4\r\nX-Forwarded-For: 5.6.7.8\r\n", "Content-Length: 0\r\n", "X : y\r\n", "A: b\r\n c\r\n", "Pragma: no-cache\r\n"} {
		f.Add([]byte("GET /ws HTTP/1.1\r\n" + upgrade + lines + "\r\nrest"))
		f.Add([]byte("GET /ws?" + lines + " HTTP/1.1\r\n" + upgrade + "\r\n"))
	}
	f.Fuzz(func(t *testing.T, p []byte) {
		r, size := handshake.Parse(p)
		if r == nil {
			return
		}
		seen, rest := asServed(p)
		if seen == nil {
			t.Fatalf("the server refuses it: %q", p)
		}
		if r.Method != seen.Method || r.Host != seen.Host || r.RequestURI != seen.RequestURI || *r.URL != *seen.URL || r.Proto != seen.Proto || !reflect.DeepEqual(r.Header, seen.Header) {
			t.Fatalf("%q\nis read as\n%+v\nby the server as\n%+v", p, r, seen)
		}
		if !bytes.Equal(rest, p[size:]) {
			t.Fatalf("%q: behind it is %q, for the server %q", p, p[size:], rest)
		}
	})
}

// asServed returns what an HTTP server makes of a connection's bytes, and what is behind the first request.
func asServed(p []byte) (seen *http.Request, rest []byte) {
	l := &oneConn{conn: &scripted{said: bytes.NewReader(p), closed: make(chan struct{})}, given: make(chan struct{})}
	handled := make(chan struct{})
	server := &http.Server{MaxHeaderBytes: 16 << 10, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer close(handled)
		seen = r
		if conn, rw, err := http.NewResponseController(w).Hijack(); err == nil {
			rest, _ = io.ReadAll(rw)
			conn.Close()
		}
	})}
	served := make(chan struct{})
	go func() { defer close(served); server.Serve(l) }()
	<-l.conn.closed
	server.Close()
	<-served
	if seen != nil {
		<-handled
	}
	return seen, rest
}

// A scripted connection's peer has said all at once, and then leaves.
type scripted struct {
	net.Conn
	said   *bytes.Reader
	closed chan struct{}
	once   sync.Once
}

func (s *scripted) Read(p []byte) (int, error)       { return s.said.Read(p) }
func (s *scripted) Write(p []byte) (int, error)      { return len(p), nil }
func (s *scripted) SetDeadline(time.Time) error      { return nil }
func (s *scripted) SetReadDeadline(time.Time) error  { return nil }
func (s *scripted) SetWriteDeadline(time.Time) error { return nil }
func (s *scripted) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (s *scripted) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (s *scripted) Close() error {
	s.once.Do(func() { close(s.closed) })
	return nil
}

// oneConn is a listener of one connection.
type oneConn struct {
	conn  *scripted
	given chan struct{}
	once  bool
}

func (l *oneConn) Accept() (net.Conn, error) {
	if !l.once {
		l.once = true
		return l.conn, nil
	}
	<-l.given
	return nil, net.ErrClosed
}

func (l *oneConn) Close() error   { close(l.given); return nil }
func (l *oneConn) Addr() net.Addr { return &net.TCPAddr{} }
