package faults_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/golang-jwt/jwt/v5"
	"github.com/redis/go-redis/v9"

	"github.com/rookery-chat/rookery/auth"
	"github.com/rookery-chat/rookery/internal/processtest"
	"github.com/rookery-chat/rookery/internal/redistest"
	"github.com/rookery-chat/rookery/wire"
)

// A hostile is a whole node with all of its secrets, and counts what it was asked in vain.
type hostile struct {
	t       *testing.T
	node    *process
	secrets []string // that no answer may tell
	rows    int
}

// refused checks an answer: of the status or code that is documented, and without a secret.
func (h *hostile) refused(name, got, want, answer string) {
	h.t.Helper()
	h.rows++
	if got != want {
		h.t.Errorf("%s: answered %s (%.300s), want %s", name, got, answer, want)
	}
	if answer == "" {
		h.t.Errorf("%s: the answer says nothing", name)
	}
	for _, s := range h.secrets {
		if strings.Contains(answer, s) {
			h.t.Errorf("%s: the answer tells %q: %s", name, s, answer)
		}
	}
}

// Everything that a stranger can send wrong, at every edge of a node in earnest: each is refused with
// the documented code, and no answer tells a token, a key, where Redis is, or a path of the machine.
func TestHostile(t *testing.T) {
	t.Parallel()
	const secret, key, push, password = "a secret of more than thirty-two bytes", "api-key-0123456789", "push-secret-0123456789", "redis-password"
	server := redistest.Start(t)
	c := redis.NewClient(&redis.Options{Addr: server.Addr})
	defer c.Close()
	if err := c.ConfigSet(t.Context(), "requirepass", password).Err(); err != nil {
		t.Fatal(err)
	}
	port := processtest.FreeAddr(t)
	h := &hostile{t: t, secrets: []string{secret, key, push, password, server.Addr, "/tmp", "goroutine ", ".go:"}}
	h.node = serve(t, nil, "--redis=redis://:"+password+"@"+server.Addr, "--auth-secret="+secret, "--api-key="+key,
		"--push="+port, "--push-secret="+push, "--rooms=closed", "--origins=chat.example.com,*.example.org,https://only.example.net")
	h.origins()
	h.tokens(secret)
	h.frames(secret)
	h.calls(key)
	h.lines(dialLine(t, port))
	if h.rows < 60 {
		t.Errorf("only %d rows", h.rows)
	}
	t.Logf("%d rows", h.rows)
}

// Pages of other sites, however much they look like ours.
func (h *hostile) origins() {
	open := func(origin string) (int, string) {
		conn, r, err := websocket.Dial(h.t.Context(), h.node.URL(), &websocket.DialOptions{HTTPHeader: http.Header{"Origin": {origin}}})
		if err == nil {
			conn.CloseNow()
			return r.StatusCode, ""
		}
		if r == nil {
			h.t.Fatalf("origin %s: %v", origin, err)
		}
		body, _ := io.ReadAll(r.Body) // the library gives it back
		return r.StatusCode, string(body)
	}
	host, _, _ := strings.Cut(h.node.Addr, ":")
	for _, origin := range []string{
		"null", "https://evil.example", "https://example.com", "https://evil-chat.example.com", "https://chat.example.com.evil.example",
		"https://chat.example.com:8443", "https://chat.example.com@evil.example", "https://evil.example/chat.example.com",
		"https://evil.example?.example.org", "https://evil.example#.example.org", "https://example.org", "https://evilexample.org",
		"http://only.example.net", "https://chat.example.com.", "http://" + host + ":1", "http://" + host, "file://", "chat.example.com",
		"https://", "https://%63hat.example.com%00", "http://localhost",
	} {
		status, answer := open(origin)
		h.refused("origin "+origin, fmt.Sprint(status), "403", answer)
	}
	for _, origin := range []string{"https://chat.example.com", "HTTPS://CHAT.Example.COM", "https://a.example.org", "https://only.example.net", "http://" + h.node.Addr} {
		if status, answer := open(origin); status != http.StatusSwitchingProtocols {
			h.t.Errorf("origin %s: %d %s", origin, status, answer)
		}
	}
}

// say opens a connection, sends frames, and returns the first error frame and how the connection ended, if it did.
func (h *hostile) say(frames ...string) (answer *wire.Error, text string, closed websocket.StatusCode) {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(h.t.Context(), patience)
	defer cancel()
	conn, _, err := websocket.Dial(ctx, h.node.URL(), nil)
	if err != nil {
		h.t.Fatal(err)
	}
	defer conn.CloseNow()
	for _, f := range frames {
		if err := conn.Write(ctx, websocket.MessageText, []byte(f)); err != nil {
			break
		}
	}
	for {
		_, b, err := conn.Read(ctx)
		if err != nil {
			h.t.Fatalf("%.200q: no error frame: %v", frames, err)
		}
		if e, ok := parse(b).(*wire.Error); ok {
			if e.Code != wire.Unauthorized {
				return e, string(b), 0
			}
			_, _, err = conn.Read(ctx)
			return e, string(b), websocket.CloseStatus(err)
		}
	}
}

// Tokens that are none, or another's, or old.
func (h *hostile) tokens(secret string) {
	good, err := auth.Mint(secret, "alice", time.Hour, nil)
	if err != nil {
		h.t.Fatal(err)
	}
	parts := strings.Split(good, ".")
	sign := func(claims jwt.MapClaims, by string) string {
		token, err := jwt.NewWithClaims(jwt.SigningMethodHS256, claims).SignedString([]byte(by))
		if err != nil {
			h.t.Fatal(err)
		}
		return token
	}
	later, before := time.Now().Add(time.Hour).Unix(), time.Now().Add(-time.Hour).Unix()
	segment := func(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }
	h.secrets = append(h.secrets, parts[0], parts[1])
	for name, row := range map[string]struct {
		token string
		code  wire.CloseCode
	}{
		"no token":          {"", wire.CloseUnauthorized},
		"garbage":           {"garbage", wire.CloseUnauthorized},
		"no signature":      {parts[0] + "." + parts[1] + ".", wire.CloseUnauthorized},
		"alg none":          {segment(`{"alg":"none","typ":"JWT"}`) + "." + parts[1] + ".", wire.CloseUnauthorized},
		"changed claims":    {parts[0] + "." + segment(fmt.Sprintf(`{"sub":"root","exp":%d}`, later)) + "." + parts[2], wire.CloseUnauthorized},
		"another's secret":  {sign(jwt.MapClaims{"sub": "alice", "exp": later}, secret+"!"), wire.CloseUnauthorized},
		"expired":           {sign(jwt.MapClaims{"sub": "alice", "exp": before}, secret), wire.CloseExpired},
		"no exp":            {sign(jwt.MapClaims{"sub": "alice"}, secret), wire.CloseUnauthorized},
		"no sub":            {sign(jwt.MapClaims{"exp": later}, secret), wire.CloseUnauthorized},
		"sub of everyone":   {sign(jwt.MapClaims{"sub": "*", "exp": later}, secret), wire.CloseUnauthorized},
		"sub with a sigil":  {sign(jwt.MapClaims{"sub": "@alice", "exp": later}, secret), wire.CloseUnauthorized},
		"sub with a brace":  {sign(jwt.MapClaims{"sub": "{alice}", "exp": later}, secret), wire.CloseUnauthorized},
		"sub with a space":  {sign(jwt.MapClaims{"sub": "a b", "exp": later}, secret), wire.CloseUnauthorized},
		"sub too long":      {sign(jwt.MapClaims{"sub": strings.Repeat("a", 129), "exp": later}, secret), wire.CloseUnauthorized},
		"not valid yet":     {sign(jwt.MapClaims{"sub": "alice", "exp": later, "nbf": later - 60}, secret), wire.CloseUnauthorized},
		"permissions wrong": {sign(jwt.MapClaims{"sub": "alice", "exp": later, "rookery": "all"}, secret), wire.CloseUnauthorized},
		"the secret itself": {secret, wire.CloseUnauthorized},
	} {
		e, text, closed := h.say(string(wire.Command{Type: "hello", ID: 1, Token: row.token}.Append(nil)))
		h.refused("token: "+name, fmt.Sprint(e.Code, e.ID, int(closed)), fmt.Sprint(wire.Unauthorized, 1, int(row.code)), text)
	}
}

// Names and topics in the frames of a user who may be in team rooms only.
func (h *hostile) frames(secret string) {
	grant := auth.Grant([]string{"team:*"}, []string{"team:*"}, []string{"team:*"})
	token, err := auth.Mint(secret, "mallory", time.Hour, &grant)
	if err != nil {
		h.t.Fatal(err)
	}
	h.secrets = append(h.secrets, strings.Split(token, ".")[1])
	hello := string(wire.Command{Type: "hello", ID: 1, Token: token}.Append(nil))
	long := strings.Repeat("x", 129)
	for frame, code := range map[string]wire.Code{
		`{"type":"join","id":2,"topic":""}`:                                          wire.BadRequest,
		`{"type":"join","id":2,"topic":"a b"}`:                                       wire.BadRequest,
		`{"type":"join","id":2,"topic":"a\u0000b"}`:                                  wire.BadRequest,
		`{"type":"join","id":2,"topic":"{` + h.node.ID + `}"}`:                       wire.BadRequest,
		`{"type":"join","id":2,"topic":"team:*"}`:                                    wire.BadRequest,
		`{"type":"join","id":2,"topic":"@"}`:                                         wire.BadRequest,
		`{"type":"join","id":2,"topic":"@@alice"}`:                                   wire.BadRequest,
		`{"type":"join","id":2,"topic":"` + long + `"}`:                              wire.BadRequest,
		`{"type":"join","id":2,"topic":7}`:                                           wire.BadRequest,
		`{"type":"join","id":2,"topic":"@alice"}`:                                    wire.Forbidden,
		`{"type":"join","id":2,"topic":"secret"}`:                                    wire.Forbidden,
		`{"type":"join","id":2,"topic":"team"}`:                                      wire.Forbidden,
		`{"type":"history","id":2,"topic":"@alice"}`:                                 wire.Forbidden,
		`{"type":"history","id":2,"topic":"secret"}`:                                 wire.Forbidden,
		`{"type":"members","id":2,"topic":"secret"}`:                                 wire.Forbidden,
		`{"type":"read","id":2,"topic":"secret","offset":1}`:                         wire.Forbidden,
		`{"type":"publish","id":2,"topic":"*","data":1}`:                             wire.Forbidden,
		`{"type":"publish","id":2,"topic":"@alice","data":1}`:                        wire.Forbidden,
		`{"type":"publish","id":2,"topic":"team:red","data":1}`:                      wire.Forbidden, // not joined
		`{"type":"signal","id":2,"topic":"{` + h.node.ID + `}","data":1}`:            wire.BadRequest,
		`{"type":"signal","id":2,"topic":"secret","data":1}`:                         wire.Forbidden,
		`{"type":"publish","id":2,"topic":"team:red"}`:                               wire.BadRequest,
		`{"type":"publish","id":2,"topic":"team:red","data":1,"key":"` + long + `"}`: wire.BadRequest,
		`{"type":"kick","id":2,"topic":"team:red"}`:                                  wire.BadRequest,
		`{"type":"hello","id":2,"user":"root"}`:                                      wire.BadRequest,
		`{"type":"leave","id":2,"topic":"*"}`:                                        wire.BadRequest,
		`{"type":"leave","id":2,"topic":"secret"}`:                                   wire.NotFound,
		`[]`: wire.BadRequest,
		`{"type":"join","id":2,"topic":"team:red"`: wire.BadRequest,
	} {
		e, text, _ := h.say(hello, frame)
		h.refused("frame "+frame, string(e.Code), string(code), text)
	}
}

// Calls of the server API and of the admin listener.
func (h *hostile) calls(key string) {
	for _, row := range []struct {
		method, path, body string
		header             string // name: value
		status             int
		code               wire.Code
	}{
		{"GET", "/v1/nodes", "", "", 401, wire.Unauthorized},
		{"GET", "/v1/nodes", "", "Authorization: Bearer " + key + "0", 401, wire.Unauthorized},
		{"GET", "/v1/nodes", "", "Authorization: Basic " + key, 401, wire.Unauthorized},
		{"GET", "/v1/nodes?key=" + key, "", "", 401, wire.Unauthorized},
		{"DELETE", "/v1/users/alice", "", "", 401, wire.Unauthorized},
		{"GET", "/metrics", "", "", 401, wire.Unauthorized},
		{"GET", "/debug/pprof/heap", "", "", 401, wire.Unauthorized},
		{"GET", "/v1/nodes", "", "Origin: null", 403, wire.Forbidden},
		{"GET", "/v1/nodes", "", "Sec-Fetch-Site: cross-site", 403, wire.Forbidden},
		{"GET", "/v1/secrets", "", "key", 404, wire.NotFound},
		{"PATCH", "/v1/nodes", "", "key", 405, wire.BadRequest},
		{"POST", "/v1/topics/a%20b/messages", `{"data":1}`, "key", 400, wire.BadRequest},
		{"POST", "/v1/topics/%7B" + h.node.ID + "%7D/messages", `{"data":1}`, "key", 400, wire.BadRequest},
		{"POST", "/v1/topics/%7B" + h.node.ID + "%7D/signals", `{"data":1}`, "key", 400, wire.BadRequest},
		{"POST", "/v1/topics/..%2F..%2Fetc%2Fpasswd%00/messages", `{"data":1}`, "key", 400, wire.BadRequest},
		{"POST", "/v1/topics/lobby/messages", `{"data":1,"secret":"x"}`, "key", 400, wire.BadRequest},
		{"POST", "/v1/topics/lobby/messages", `{"data":` + strings.Repeat("[", 5000), "key", 400, wire.BadRequest},
		{"POST", "/v1/topics/lobby/messages", `{"data":"` + strings.Repeat("x", 200_000) + `"}`, "key", 413, wire.TooLarge},
		{"GET", "/v1/topics?cursor=" + strings.Repeat("x", 300), "", "key", 400, wire.BadRequest},
		{"GET", "/v1/topics/lobby/members?cursor=EVAL", "", "key", 400, wire.BadRequest},
		{"DELETE", "/v1/sessions/" + strings.Repeat("0", 16) + "-1", "", "key", 404, wire.NotFound},
		{"DELETE", "/v1/sessions/%7B*%7D", "", "key", 404, wire.NotFound},
		{"PUT", "/v1/topics/lobby/members/nobody", "", "key", 404, wire.NotFound},
		{"DELETE", "/v1/timers/nothing", "", "key", 404, wire.NotFound},
	} {
		r, err := http.NewRequestWithContext(h.t.Context(), row.method, "http://"+h.node.Admin+row.path, strings.NewReader(row.body))
		if err != nil {
			h.t.Fatal(err)
		}
		if row.body != "" {
			r.Header.Set("Content-Type", "application/json")
		}
		if row.header == "key" {
			row.header = "Authorization: Bearer " + key
		}
		if name, value, ok := strings.Cut(row.header, ": "); ok {
			r.Header.Set(name, value)
		}
		c := processtest.HTTP
		w, err := c.Do(r)
		if err != nil {
			h.t.Fatal(err)
		}
		body, _ := io.ReadAll(w.Body)
		w.Body.Close()
		var p struct{ Code wire.Code }
		json.Unmarshal(body, &p)
		h.refused(fmt.Sprintf("%s %.60s %.60s", row.method, row.path, row.body), fmt.Sprint(w.StatusCode, " ", p.Code), fmt.Sprint(row.status, " ", row.code), string(body))
	}
}

// Lines on the push port.
func (h *hostile) lines(say func(string) string) {
	for _, line := range []string{
		`{"uid":"alice","percent":"88%"}`,
		`{"uid":"alice","secret":"push-secret"}`,
		`{"uid":"alice","secret":7}`,
		`{"uid":"@alice","secret":"push-secret-0123456789"}`,
		`{"topic":"a b","data":1,"secret":"push-secret-0123456789"}`,
		`{"data":1,"secret":"push-secret-0123456789"}`,
		`GET / HTTP/1.1`,
	} {
		answer := say(line)
		h.refused("line "+line, answer, "fail", answer)
	}
}
