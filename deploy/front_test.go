package deploy_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rookery-chat/rookery/client"
	"github.com/rookery-chat/rookery/wire"
)

// fronts are the load balancers that deploy/ knows, each before a cluster of its own.
var fronts = map[string]func(*cluster) front{"haproxy": (*cluster).haproxy, "nginx": (*cluster).nginx}

// behindEach runs a test with each load balancer, which the test starts when the cluster has nodes.
func behindEach(t *testing.T, test func(t *testing.T, c *cluster, balance func() front)) {
	t.Parallel()
	for name, run := range fronts {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newCluster(t)
			test(t, c, func() front { return run(c) })
		})
	}
}

// People chat through a load balancer while nodes come, drain, end and die: it finds the new ones, lets
// nobody wait for those that go, and nobody misses or doubles a message.
func TestFrontFollowsNodes(t *testing.T) {
	behindEach(t, func(t *testing.T, c *cluster, balance func() front) {
		c.start("127.0.1.1")
		f := balance()
		const people = 12
		ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
		defer cancel()
		var wg sync.WaitGroup
		got := make(chan string, 1000)
		clients := make([]*client.Client, people)
		for i := range clients {
			clients[i] = client.New("ws://"+f.public+"/ws", &client.Options{User: fmt.Sprint("user", i)})
			wg.Go(func() { clients[i].Run(ctx) })
			wg.Go(func() {
				for ev := range clients[i].Events(ctx) {
					if m := texts(ev); m != "" {
						got <- fmt.Sprint(i, " ", m)
					}
				}
			})
			if _, err := clients[i].Join(ctx, "lobby", nil); err != nil {
				t.Fatal(err)
			}
		}
		defer wg.Wait()
		defer cancel()
		said := 0
		talk := func() {
			t.Helper()
			text := fmt.Sprintf("%q", fmt.Sprint("message ", said))
			if _, err := clients[said%people].Publish(ctx, "lobby", fmt.Sprint("message ", said), nil); err != nil {
				t.Fatalf("message %d: %v", said, err)
			}
			said++
			heard := make(map[string]int)
			for len(heard) < people {
				select {
				case s := <-got:
					heard[s]++
					if !strings.HasSuffix(s, " "+text) || heard[s] > 1 {
						t.Fatalf("after %s somebody got %s, %d times", text, s, heard[s])
					}
				case <-ctx.Done():
					t.Fatalf("only %d got %s", len(heard), text)
				}
			}
		}
		talk()
		// Two more come, and are found.
		c.start("127.0.1.2")
		c.start("127.0.1.3")
		reached := func(host string) func() bool {
			return func() bool {
				get("http://" + f.public + "/plain") // refused, but by the node
				return c.node(host).Metric("rookery_handshakes_refused_total") > 0
			}
		}
		await(t, "the second node is found", reached("127.0.1.2"))
		await(t, "the third node is found", reached("127.0.1.3"))
		talk()
		// The first one drains, and all of its people come back elsewhere.
		first := c.node("127.0.1.1")
		first.Signal(syscall.SIGTERM)
		talk()
		<-first.Exited
		c.remove("127.0.1.1")
		talk()
		// Another one dies.
		c.node("127.0.1.2").Kill()
		talk()
		for range 20 { // and nobody is sent to it
			if status, _ := get("http://" + f.public + "/rookery.js"); status != 200 {
				t.Errorf("with a dead node, the page's status is %d", status)
			}
		}
		c.remove("127.0.1.2")
		talk()
	})
}

// texts returns the data of an event that is a message of the lobby.
func texts(ev any) string {
	if m, ok := ev.(*wire.Message); ok && m.Topic == "lobby" {
		return string(m.Data)
	}
	return ""
}

// A tap leads to a real node, and keeps what a load balancer sends there.
type tap struct {
	mu   sync.Mutex
	sent bytes.Buffer // Guarded by mu.
}

// take returns what was sent since the last time.
func (p *tap) take() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.sent.String()
	p.sent.Reset()
	return s
}

func (p *tap) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.sent.Write(b)
}

// tapped puts a node behind a tap: the tap has the public address that the name server tells, and the node's
// admin listener is where it should be.
func (c *cluster) tapped(host, behind string) *tap {
	c.t.Helper()
	l, err := net.Listen("tcp", c.at(host))
	if err != nil {
		c.t.Fatal(err)
	}
	p := &tap{}
	var serving sync.WaitGroup
	c.t.Cleanup(func() { l.Close(); serving.Wait() })
	serving.Go(func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			serving.Go(func() {
				defer in.Close()
				out, err := net.Dial("tcp", c.at(behind))
				if err != nil {
					return
				}
				defer out.Close()
				var both sync.WaitGroup
				both.Go(func() { io.Copy(io.MultiWriter(p, out), in); out.(*net.TCPConn).CloseWrite() })
				both.Go(func() { io.Copy(in, out); in.(*net.TCPConn).CloseWrite() })
				both.Wait()
			})
		}
	})
	c.start(host, "--listen="+c.at(behind))
	return p
}

// exchange sends raw bytes to a load balancer, and returns all that it answers until it closes, or says nothing more.
func exchange(t *testing.T, addr, raw string) string {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	io.WriteString(conn, raw)
	var answer bytes.Buffer
	for b := make([]byte, 4096); ; {
		conn.SetReadDeadline(time.Now().Add(500 * time.Millisecond))
		n, err := conn.Read(b)
		answer.Write(b[:n])
		if err != nil {
			return answer.String()
		}
	}
}

const smuggled = "GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"

// What two could read differently reaches no node as a second request, whichever way it is written.
func TestSmuggling(t *testing.T) {
	length := func(n int) string { return fmt.Sprintf("Content-Length: %d\r\n", n) }
	all := length(len(smuggled))
	chunked := "Transfer-Encoding: chunked\r\n"
	upgrade := "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
	const v1 = "GET /v1/smuggled HTTP/1.1\r\nHost: x\r\n\r\n" // refused, where it is seen as a request
	probes := map[string]string{
		"body of a GET":              "GET /rookery.js HTTP/1.1\r\nHost: x\r\n" + all + "\r\n" + smuggled,
		"CL+TE":                      "GET /rookery.js HTTP/1.1\r\nHost: x\r\n" + all + chunked + "\r\n0\r\n\r\n" + smuggled,
		"CL+TE of a POST":            "POST /ws HTTP/1.1\r\nHost: x\r\n" + length(4) + chunked + "\r\n0\r\n\r\n" + smuggled,
		"TE+CL":                      "GET /rookery.js HTTP/1.1\r\nHost: x\r\n" + chunked + length(4) + fmt.Sprintf("\r\n%x\r\n%s\r\n0\r\n\r\n", len(smuggled), smuggled),
		"two lengths":                "GET /rookery.js HTTP/1.1\r\nHost: x\r\n" + length(0) + all + "\r\n" + smuggled,
		"one length twice":           "GET /rookery.js HTTP/1.1\r\nHost: x\r\n" + all + all + "\r\n" + smuggled,
		"a list of lengths":          "GET /rookery.js HTTP/1.1\r\nHost: x\r\nContent-Length: 0, 38\r\n\r\n" + smuggled,
		"a signed length":            "GET /rookery.js HTTP/1.1\r\nHost: x\r\nContent-Length: +38\r\n\r\n" + smuggled,
		"an unknown coding":          "GET /rookery.js HTTP/1.1\r\nHost: x\r\n" + all + "Transfer-Encoding: xchunked\r\n\r\n" + smuggled,
		"a coding in two":            "GET /rookery.js HTTP/1.1\r\nHost: x\r\n" + all + "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n" + smuggled,
		"a space before the colon":   "GET /rookery.js HTTP/1.1\r\nHost: x\r\nTransfer-Encoding : chunked\r\n" + all + "\r\n0\r\n\r\n" + smuggled,
		"a folded line":              "GET /rookery.js HTTP/1.1\r\nHost: x\r\nX: y\r\n Content-Length: 38\r\n" + chunked + "\r\n0\r\n\r\n" + smuggled,
		"chunks in 1.0":              "GET /rookery.js HTTP/1.0\r\nHost: x\r\nConnection: keep-alive\r\n" + chunked + "\r\n0\r\n\r\n" + smuggled,
		"an odd chunk":               "POST /ws HTTP/1.1\r\nHost: x\r\n" + chunked + "\r\n0;\n\r\n\r\n" + v1,
		"a line within a name":       "GET /rookery.js HTTP/1.1\r\nHost: x\r\nX\rContent-Length: 38\r\n\r\n" + v1,
		"an upgrade without 101":     "GET /ws HTTP/1.1\r\nHost: x\r\n" + upgrade + "Sec-WebSocket-Version: 7\r\n\r\n" + v1,
		"an upgrade of a page":       "GET /rookery.js HTTP/1.1\r\nHost: x\r\n" + upgrade + "Sec-WebSocket-Version: 13\r\n\r\n" + v1,
		"an upgrade with a body":     "GET /ws HTTP/1.1\r\nHost: x\r\n" + upgrade + "Sec-WebSocket-Version: 7\r\n" + all + "\r\n" + smuggled,
		"an upgrade to HTTP/2":       "GET /rookery.js HTTP/1.1\r\nHost: x\r\nUpgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n\r\n" + v1,
		"HTTP/2 with prior word":     "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + smuggled,
		"CONNECT":                    "CONNECT 127.0.0.1:9000 HTTP/1.1\r\nHost: x\r\n\r\n" + smuggled,
		"a header that goes on":      "GET /rookery.js HTTP/1.1\r\nHost: x\r\nConnection: X-Forwarded-For\r\n" + all + "\r\n" + smuggled,
		"a request in the target":    "GET /rookery.js?\r\n\r\n" + v1,
		"two hosts":                  "GET /rookery.js HTTP/1.1\r\nHost: x\r\nHost: y\r\n" + all + "\r\n" + smuggled,
		"a length without a request": "GET /rookery.js HTTP/1.1\r\nHost: x\r\nContent-Length: \r\n\r\n" + v1,
	}
	behindEach(t, func(t *testing.T, c *cluster, balance func() front) {
		tap := c.tapped("127.0.1.1", "127.0.2.1")
		f := balance()
		for what, raw := range probes {
			tap.take()
			answer := exchange(t, f.public, raw)
			if sent := tap.take(); strings.Contains(sent, "smuggled") {
				t.Errorf("%s: the node was sent\n%s\nand the answer was\n%s", what, sent, answer)
			}
			if status, _ := get("http://" + f.public + "/rookery.js"); status != 200 {
				t.Errorf("%s: then the next one got %d", what, status)
			}
		}
	})
}

// The server API and the metrics are not to be had from the public side, however they are asked for.
func TestAdminIsNotPublic(t *testing.T) {
	behindEach(t, func(t *testing.T, c *cluster, balance func() front) {
		tap := c.tapped("127.0.1.1", "127.0.2.1")
		f := balance()
		admin := net.JoinHostPort("127.0.1.1", c.admin)
		for _, target := range []string{
			"/v1/nodes", "/v1", "/V1/nodes", "//v1/nodes", "/./v1/nodes", "/v1/../v1/nodes", "/x/../v1/nodes", "/%76%31/nodes", "/%76%31%2fnodes", "/%2e%2e/v1/nodes",
			"/..%2fv1/nodes", "/v1%2fnodes", "/v1/nodes?x", "/v1;x/nodes", "/metrics", "//metrics", "/%6detrics", "/debug/pprof/heap", "/readyz", "/healthz",
			"http://" + admin + "/v1/nodes", "http://" + admin + "/metrics", "http://x@" + admin + "/v1/nodes", "*", admin,
		} {
			for _, host := range []string{"x", admin} {
				answer := exchange(t, f.public, "GET "+target+" HTTP/1.1\r\nHost: "+host+"\r\nAuthorization: Bearer "+apiKey+"\r\nConnection: close\r\n\r\n")
				if !strings.HasPrefix(answer, "HTTP/1.1 4") && answer != "" {
					t.Errorf("%s of %s: %.200s", target, host, answer)
				}
			}
		}
		// What callers say of who they are does not reach a node.
		tap.take()
		exchange(t, f.public, "GET /rookery.js HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 192.0.2.1\r\nx-forwarded-for: 192.0.2.2\r\nForwarded: for=192.0.2.3\r\nConnection: close\r\n\r\n")
		sent := tap.take()
		if strings.Contains(sent, "192.0.2.") || strings.Count(strings.ToLower(sent), "\r\nx-forwarded-for: 127.0.0.1\r\n") != 1 {
			t.Errorf("the node was sent %s", sent)
		}
		if f.api == "" {
			return
		}
		// Back ends have a side of their own, which has the server API and nothing else.
		for target, want := range map[string]int{"/v1/nodes": 401, "/metrics": 404, "/debug/pprof/heap": 404, "/rookery.js": 404} {
			if status, body := get("http://" + f.api + target); status != want {
				t.Errorf("for back ends %s is %d %.100s", target, status, body)
			}
		}
	})
}

// Who begins requests and does not end them is let go after a while, and holds up nobody.
func TestSlowHandshakes(t *testing.T) {
	behindEach(t, func(t *testing.T, c *cluster, balance func() front) {
		c.start("127.0.1.1")
		f := balance()
		var conns []net.Conn
		for range 100 {
			conn, err := net.Dial("tcp", f.public)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			io.WriteString(conn, "GET /ws HTTP/1.1\r\nHost: x\r\n")
			conns = append(conns, conn)
		}
		if status, _ := get("http://" + f.public + "/rookery.js"); status != 200 {
			t.Errorf("meanwhile the page's status is %d", status)
		}
		for _, conn := range conns {
			conn.SetReadDeadline(time.Now().Add(patience))
			if b, err := io.ReadAll(conn); err != nil || len(b) > 0 && !strings.HasPrefix(string(b), "HTTP/1.1 408") {
				t.Fatalf("a slow handshake got %q, %v", b, err)
			}
		}
	})
}
