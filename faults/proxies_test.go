package faults_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/rookery-chat/rookery/internal/processtest"
	"github.com/rookery-chat/rookery/internal/redistest"
	"github.com/rookery-chat/rookery/wire"
)

// Loopback has many addresses: proxies are at one, and who calls is at another.
const (
	trustedProxy = "127.0.0.2"
	caller       = "127.0.0.9"

	proxyV1 = "PROXY TCP4 203.0.113.7 127.0.0.1 4711 8000\r\n"
	proxyV2 = "\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c\xcb\x00\x71\x07\x7f\x00\x00\x01\x12\x67\x1f\x40"
)

// ahead sends some bytes before, and together with, the first that are written.
type ahead struct {
	net.Conn
	bytes string
}

func (a *ahead) Write(p []byte) (int, error) {
	before := a.bytes
	a.bytes = "" // first: once it is written, the answer may bring the next write
	n, err := a.Conn.Write(append([]byte(before), p...))
	return max(0, n-len(before)), err
}

// A way is how somebody comes to a node.
type way struct {
	from      string // the address that is called from
	header    string // of the PROXY protocol, before everything
	forwarded string // X-Forwarded-For
	tls       *tls.Config
}

// dial opens a WebSocket to addr; its error has the HTTP answer where there was one.
func (w way) dial(t *testing.T, addr string) (*websocket.Conn, *http.Response, error) {
	t.Helper()
	transport := &http.Transport{
		TLSClientConfig: w.tls,
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(w.from)}}
			c, err := d.DialContext(ctx, network, addr)
			if err != nil {
				return nil, err
			}
			return &ahead{c, w.header}, nil
		},
	}
	t.Cleanup(transport.CloseIdleConnections)
	scheme := "ws"
	if w.tls != nil {
		scheme = "wss"
	}
	opts := &websocket.DialOptions{HTTPClient: &http.Client{Transport: transport}}
	if w.forwarded != "" {
		opts.HTTPHeader = http.Header{"X-Forwarded-For": {w.forwarded}}
	}
	conn, r, err := websocket.Dial(t.Context(), scheme+"://"+addr+"/ws", opts)
	if err == nil {
		t.Cleanup(func() { conn.CloseNow() })
	}
	return conn, r, err
}

// enter says hello as user, by way of w, and returns the address that the server API of node shows.
func (w way) enter(t *testing.T, addr, user string, node *process) string {
	t.Helper()
	conn, _, err := w.dial(t, addr)
	if err != nil {
		t.Fatalf("%+v: %v", w, err)
	}
	if err := conn.Write(t.Context(), websocket.MessageText, wire.Command{Type: "hello", ID: 1, User: user}.Append(nil)); err != nil {
		t.Fatal(err)
	}
	if _, b, err := conn.Read(t.Context()); err != nil {
		t.Fatal(err)
	} else if _, ok := parse(b).(*wire.Welcome); !ok {
		t.Fatalf("%s is answered %s", user, b)
	}
	_, answer := call(t, node, "GET", "/v1/users/"+user, "")
	sessions, _ := answer["sessions"].([]any)
	if len(sessions) != 1 {
		t.Fatalf("%s: %v", user, answer)
	}
	address, _ := sessions[0].(map[string]any)["address"].(string)
	return address
}

// Operators see the address of who calls, be there a proxy that says it in whichever way or none; and
// nobody can say of himself that he is somebody else.
func TestWhoIsCalling(t *testing.T) {
	t.Parallel()
	node := serve(t, nil, "--trusted-proxies="+trustedProxy+",10.0.0.0/8")
	for user, row := range map[string]struct {
		way
		want string
	}{
		"direct":       {way{from: caller}, caller + ":"},
		"v1":           {way{from: trustedProxy, header: proxyV1}, "203.0.113.7:4711"},
		"v2":           {way{from: trustedProxy, header: proxyV2}, "203.0.113.7:4711"},
		"forwarded":    {way{from: trustedProxy, forwarded: "6.6.6.6, 203.0.113.7, 10.0.0.1"}, "203.0.113.7"},
		"quiet":        {way{from: trustedProxy}, trustedProxy + ":"},
		"both":         {way{from: trustedProxy, header: proxyV1, forwarded: "6.6.6.6"}, "203.0.113.7:4711"},
		"chain":        {way{from: trustedProxy, header: "PROXY TCP4 10.0.0.1 127.0.0.1 9 9\r\n", forwarded: "6.6.6.6, 203.0.113.8"}, "203.0.113.8"},
		"forger":       {way{from: caller, forwarded: "203.0.113.7"}, caller + ":"},
		"unauthorized": {way{from: "127.0.0.1", forwarded: "203.0.113.7"}, "127.0.0.1:"},
	} {
		if got := row.enter(t, node.Addr, user, node); !strings.HasPrefix(got, row.want) || (!strings.HasSuffix(row.want, ":") && got != row.want) {
			t.Errorf("%s: %s, want %s", user, got, row.want)
		}
	}
	for _, header := range []string{proxyV1, proxyV2} {
		if _, r, err := (way{from: caller, header: header}).dial(t, node.Addr); err == nil || r == nil || r.StatusCode != http.StatusBadRequest {
			t.Errorf("a header %q of anybody: %v, %v", header, r, err)
		}
	}
	if _, r, err := (way{from: trustedProxy, header: "PROXY TCP4 nonsense\r\n"}).dial(t, node.Addr); err == nil || r != nil && r.StatusCode != http.StatusBadRequest {
		t.Errorf("a bad header of a proxy: %v, %v", r, err)
	}
}

// The header of the PROXY protocol comes before TLS. Without being trusted, it is no TLS.
func TestProxyBeforeTLS(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	config := &tls.Config{RootCAs: certify(t, cert, key, 1)}
	node := serve(t, nil, "--tls-cert="+cert, "--tls-key="+key, "--trusted-proxies="+trustedProxy)
	for user, row := range map[string]struct {
		way
		want string
	}{
		"v1":     {way{from: trustedProxy, header: proxyV1, tls: config}, "203.0.113.7:4711"},
		"v2":     {way{from: trustedProxy, header: proxyV2, tls: config}, "203.0.113.7:4711"},
		"direct": {way{from: caller, tls: config}, caller + ":"},
	} {
		if got := row.enter(t, node.Addr, user, node); !strings.HasPrefix(got, row.want) {
			t.Errorf("%s: %s, want %s", user, got, row.want)
		}
	}
	if _, _, err := (way{from: caller, header: proxyV2, tls: config}).dial(t, node.Addr); err == nil {
		t.Error("a header of anybody is taken for TLS")
	}
}

// Half a header, a hundred times, holds up nobody, and is not waited for for ever.
func TestHalfProxyHeader(t *testing.T) {
	t.Parallel()
	node := serve(t, nil, "--trusted-proxies="+trustedProxy)
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(trustedProxy)}}
	var half []net.Conn
	for i := range 100 {
		c, err := d.DialContext(t.Context(), "tcp", node.Addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		io.WriteString(c, []string{"", "PRO", proxyV2[:3], proxyV2[:20]}[i%4])
		half = append(half, c)
	}
	if got := (way{from: trustedProxy, header: proxyV1}).enter(t, node.Addr, "alice", node); got != "203.0.113.7:4711" {
		t.Errorf("behind them comes %s", got)
	}
	for _, c := range half {
		c.SetReadDeadline(time.Now().Add(patience))
		if b, err := io.ReadAll(c); os.IsTimeout(err) {
			t.Fatalf("half a header is waited for after %v: %q", patience, b)
		}
	}
}

// A session behind a PROXY header is the kernel's own connection to the node, as any other: it is
// parked without a reader while its peer says nothing. One under TLS cannot be.
func TestProxiedSessionIsAsLean(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	config := &tls.Config{RootCAs: certify(t, cert, key, 1)}
	// readers counts the goroutines that wait for a session's peer to say something.
	readers := func(node *process) int {
		c := processtest.HTTP
		r, err := c.Get("http://" + node.Admin + "/debug/pprof/goroutine?debug=2")
		if err != nil {
			t.Fatal(err)
		}
		defer r.Body.Close()
		b, err := io.ReadAll(r.Body)
		if err != nil {
			t.Fatal(err)
		}
		count := 0
		for stack := range strings.SplitSeq(string(b), "\n\n") {
			if strings.Contains(stack, "node.(*session).run(") || strings.Contains(stack, "node.(*session).resume(") {
				count++
			}
		}
		return count
	}
	node := serve(t, nil, "--trusted-proxies="+trustedProxy)
	for i, header := range []string{"", proxyV1, proxyV2} {
		way{from: trustedProxy, header: header}.enter(t, node.Addr, fmt.Sprint("user", i), node)
		await(t, "the session is parked", func() bool { return readers(node) == 0 })
	}
	secure := serve(t, nil, "--trusted-proxies="+trustedProxy, "--tls-cert="+cert, "--tls-key="+key)
	way{from: trustedProxy, header: proxyV1, tls: config}.enter(t, secure.Addr, "alice", secure)
	if got := readers(secure); got != 1 {
		t.Errorf("%d readers of a session under TLS", got)
	}
}

// What one address may do is about who calls, not about the proxy.
func TestLimitBehindProxy(t *testing.T) {
	t.Parallel()
	node := serve(t, nil, "--trusted-proxies="+trustedProxy, "--limit-ip-sessions=3")
	address := func(last int) way {
		return way{from: trustedProxy, header: fmt.Sprintf("PROXY TCP4 203.0.113.%d 127.0.0.1 4711 8000\r\n", last)}
	}
	for last := range 5 {
		for i := range 3 {
			address(last).enter(t, node.Addr, fmt.Sprintf("user%d-%d", last, i), node)
		}
		if _, r, err := address(last).dial(t, node.Addr); err == nil || r.StatusCode != http.StatusTooManyRequests || r.Header.Get("Retry-After") == "" {
			t.Errorf("a fourth session of an address: %v, %v", r, err)
		}
	}
	for i := range 5 {
		way{from: trustedProxy}.enter(t, node.Addr, fmt.Sprint("unknown", i), node)
		way{from: "127.0.0.1"}.enter(t, node.Addr, fmt.Sprint("local", i), node)
	}
	if said := node.Said(); strings.Count(said, "goes beyond its limit") != 1 || !strings.Contains(said, "203.0.113.0") {
		t.Error("the log should tell once, by its address, who goes beyond a limit")
	}
}

// Behind haproxy, on two nodes, the true address is seen: when it passes bytes and says PROXY, and
// when it speaks HTTP and says X-Forwarded-For, also to who says so himself.
func TestBehindHaproxy(t *testing.T) {
	t.Parallel()
	redis := redistest.Start(t)
	nodes := []*process{serve(t, redis, "--trusted-proxies="+trustedProxy), serve(t, redis, "--trusted-proxies="+trustedProxy)}
	tcp, web := balance(t, nodes)
	for i := range 6 { // over both nodes, and asking each
		node := nodes[i/2%2]
		if got := (way{from: caller}).enter(t, tcp, fmt.Sprint("tcp", i), node); !strings.HasPrefix(got, caller+":") {
			t.Errorf("by PROXY: %s", got)
		}
		w := way{from: caller}
		if i%2 == 1 {
			w.forwarded = "6.6.6.6"
		}
		if got := w.enter(t, web, fmt.Sprint("web", i), node); got != caller {
			t.Errorf("by X-Forwarded-For %+v: %s", w, got)
		}
	}
	for _, n := range nodes {
		if n.Metric("rookery_sessions") == 0 {
			t.Error("a node got no session")
		}
	}
}

// balance runs haproxy before nodes: at one address it passes bytes on, at the other it speaks HTTP.
func balance(t *testing.T, nodes []*process) (tcp, web string) {
	t.Helper()
	tcp, web = processtest.FreeAddr(t), processtest.FreeAddr(t)
	servers := func(options string) (s string) {
		for i, n := range nodes {
			s += fmt.Sprintf("  server node%d %s source %s %s\n", i, n.Addr, trustedProxy, options)
		}
		return s
	}
	text := "global\n  maxconn 1000\ndefaults\n  timeout connect 5s\n  timeout client 1m\n  timeout server 1m\n  balance roundrobin\n" +
		"listen tcp\n  mode tcp\n  bind " + tcp + "\n" + servers("send-proxy-v2 check") +
		"listen web\n  mode http\n  option forwardfor\n  bind " + web + "\n" + servers("")
	config := filepath.Join(t.TempDir(), "haproxy.cfg")
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	runHaproxy(t, config)
	for _, addr := range []string{tcp, web} {
		await(t, "haproxy listens", func() bool {
			c, err := net.Dial("tcp", addr)
			if err == nil {
				c.Close()
			}
			return err == nil
		})
	}
	return tcp, web
}
