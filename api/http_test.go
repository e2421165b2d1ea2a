package api_test

import (
	"strings"
	"testing"

	"github.com/rookery-chat/rookery/api"
)

// One program uses every operation once at least. want is a part of the answer.
func TestSession(t *testing.T) {
	t.Parallel()
	h := newHall()
	h.enter("n1-1", "alice")
	h.enter("n1-2", "alice")
	h.enter("n1-3", "zoë")
	c := newCaller(t, h)
	for _, step := range []struct {
		pattern, target, body string
		status                int
		want                  string
	}{
		{"GET /v1/nodes", "/v1/nodes", "", 200,
			`{"nodes":[{"node":"n1","state":"ready","address":"127.0.0.1:8000","since":"2026-01-01T00:00:00Z","version":"v1","sessions":3,"users":2}]}`},
		{"POST /v1/nodes/{node}/shed", "/v1/nodes/n1/shed?percent=40", "", 200, `{"shed":40}`},
		{"POST /v1/nodes/{node}/shed", "/v1/nodes/n2/shed?percent=40", "", 404, "not_found"},
		{"GET /v1/topics/{topic}/messages", "/v1/topics/lobby/messages", "", 200, `"first":0,"head":0,"messages":[],"more":false`},
		{"POST /v1/topics/{topic}/messages", "/v1/topics/lobby/messages", `{"data": {"n": 1}, "from":"backend","key":"a-1","except":["n1-1"]}`, 200, `{"epoch":"e1","offset":1,"duplicate":false}`},
		{"POST /v1/topics/{topic}/messages", "/v1/topics/lobby/messages", `{"data":2,"from":"backend","key":"a-1"}`, 200, `"offset":1,"duplicate":true`},
		{"POST /v1/topics/{topic}/messages", "/v1/topics/lobby/messages", `{"data":null}`, 200, `"offset":2`},
		{"POST /v1/topics/{topic}/messages", "/v1/topics/@alice/messages", `{"data":"hi"}`, 200, `"reached":1`},
		{"POST /v1/topics/{topic}/messages", "/v1/topics/%40bob/messages", `{"data":"hi"}`, 200, `"reached":0`},
		{"POST /v1/topics/{topic}/messages", "/v1/topics/*/messages", `{"data":"all"}`, 200, `"offset":1`},
		{"POST /v1/topics/{topic}/messages", "/v1/topics/%2A/messages", `{"data":"all"}`, 200, `"offset":2`},
		{"POST /v1/topics/{topic}/messages", "/v1/topics/a%2Fb%3Fc/messages", `{"data":1}`, 200, `"offset":1`},
		{"POST /v1/topics/{topic}/messages", "/v1/topics/%C3%BC/messages", `{"data":1}`, 200, `"offset":1`},
		{"POST /v1/topics/{topic}/messages", "/v1/topics/u%CC%88/messages", `{"data":1}`, 200, `"offset":2`}, // the same in NFC
		{"GET /v1/topics/{topic}/messages", "/v1/topics/lobby/messages?limit=1", "", 200, `"messages":[{"offset":1,"from":"backend","time":1767225600000,"data":{"n":1}}],"more":true`},
		{"GET /v1/topics/{topic}/messages", "/v1/topics/lobby/messages?after=1", "", 200, `"messages":[{"offset":2,"time":1767225600000,"data":null}],"more":false`},
		{"DELETE /v1/topics/{topic}/messages/{offset}", "/v1/topics/lobby/messages/1", "", 204, ""},
		{"GET /v1/topics/{topic}/messages", "/v1/topics/lobby/messages?limit=1", "", 200, `{"offset":1,"from":"backend","time":1767225600000,"removed":true}`},
		{"POST /v1/topics/{topic}/signals", "/v1/topics/lobby/signals", `{"data":{"typing":true},"from":"bot"}`, 204, ""},
		{"POST /v1/messages", "/v1/messages", `[{"topic":"lobby","data":3},{"topic":"@alice","data":4},{"topic":"*","data":5,"key":"k"}]`, 200,
			`{"results":[{"receipt":{"epoch":"e1","offset":3,"duplicate":false}},{"receipt":{"epoch":"e1","offset":2,"duplicate":false,"reached":1}},{"receipt":{"epoch":"e1","offset":3,"duplicate":false}}]}`},
		{"GET /v1/topics", "/v1/topics?limit=2", "", 200, `{"topics":[{"topic":"*","online":2},{"topic":"@alice","online":1}],"next":"@alice"}`},
		{"GET /v1/topics", "/v1/topics?cursor=@alice&limit=1", "", 200, `{"topics":[{"topic":"@zoë","online":1}]}`},
		{"PUT /v1/topics/{topic}/members/{user}", "/v1/topics/lobby/members/alice", "", 204, ""},
		{"PUT /v1/topics/{topic}/members/{user}", "/v1/topics/lobby/members/nobody", "", 404, `"code":"not_found","retry":false`},
		{"GET /v1/topics/{topic}/members", "/v1/topics/lobby/members", "", 200, `{"topic":"lobby","version":7,"online":1,"members":["alice"]}`},
		{"GET /v1/topics/{topic}/members", "/v1/topics/*/members?limit=1", "", 200, `"online":2,"members":["alice"],"next":"alice"`},
		{"DELETE /v1/topics/{topic}/members/{user}", "/v1/topics/lobby/members/alice", "", 204, ""},
		{"GET /v1/topics/{topic}/members", "/v1/topics/lobby/members", "", 200, `"online":0,"members":[]`},
		{"PUT /v1/topics/{topic}/bans/{user}", "/v1/topics/lobby/bans/alice", "", 204, ""},
		{"PUT /v1/topics/{topic}/bans/{user}", "/v1/topics/*/bans/zo%C3%AB", `{"until":"2999-01-31T12:00:00+01:00"}`, 204, ""},
		{"DELETE /v1/topics/{topic}/bans/{user}", "/v1/topics/lobby/bans/alice", "", 204, ""},
		{"PUT /v1/topics/{topic}/mutes/{user}", "/v1/topics/lobby/mutes/alice", `{"until":null}`, 204, ""},
		{"DELETE /v1/topics/{topic}/mutes/{user}", "/v1/topics/lobby/mutes/alice", "", 204, ""},
		{"PUT /v1/topics/{topic}/mutes/{user}", "/v1/topics/lobby/mutes/bob", `{}`, 204, ""},
		{"GET /v1/users/{user}", "/v1/users/alice", "", 200, `{"user":"alice","online":true,"sessions":[{"session":"n1-1","node":"n1","address":"127.0.0.1:4711","since":"2026-01-01T00:00:00Z","version":"v1","client":"go"},{"session":"n1-2"`},
		{"GET /v1/users/{user}", "/v1/users/nobody", "", 200, `{"user":"nobody","online":false,"sessions":[]}`},
		{"DELETE /v1/sessions/{session}", "/v1/sessions/n1-2", "", 204, ""},
		{"DELETE /v1/sessions/{session}", "/v1/sessions/n1-2", "", 404, `"code":"not_found"`},
		{"DELETE /v1/users/{user}/sessions", "/v1/users/alice/sessions", "", 204, ""},
		{"GET /v1/users/{user}", "/v1/users/alice", "", 200, `"online":false`},
		{"DELETE /v1/users/{user}", "/v1/users/zo%C3%AB", "", 204, ""},
		{"POST /v1/timers", "/v1/timers", `{"topic":"*","data":{"type":"clock"},"every":"1s"}`, 201, `{"id":"t1","topic":"*","data":{"type":"clock"},"every":"1s","next":"2026-01-01T00:00:01Z"}`},
		{"POST /v1/timers", "/v1/timers", `{"topic":"lobby","data":null,"at":"2030-01-01T02:00:00+02:00"}`, 201, `{"id":"t2","topic":"lobby","data":null,"next":"2030-01-01T00:00:00Z"}`},
		{"GET /v1/timers", "/v1/timers?limit=1", "", 200, `"next":"t1"`},
		{"GET /v1/timers", "/v1/timers?cursor=t1", "", 200, `{"timers":[{"id":"t2"`},
		{"DELETE /v1/timers/{id}", "/v1/timers/t1", "", 204, ""},
		{"DELETE /v1/timers/{id}", "/v1/timers/t1", "", 404, `"code":"not_found"`},
		{"DELETE /v1/topics/{topic}", "/v1/topics/lobby", "", 204, ""},
		{"GET /v1/topics/{topic}/messages", "/v1/topics/lobby/messages", "", 200, `"messages":[]`},
	} {
		status, answer := c.call(t, step.pattern, step.target, step.body)
		if status != step.status || !strings.Contains(answer, step.want) {
			t.Errorf("%s %s: %d %s, want %d %s", step.pattern, step.target, status, answer, step.status, step.want)
		}
	}
	for _, pattern := range api.Patterns() {
		if !c.seen[pattern] {
			t.Errorf("%s was never used with success", pattern)
		}
	}

	// Nodes that do not answer are marked, and so is what is missing because of them.
	h.silent = 2
	for target, want := range map[string]string{
		"/v1/nodes":        `},{"node":"n2","state":"silent"},{"node":"n3","state":"silent"}]}`,
		"/v1/topics":       `],"silent":2}`,
		"/v1/users/nobody": `{"user":"nobody","online":true,"sessions":[],"silent":2}`,
	} {
		pattern := "GET " + strings.Replace(target, "nobody", "{user}", 1)
		if status, answer := c.call(t, pattern, target, ""); status != 200 || !strings.Contains(answer, want) {
			t.Errorf("%s with silent nodes: %d %s, want %s", target, status, answer, want)
		}
	}

	// What the backend was told.
	if got, want := strings.Join(h.signals, ", "), `lobby bot {"typing":true}`; got != want {
		t.Errorf("signals %q, want %q", got, want)
	}
	if len(h.bans) != 1 || h.bans["* zoë"].UTC().Format("2006-01-02T15") != "2999-01-31T11" {
		t.Errorf("bans %v, want that of zoë in * until 2999", h.bans)
	}
	if until, ok := h.mutes["lobby bob"]; !ok || len(h.mutes) != 1 || !until.IsZero() {
		t.Errorf("mutes %v, want that of bob for ever", h.mutes)
	}
	if got, want := h.log("ü"), "1, 1"; got != want {
		t.Errorf("the topic ü has %q, want %q", got, want)
	}
}
