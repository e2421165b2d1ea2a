package node_test

import (
	"crypto/rand"
	"crypto/rsa"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/golang-jwt/jwt/v5"

	"github.com/rookery-chat/rookery/auth"
	"github.com/rookery-chat/rookery/node"
	"github.com/rookery-chat/rookery/wire"
)

const secret = "a secret of more than thirty-two bytes"

func verifier(t *testing.T) *auth.Verifier {
	t.Helper()
	v, err := auth.New(t.Context(), auth.Options{Secret: secret})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func mint(t *testing.T, user string, life time.Duration, p *auth.Permissions) string {
	t.Helper()
	token, err := auth.Mint(secret, user, life, p)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// hello dials, says hello, and returns the answer.
func hello(t *testing.T, e *edge, c wire.Command) (*peer, any) {
	t.Helper()
	p := dial(t, e, "/ws")
	c.Type, c.ID = "hello", 1
	p.send(c)
	return p, p.next()
}

func TestTokens(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 1, &node.Options{Auth: verifier(t), Drain: time.Second})
	e := c.nodes[0]
	good := mint(t, "alice", time.Hour, nil)
	p, answer := hello(t, e, wire.Command{Token: good})
	if w, ok := answer.(*wire.Welcome); !ok || w.User != "alice" {
		t.Fatalf("a good token: %+v", answer)
	}
	p.join(wire.Command{Topic: "lobby"})
	for _, row := range []struct {
		name  string
		hello wire.Command
		code  wire.CloseCode
	}{
		{"no token", wire.Command{User: "alice"}, wire.CloseUnauthorized},
		{"nothing", wire.Command{}, wire.CloseUnauthorized},
		{"not a token", wire.Command{Token: "x"}, wire.CloseUnauthorized},
		{"changed", wire.Command{Token: good[:len(good)-3] + "abc"}, wire.CloseUnauthorized},
		{"expired", wire.Command{Token: mint(t, "alice", -time.Hour, nil)}, wire.CloseExpired},
		{"user of another name", wire.Command{Token: good, User: "bob"}, wire.CloseUnauthorized},
		{"sub with a space", wire.Command{Token: mint(t, "a b", time.Hour, nil)}, wire.CloseUnauthorized},
		{"sub is everyone", wire.Command{Token: mint(t, "*", time.Hour, nil)}, wire.CloseUnauthorized},
		{"sub is an inbox", wire.Command{Token: mint(t, "@bob", time.Hour, nil)}, wire.CloseUnauthorized},
		{"sub is too long", wire.Command{Token: mint(t, strings.Repeat("x", 129), time.Hour, nil)}, wire.CloseUnauthorized},
	} {
		p, answer := hello(t, e, row.hello)
		if e, ok := answer.(*wire.Error); !ok || e.Code != wire.Unauthorized || e.ID != 1 || strings.Contains(e.Message, secret) {
			t.Errorf("%s: answered %+v", row.name, answer)
		}
		if code := p.closed(); code != row.code {
			t.Errorf("%s: closed with %d, want %d", row.name, code, row.code)
		}
	}
	// In the handshake, for those who can set headers there.
	conn, _, err := websocket.Dial(t.Context(), e.url("/ws"), &websocket.DialOptions{HTTPHeader: http.Header{"Authorization": {"Bearer " + good}}})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.CloseNow()
	q := &peer{t: t, conn: conn}
	q.send(wire.Command{Type: "hello", ID: 1})
	want[*wire.Welcome](q)
	// And for plain text, where a name alone does not do.
	if _, r, err := websocket.Dial(t.Context(), e.url("/plain?as=alice"), nil); err == nil || r.StatusCode != http.StatusUnauthorized {
		t.Errorf("plain without a token: %v", r)
	}
	if _, r, err := websocket.Dial(t.Context(), e.url("/plain?token="+good), nil); err == nil && r.StatusCode == http.StatusOK {
		t.Errorf("plain with a token in the URL: %v", r)
	}
	conn, _, err = websocket.Dial(t.Context(), e.url("/plain"), &websocket.DialOptions{HTTPHeader: http.Header{"Authorization": {"Bearer " + good}}})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.CloseNow()
	q = &peer{t: t, conn: conn}
	q.write("hi")
	if m := want[*wire.Message](p); m.From != "alice" || text(m) != "hi" {
		t.Errorf("from plain: %+v", m)
	}
}

// Who has a token of a key that the node does not know is told to come again while the key set cannot be asked,
// and not that the token is bad.
func TestKeySetAway(t *testing.T) {
	t.Parallel()
	keys := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, `{"keys":[]}`)
	}))
	v, err := auth.New(t.Context(), auth.Options{JWKS: keys.URL})
	if err != nil {
		t.Fatal(err)
	}
	keys.Close()
	e := newCluster(t, 1, &node.Options{Auth: v, Drain: time.Second}).nodes[0]
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	unsigned := jwt.NewWithClaims(jwt.SigningMethodRS256, jwt.MapClaims{"sub": "alice", "exp": time.Now().Add(time.Hour).Unix()})
	unsigned.Header["kid"] = "new"
	token, err := unsigned.SignedString(private)
	if err != nil {
		t.Fatal(err)
	}
	p, answer := hello(t, e, wire.Command{Token: token})
	if e, ok := answer.(*wire.Error); !ok || e.Code != wire.Unavailable || !e.Retry || e.ID != 1 {
		t.Errorf("answered %+v", answer)
	}
	if code := p.closed(); code != wire.CloseInternal || !code.Reconnect() {
		t.Errorf("closed with %d", code)
	}
	_, r, err := websocket.Dial(t.Context(), e.url("/plain"), &websocket.DialOptions{HTTPHeader: http.Header{"Authorization": {"Bearer " + token}}})
	if err == nil || r.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("plain: %v, %v", r, err)
	}
}

// A session ends when its token does, unless a fresh one of the same user came.
func TestExpiry(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 1, &node.Options{Auth: verifier(t), Drain: time.Second})
	e := c.nodes[0]
	short, _ := hello(t, e, wire.Command{Token: mint(t, "alice", 2*time.Second, nil)})
	renewed, _ := hello(t, e, wire.Command{Token: mint(t, "bob", 2*time.Second, nil)})
	renewed.send(wire.Command{Type: "hello", ID: 2, Token: mint(t, "alice", time.Hour, nil)})
	if e := want[*wire.Error](renewed); e.Code != wire.Unauthorized {
		t.Errorf("a token of another user: %+v", e)
	}
	renewed.send(wire.Command{Type: "hello", ID: 3, Token: mint(t, "bob", time.Hour, nil)})
	if ok := want[*wire.OK](renewed); ok.ID != 3 {
		t.Errorf("a fresh token: %+v", ok)
	}
	if code := short.closed(); code != wire.CloseExpired {
		t.Errorf("closed with %d", code)
	}
	renewed.send(wire.Command{Type: "ping", ID: 4})
	want[*wire.OK](renewed)
}

// What a token grants is checked for every command, and for what is resumed.
func TestPermissions(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 1, &node.Options{Auth: verifier(t), Closed: true, Drain: time.Second})
	e := c.nodes[0]
	p := auth.Grant([]string{"team:*", "news"}, []string{"team:*", "@bob"}, []string{"news"})
	alice, answer := hello(t, e, wire.Command{Token: mint(t, "alice", time.Hour, &p), Resume: map[string]wire.Position{"secret": {Epoch: "x"}, "@bob": {Epoch: "x"}}})
	w := answer.(*wire.Welcome)
	for _, topic := range []string{"secret", "@bob"} {
		if j := w.Topics[topic]; j.Err == nil || j.Err.Code != wire.Forbidden {
			t.Errorf("resumed %s: %+v", topic, j)
		}
	}
	alice.join(wire.Command{Topic: "team:red"})
	alice.join(wire.Command{Topic: "news"})
	bob, _ := hello(t, e, wire.Command{Token: mint(t, "bob", time.Hour, nil)})
	data := quote("x")
	for _, row := range []struct {
		who     *peer
		command wire.Command
	}{
		{alice, wire.Command{Type: "join", Topic: "secret"}},
		{alice, wire.Command{Type: "join", Topic: "Team:red"}},
		{alice, wire.Command{Type: "publish", Topic: "news", Data: data}},
		{alice, wire.Command{Type: "publish", Topic: "@carol", Data: data}},
		{alice, wire.Command{Type: "publish", Topic: "*", Data: data}},
		{alice, wire.Command{Type: "signal", Topic: "team:red", Data: data}},
		{alice, wire.Command{Type: "signal", Topic: "@bob", Data: data}},
		{alice, wire.Command{Type: "history", Topic: "secret"}},
		{alice, wire.Command{Type: "members", Topic: "secret"}},
		{alice, wire.Command{Type: "read", Topic: "secret", Offset: 1}},
		{bob, wire.Command{Type: "join", Topic: "team:red"}},
		{bob, wire.Command{Type: "publish", Topic: "@alice", Data: data}},
	} {
		row.command.ID = 9
		row.who.send(row.command)
		if e := want[*wire.Error](row.who); e.Code != wire.Forbidden || e.ID != 9 {
			t.Errorf("%s %s: %+v", row.command.Type, row.command.Topic, e)
		}
	}
	if got := alice.say("team:red", "hi"); got.Offset != 1 {
		t.Errorf("an allowed publish: %+v", got)
	}
	alice.skip = func(f any) bool { _, ok := f.(*wire.Skip); return ok }
	// A fresh token that grants less ends what it does not cover.
	less := auth.Grant([]string{"news"}, nil, nil)
	alice.send(wire.Command{Type: "hello", ID: 5, Token: mint(t, "alice", time.Hour, &less)})
	if e := want[*wire.Error](alice); e.ID != 0 || e.Topic != "team:red" || e.Code != wire.Forbidden {
		t.Errorf("the room that is lost: %+v", e)
	}
	want[*wire.OK](alice)
	everyone := auth.Grant(nil, []string{"**"}, nil)
	herald, _ := hello(t, e, wire.Command{Token: mint(t, "herald", time.Hour, &everyone)})
	herald.say("*", "hear")
	if m := want[*wire.Message](bob); m.Topic != "*" || text(m) != "hear" {
		t.Errorf("to everyone: %+v", m)
	}
}

// Beside tokens, an anonymous name is never one that a token could hold.
func TestAnonymousBesideTokens(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 1, &node.Options{Auth: verifier(t), Anonymous: true, Drain: time.Second})
	e := c.nodes[0]
	_, answer := hello(t, e, wire.Command{User: "alice"})
	if w, ok := answer.(*wire.Welcome); !ok || w.User != "~alice" {
		t.Errorf("anonymous: %+v", answer)
	}
	if _, answer = hello(t, e, wire.Command{Token: mint(t, "~alice", time.Hour, nil)}); answer.(*wire.Error).Code != wire.Unauthorized {
		t.Errorf("a token of an anonymous name: %+v", answer)
	}
}
