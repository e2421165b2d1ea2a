package handshake_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/rookery-chat/rookery/internal/handshake"
	"github.com/rookery-chat/rookery/proxy"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	upgrade = "Host: x\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
	shake   = "GET /ws HTTP/1.1\r\n" + upgrade + "\r\n"
)

// serve serves a handler that echoes on /ws once it has the connection, refuses /ws?no, and tells of all other
// requests, until the test ends. Each answer says whether the server made it.
func serve(t *testing.T, trusted ...string) (addr string) {
	t.Helper()
	base, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	who, err := proxy.ParseTrusted(trusted)
	if err != nil {
		t.Fatal(err)
	}
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("By-Server", fmt.Sprint(r.Context().Value(http.ServerContextKey) != nil))
		w.Header().Set("Caller", r.RemoteAddr)
		if r.URL.Path != "/ws" {
			fmt.Fprint(w, "page ", r.URL.Path)
			return
		}
		if r.URL.RawQuery == "no" {
			w.Header().Set("Retry-After", "1")
			http.Error(w, "come back", http.StatusServiceUnavailable)
			return
		}
		w.WriteHeader(http.StatusSwitchingProtocols)
		conn, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		conn.SetDeadline(time.Time{})
		early, _ := rw.Reader.Peek(rw.Reader.Buffered())
		bare, held, err := proxy.Unwrap(conn)
		if _, kernel := bare.(*net.TCPConn); !kernel || err != nil {
			t.Errorf("the connection is %T, %v", bare, err)
		}
		io.Copy(bare, io.MultiReader(strings.NewReader(string(early)+string(held)), bare))
	})
	l := handshake.Listen(proxy.Listen(base, who), h)
	server := &http.Server{Handler: h}
	done := make(chan struct{})
	go func() { defer close(done); l.Run() }()
	served := make(chan error)
	go func() { served <- server.Serve(l) }()
	t.Cleanup(func() {
		server.Close()
		if err := <-served; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
		<-done
	})
	return base.Addr().String()
}

func dial(t *testing.T, addr, first string) (net.Conn, *bufio.Reader) {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(20 * time.Second))
	io.WriteString(conn, first)
	return conn, bufio.NewReader(conn)
}

func answer(t *testing.T, r *bufio.Reader) *http.Response {
	t.Helper()
	a, err := http.ReadResponse(r, nil)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// Who says hello with the handshake, or after it, is heard, whoever answers the handshake: only what is
// plain is answered without the server.
func TestHandshake(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		said   string
		server bool
	}{
		"plain":            {shake, false},
		"with a query":     {"GET /ws?v=1 HTTP/1.1\r\n" + upgrade + "\r\n", false},
		"of a browser":     {"GET /ws HTTP/1.1\r\n" + upgrade + "Origin: http://x\r\nCookie: a=b; c=d\r\nSec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\r\n", false},
		"with two cookies": {"GET /ws HTTP/1.1\r\n" + upgrade + "Cookie: a=b\r\nCookie: c=d\r\n\r\n", true},
		"a long one":       {"GET /ws HTTP/1.1\r\n" + upgrade + "Cookie: " + strings.Repeat("x", 5000) + "\r\n\r\n", true},
		"an umlaut":        {"GET /ws HTTP/1.1\r\n" + upgrade + "X: \xc3\xa4\r\n\r\n", true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conn, r := dial(t, serve(t), row.said+"early ")
			a := answer(t, r)
			if by := a.Header.Get("By-Server"); a.StatusCode != 101 || by != fmt.Sprint(row.server) {
				t.Fatalf("%s, by the server: %s", a.Status, by)
			}
			io.WriteString(conn, "late")
			got := make([]byte, len("early late"))
			if _, err := io.ReadFull(r, got); err != nil || string(got) != "early late" {
				t.Fatalf("%q, %v", got, err)
			}
		})
	}
}

// All that is no handshake is the server's, from its first byte on: also what comes piece by piece, and what follows.
func TestOthers(t *testing.T) {
	t.Parallel()
	conn, r := dial(t, serve(t), "GET /a HTTP/1.1\r\nHost: x\r\n\r\nGET /b HTTP/1.1\r\nHost: x\r\n\r\n")
	for _, want := range []string{"page /a", "page /b"} {
		if body, _ := io.ReadAll(answer(t, r).Body); string(body) != want {
			t.Fatalf("%q instead of %q", body, want)
		}
	}
	conn.Close()

	conn, r = dial(t, serve(t), shake[:20])
	time.Sleep(20 * time.Millisecond) // usually enough for a piece of its own: if it is not, less is seen here
	io.WriteString(conn, shake[20:])
	if a := answer(t, r); a.StatusCode != 101 {
		t.Fatal(a.Status)
	}
}

// Who is refused is told why and when to come back, and nothing that was sent behind the handshake is served.
func TestRefused(t *testing.T) {
	t.Parallel()
	_, r := dial(t, serve(t), "GET /ws?no HTTP/1.1\r\n"+upgrade+"\r\nGET /page HTTP/1.1\r\nHost: x\r\n\r\n")
	a := answer(t, r)
	body, _ := io.ReadAll(a.Body)
	if a.StatusCode != 503 || a.Header.Get("Retry-After") != "1" || !a.Close || string(body) != "come back\n" || a.Header.Get("By-Server") != "false" {
		t.Fatalf("%s %v %q", a.Status, a.Header, body)
	}
	if rest, err := io.ReadAll(r); len(rest) > 0 || err != nil {
		t.Fatalf("then came %q, %v", rest, err)
	}
}

// A trusted proxy says whose connection it is, whoever answers.
func TestProxied(t *testing.T) {
	t.Parallel()
	addr := serve(t, "loopback")
	for _, said := range []string{shake, "GET /page HTTP/1.1\r\nHost: x\r\n\r\n"} {
		_, r := dial(t, addr, "PROXY TCP4 203.0.113.7 127.0.0.1 4711 8000\r\n"+said)
		if a := answer(t, r); a.Header.Get("Caller") != "203.0.113.7:4711" {
			t.Errorf("%q: %s", said, a.Header.Get("Caller"))
		}
	}
}

// The end does not wait for who has not said anything, nor keeps them.
func TestEnd(t *testing.T) {
	t.Parallel()
	var silent net.Conn
	var r *bufio.Reader
	t.Run("serve", func(t *testing.T) {
		addr := serve(t)
		var err error
		if silent, err = net.Dial("tcp", addr); err != nil {
			t.Fatal(err)
		}
		r = bufio.NewReader(silent)
		_, after := dial(t, addr, "GET /a HTTP/1.1\r\nHost: x\r\n\r\n") // accepted behind silent
		answer(t, after)
	})
	defer silent.Close()
	silent.SetDeadline(time.Now().Add(4 * time.Second)) // less than it might have taken
	if _, err := r.ReadByte(); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatal(err)
	}
}
