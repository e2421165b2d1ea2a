package node_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/rookery-chat/rookery/auth"
	"github.com/rookery-chat/rookery/bus"
	"github.com/rookery-chat/rookery/node"
	"github.com/rookery-chat/rookery/presence"
	"github.com/rookery-chat/rookery/proxy"
	"github.com/rookery-chat/rookery/store"
	"github.com/rookery-chat/rookery/wire"
)

// trust makes proxies of networks.
func trust(t *testing.T, networks ...string) proxy.Trusted {
	t.Helper()
	p, err := proxy.ParseTrusted(networks)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// value is a metric's, with the value of its only label; 0 when it is not there.
func value(t *testing.T, r *prometheus.Registry, name, label string) float64 {
	t.Helper()
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.Metric {
			if f.GetName() == name && (label == "" || m.Label[0].GetValue() == label) {
				return m.GetGauge().GetValue() + m.GetCounter().GetValue()
			}
		}
	}
	return 0
}

// shaken returns a node, in the time of a bubble, and what makes one handshake with it from an address.
func shaken(t *testing.T, o node.Options) (shake func(from, forwarded string) *http.Response, ips func() int) {
	t.Helper()
	registry := prometheus.NewRegistry()
	o.Registerer, o.Proxies, o.Handshakes = registry, trust(t, "192.0.2.0/24"), 1_000_000
	n := node.New(bus.NewMemory(nil).Attach(), presence.NewMemory().Attach(node.NewID(), func(string, []byte) {}), store.NewMemory(), &o)
	h := n.Handler()
	shake = func(from, forwarded string) *http.Response {
		r := httptest.NewRequestWithContext(context.Background(), "GET", "/ws", nil)
		r.RemoteAddr = from
		if forwarded != "" {
			r.Header.Set("X-Forwarded-For", forwarded)
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w.Result()
	}
	return shake, func() int { return int(value(t, registry, "rookery_ips", "")) }
}

// taken is the answer to a handshake that was taken, by a request that is no WebSocket's.
const taken = http.StatusUpgradeRequired

// An address makes so many handshakes a second. Beyond, it is told when to come back, and then is
// taken; all others are taken meanwhile.
func TestHandshakesOfAnAddress(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		shake, _ := shaken(t, node.Options{Limits: node.Limits{IPHandshakes: 10}})
		const somebody = "203.0.113.7:99"
		storm := func(from, forwarded string) (took int, last *http.Response) {
			for range 1000 {
				if last = shake(from, forwarded); last.StatusCode == taken {
					took++
				}
			}
			return took, last
		}
		took, last := storm(somebody, "")
		if took < 20 || took > 21 || last.StatusCode != http.StatusTooManyRequests {
			t.Fatalf("of a storm, 10 a second allowed, %d were taken, and then it was told %d", took, last.StatusCode)
		}
		seconds, err := strconv.Atoi(last.Header.Get("Retry-After"))
		if err != nil || seconds < 1 {
			t.Fatalf("come back after %q", last.Header.Get("Retry-After"))
		}
		for _, other := range []string{"203.0.113.8:99", "[2001:db8::1]:1"} {
			if got := shake(other, "").StatusCode; got != taken {
				t.Errorf("%s was told %d", other, got)
			}
		}
		if got := shake("192.0.2.1:5", "203.0.113.7").StatusCode; got != http.StatusTooManyRequests {
			t.Errorf("by way of a proxy it was told %d", got)
		}
		if got := shake("203.0.113.8:5", "1.2.3.4").StatusCode; got != taken {
			t.Errorf("of the one who forges an address it was told %d", got)
		}
		time.Sleep(time.Duration(seconds) * time.Second)
		if got := shake(somebody, "").StatusCode; got != taken {
			t.Errorf("after the time it was told %d", got)
		}
		for _, many := range [][2]string{{"127.0.0.1:5", ""}, {"[::1]:5", ""}, {"192.0.2.1:5", ""}, {"192.0.2.1:5", "192.0.2.9"}, {"192.0.2.1:5", "unknown"}, {"@", ""}} {
			if took, last := storm(many[0], many[1]); took != 1000 {
				t.Errorf("of those behind %v only %d were taken: %d", many, took, last.StatusCode)
			}
		}
	})
}

// IPv6 addresses count by their /64: one subscriber has that many.
func TestHandshakesOfANetwork(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		shake, ips := shaken(t, node.Options{Limits: node.Limits{IPHandshakes: 10}})
		took := 0
		for i := range 100 {
			if shake(fmt.Sprintf("[2001:db8:1:2:%x::1]:5", i), "").StatusCode == taken {
				took++
			}
		}
		if took > 21 || ips() != 1 {
			t.Errorf("of one /64 came %d, as %d addresses", took, ips())
		}
		if got := shake("[2001:db8:1:3::1]:5", "").StatusCode; got != taken {
			t.Errorf("the next /64 was told %d", got)
		}
	})
}

// However many addresses come, those are kept that came just now.
func TestAddressesAreForgotten(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		shake, ips := shaken(t, node.Options{})
		most := 0
		for i := range 50_000 {
			shake(fmt.Sprintf("[2001:db8:%x:%x::1]:5", i>>8, i&0xff), "")
			time.Sleep(time.Millisecond)
			if i%500 == 0 {
				most = max(most, ips())
			}
		}
		if most == 0 || most > 1024 {
			t.Errorf("of 50,000 addresses, one each millisecond, %d were kept", most)
		}
	})
}

// from dials as somebody at an address, by way of loopback as a trusted proxy.
func from(t *testing.T, e *edge, path, address string) (*peer, *http.Response) {
	t.Helper()
	conn, r, err := websocket.Dial(t.Context(), e.url(path), &websocket.DialOptions{
		Subprotocols: []string{wire.Subprotocol}, HTTPHeader: http.Header{"X-Forwarded-For": {address}},
	})
	if err != nil {
		return nil, r
	}
	t.Cleanup(func() { conn.CloseNow() })
	return &peer{t: t, conn: conn}, r
}

// An address has so many sessions; one more is told to come back later, and comes in once one
// has gone. The server API shows where each calls from.
func TestSessionsOfAnAddress(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewRegistry()
	c := newCluster(t, 1, &node.Options{Drain: time.Second, Limits: node.Limits{IPSessions: 2, IPHandshakes: 10_000}, Proxies: trust(t, "loopback"), Registerer: registry})
	e := c.nodes[0]
	const address = "203.0.113.7"
	first, _ := from(t, e, "/ws", address)
	first.send(wire.Command{Type: "hello", ID: 1, User: "alice"})
	want[*wire.Welcome](first)
	from(t, e, "/plain?as=bob", address)
	for _, path := range []string{"/ws", "/plain"} {
		if p, r := from(t, e, path, address); p != nil || r.StatusCode != http.StatusTooManyRequests || r.Header.Get("Retry-After") == "" {
			t.Errorf("a third session on %s: %v", path, r)
		}
	}
	if p, r := from(t, e, "/ws", "203.0.113.8"); p == nil {
		t.Errorf("of another address: %v", r)
	}
	if got := value(t, registry, "rookery_limited_total", "ip_sessions"); got != 2 {
		t.Errorf("counted %v", got)
	}
	found, _, err := e.Sessions(t.Context(), "alice")
	if err != nil || len(found) != 1 || found[0].Address != address {
		t.Errorf("alice's sessions: %+v, %v", found, err)
	}
	first.conn.CloseNow()
	for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		if p, r := from(t, e, "/ws", address); p != nil {
			break
		} else if time.Now().After(deadline) {
			t.Fatalf("after one has gone: %v", r)
		}
	}
}

// Who guesses tokens is soon told to stay away, by whichever door, and with a session too; who comes
// with one that has expired, or from elsewhere, is not.
func TestBadTokens(t *testing.T) {
	t.Parallel()
	verifier, err := auth.New(t.Context(), auth.Options{Secret: secret})
	if err != nil {
		t.Fatal(err)
	}
	// One handshake a second is earned, and twenty are paid for a bad token.
	c := newCluster(t, 1, &node.Options{Drain: time.Second, Auth: verifier, Limits: node.Limits{IPHandshakes: 1}, Proxies: trust(t, "loopback")})
	e := c.nodes[0]
	good, _ := auth.Mint(secret, "alice", time.Hour, nil)
	expired, _ := auth.Mint(secret, "alice", -time.Hour, nil)
	bad := good[:len(good)-4] + "xxxx"
	says := func(address, token string) (*peer, any) {
		t.Helper()
		p, r := from(t, e, "/ws", address)
		if p == nil {
			t.Fatalf("%s: %v", address, r)
		}
		p.send(wire.Command{Type: "hello", ID: 1, Token: token})
		return p, p.next()
	}
	away := func(address string) {
		t.Helper()
		p, r := from(t, e, "/ws", address)
		if p != nil || r.StatusCode != http.StatusTooManyRequests {
			t.Fatalf("%s, who guesses, was answered %v", address, r)
		}
		if seconds, _ := strconv.Atoi(r.Header.Get("Retry-After")); seconds < 10 || seconds > 20 {
			t.Errorf("%s is to stay away for %d s", address, seconds)
		}
	}
	unauthorized := func(answer any) {
		t.Helper()
		if e, ok := answer.(*wire.Error); !ok || e.Code != wire.Unauthorized {
			t.Errorf("answered %+v", answer)
		}
	}

	_, answer := says("203.0.113.1", bad)
	unauthorized(answer)
	away("203.0.113.1")

	if _, r, err := websocket.Dial(t.Context(), e.url("/plain"), &websocket.DialOptions{
		HTTPHeader: http.Header{"X-Forwarded-For": {"203.0.113.2"}, "Authorization": {"Bearer " + bad}},
	}); err == nil || r.StatusCode != http.StatusUnauthorized {
		t.Errorf("a bad token on /plain: %v", r)
	}
	away("203.0.113.2")

	alice, answer := says("203.0.113.3", good)
	if _, ok := answer.(*wire.Welcome); !ok {
		t.Fatalf("answered %+v", answer)
	}
	alice.send(wire.Command{Type: "hello", ID: 2, Token: bad})
	unauthorized(alice.next())
	alice.send(wire.Command{Type: "hello", ID: 3, Token: bad})
	if e, ok := alice.next().(*wire.Error); !ok || e.Code != wire.RateLimited || !e.Retry || e.ID != 3 {
		t.Errorf("the second guess of a session was answered %+v", e)
	}
	away("203.0.113.3")

	for range 2 { // as many handshakes as may come at once
		_, answer := says("203.0.113.4", expired)
		unauthorized(answer)
	}
}

// A user's sessions share what the user may publish. Other users are not concerned.
func TestPublishesOfAUser(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewRegistry()
	c := newCluster(t, 1, &node.Options{Drain: time.Second, Limits: node.Limits{Publishes: 1000, UserPublishes: 5}, Registerer: registry})
	e := c.nodes[0]
	sessions := []*peer{enter(t, e, "alice"), enter(t, e, "alice")}
	refused := make([]int, len(sessions))
	for _, p := range sessions {
		p.skip = func(any) bool { return true }
		p.join(wire.Command{Topic: "lobby"})
	}
	for i := range 40 {
		p := sessions[i%len(sessions)]
		p.send(wire.Command{Type: "publish", ID: uint64(100 + i), Topic: "lobby", Data: quote("x")})
		for answered := false; !answered; {
			switch f := p.next().(type) {
			case *wire.OK:
				answered = f.ID == uint64(100+i)
			case *wire.Error:
				if answered = true; f.Code != wire.RateLimited || !f.Retry || f.ID != uint64(100+i) {
					t.Fatalf("refused with %+v", f)
				}
				refused[i%len(sessions)]++
			}
		}
	}
	if refused[0] == 0 || refused[1] == 0 || refused[0]+refused[1] > 30 {
		t.Errorf("of 40 publishes of two sessions at once, 5 a second allowed, %v were refused", refused)
	}
	if got := value(t, registry, "rookery_limited_total", "user_publishes"); int(got) != refused[0]+refused[1] {
		t.Errorf("counted %v", got)
	}
	bob := enter(t, e, "bob")
	bob.join(wire.Command{Topic: "lobby"})
	bob.say("lobby", "untouched")
}
