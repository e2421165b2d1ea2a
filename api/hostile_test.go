package api_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/rookery-chat/rookery/api"
	"github.com/rookery-chat/rookery/wire"
)

// Calls that must not be served. Each is a problem of the documented kind, with a detail
// that says what to do, and changes nothing.
func TestHostileCalls(t *testing.T) {
	t.Parallel()
	const (
		publish = "POST /v1/topics/{topic}/messages"
		history = "GET /v1/topics/{topic}/messages"
		ban     = "PUT /v1/topics/{topic}/bans/{user}"
		batch   = "POST /v1/messages"
		timer   = "POST /v1/timers"
	)
	long := strings.Repeat("x", 129)
	h := newHall()
	c := newCaller(t, h)
	for _, test := range []struct {
		pattern, target, body string
		status                int
		code                  wire.Code
		detail                string
	}{
		{publish, "/v1/topics/lobby/messages", ``, 415, "bad_request", "application/json"},
		{publish, "/v1/topics/lobby/messages", ` `, 400, "bad_request", "not JSON"},
		{publish, "/v1/topics/lobby/messages", `{"data":`, 400, "bad_request", "not JSON"},
		{publish, "/v1/topics/lobby/messages", `{"data":1}{}`, 400, "bad_request", "not JSON"},
		{publish, "/v1/topics/lobby/messages", `[1]`, 400, "bad_request", "JSON object"},
		{publish, "/v1/topics/lobby/messages", `null`, 400, "bad_request", "JSON object"},
		{publish, "/v1/topics/lobby/messages", `{}`, 400, "bad_request", "data is missing"},
		{publish, "/v1/topics/lobby/messages", `{"data":1,"form":"bob"}`, 400, "bad_request", `unknown field "form"`},
		{publish, "/v1/topics/lobby/messages", `{"Data":1}`, 400, "bad_request", `unknown field "Data"`},
		{publish, "/v1/topics/lobby/messages", `{"data":1,"\u017f":2}`, 400, "bad_request", `unknown field "ſ"`},
		{publish, "/v1/topics/lobby/messages", `{"data":1,"data":2}`, 400, "bad_request", `"data" stands twice`},
		{publish, "/v1/topics/lobby/messages", `{"data":1,"topic":"other"}`, 400, "bad_request", "the path names it"},
		{publish, "/v1/topics/lobby/messages", `{"data":1,"from":7}`, 400, "bad_request", "from must not be a JSON number"},
		{publish, "/v1/topics/lobby/messages", `{"data":1,"from":"@alice"}`, 400, "bad_request", `from: user name must not begin with "@"`},
		{publish, "/v1/topics/lobby/messages", `{"data":1,"from":"` + long + `"}`, 400, "bad_request", "128 bytes"},
		{publish, "/v1/topics/lobby/messages", `{"data":1,"key":"` + long + `"}`, 400, "bad_request", "key is longer"},
		{publish, "/v1/topics/lobby/messages", `{"data":1,"key":"\ud800"}`, 400, "bad_request", "key is not UTF-8"},
		{publish, "/v1/topics/lobby/messages", `{"data":1,"except":"n1-1"}`, 400, "bad_request", "except must not be a JSON string"},
		{publish, "/v1/topics/lobby/messages", `{"data":1,"except":[""]}`, 400, "bad_request", "without an id"},
		{publish, "/v1/topics/lobby/messages", `{"data":1,"except":["` + long + `"]}`, 400, "bad_request", "longer than 64"},
		{publish, "/v1/topics/lobby/messages", `{"data":1,"except":["a"` + strings.Repeat(`,"a"`, 100) + `]}`, 400, "bad_request", "more than 100"},
		{publish, "/v1/topics/lobby/messages", "{\"data\":\"\xff\"}", 400, "bad_request", "not UTF-8"},
		{publish, "/v1/topics/lobby/messages", `{"data":"\udfff"}`, 400, "bad_request", "half a character"},
		{publish, "/v1/topics/lobby/messages", `{"data":` + strings.Repeat("[", 64) + strings.Repeat("]", 64) + `}`, 400, "bad_request", "nested deeper"},
		{publish, "/v1/topics/lobby/messages", `{"data":` + strings.Repeat("[", 60000) + strings.Repeat("]", 60000) + `}`, 400, "bad_request", "not JSON"},
		{publish, "/v1/topics/lobby/messages", `{"data":"` + strings.Repeat("x", api.MaxData-1) + `"}`, 413, "too_large", "larger than 65536"},
		{publish, "/v1/topics/lobby/messages", `{"data":"` + strings.Repeat("x", 2*api.MaxData) + `"}`, 413, "too_large", "larger than 131072"},
		{publish, "/v1/topics/lobby/messages?after=1", `{"data":1}`, 400, "bad_request", "takes none"},
		{publish, "/v1/topics/lobby/messages?%zz", `{"data":1}`, 400, "bad_request", "URL-encoded"},
		{publish, "/v1/topics/a%20b/messages", `{"data":1}`, 400, "bad_request", "white space"},
		{publish, "/v1/topics/%00/messages", `{"data":1}`, 400, "bad_request", "control characters"},
		{publish, "/v1/topics/a%7Bb%7D/messages", `{"data":1}`, 400, "bad_request", "must not contain { }"},
		{publish, "/v1/topics/team*/messages", `{"data":1}`, 400, "bad_request", "must not contain"},
		{publish, "/v1/topics/@/messages", `{"data":1}`, 400, "bad_request", "is empty"},
		{publish, "/v1/topics/@@alice/messages", `{"data":1}`, 400, "bad_request", "must not begin"},
		{publish, "/v1/topics/%FF/messages", `{"data":1}`, 400, "bad_request", "not UTF-8"},
		{publish, "/v1/topics/" + long + "/messages", `{"data":1}`, 400, "bad_request", "128 bytes"},
		{"POST /v1/topics/{topic}/signals", "/v1/topics/lobby/signals", `{"data":1,"key":"a"}`, 400, "bad_request", `unknown field "key"`},
		{"POST /v1/topics/{topic}/signals", "/v1/topics/lobby/signals", `{"from":"bob"}`, 400, "bad_request", "data is missing"},

		{batch, "/v1/messages", `{"topic":"lobby","data":1}`, 400, "bad_request", "JSON array"},
		{batch, "/v1/messages", `[]`, 400, "bad_request", "empty"},
		{batch, "/v1/messages", `[1` + strings.Repeat(",1", 1000) + `]`, 413, "too_large", "more than 1000"},
		{batch, "/v1/messages", `["` + strings.Repeat("x", 1<<20) + `"]`, 413, "too_large", "larger than 1048576"},

		{history, "/v1/topics/lobby/messages?after=-1", "", 400, "bad_request", "after must be"},
		{history, "/v1/topics/lobby/messages?after=9007199254740992", "", 400, "bad_request", "after must be"},
		{history, "/v1/topics/lobby/messages?after=", "", 400, "bad_request", "after must be"},
		{history, "/v1/topics/lobby/messages?limit=0", "", 400, "bad_request", "limit must be"},
		{history, "/v1/topics/lobby/messages?limit=1001", "", 400, "bad_request", "limit must be"},
		{history, "/v1/topics/lobby/messages?limit=1&limit=2", "", 400, "bad_request", "stands twice"},
		{history, "/v1/topics/lobby/messages?before=4", "", 400, "bad_request", `unknown parameter "before": this path takes after, limit`},
		{"DELETE /v1/topics/{topic}/messages/{offset}", "/v1/topics/lobby/messages/0", "", 400, "bad_request", "from 1"},
		{"DELETE /v1/topics/{topic}/messages/{offset}", "/v1/topics/lobby/messages/all", "", 400, "bad_request", "whole number"},
		{"GET /v1/topics", "/v1/topics?cursor=" + strings.Repeat("x", 257), "", 400, "bad_request", "cursor is longer"},
		{"GET /v1/nodes", "/v1/nodes?limit=1", "", 400, "bad_request", "takes none"},
		{"POST /v1/nodes/{node}/shed", "/v1/nodes/n1/shed", "", 400, "bad_request", "percent must be"},
		{"POST /v1/nodes/{node}/shed", "/v1/nodes/n1/shed?percent=0", "", 400, "bad_request", "from 1 to 100"},
		{"POST /v1/nodes/{node}/shed", "/v1/nodes/n1/shed?percent=101", "", 400, "bad_request", "from 1 to 100"},
		{"POST /v1/nodes/{node}/shed", "/v1/nodes/n1/shed?part=4", "", 400, "bad_request", "unknown parameter"},
		{"GET /v1/topics/{topic}/members", "/v1/topics/@alice/members", "", 400, "bad_request", "GET /v1/users/{user}"},
		{"PUT /v1/topics/{topic}/members/{user}", "/v1/topics/@alice/members/bob", "", 400, "bad_request", "rooms only"},
		{"DELETE /v1/topics/{topic}/members/{user}", "/v1/topics/*/members/bob", "", 400, "bad_request", "rooms only"},
		{"GET /v1/users/{user}", "/v1/users/@alice", "", 400, "bad_request", `must not begin with "@"`},
		{"DELETE /v1/users/{user}", "/v1/users/*", "", 400, "bad_request", "must not contain"},
		{"DELETE /v1/sessions/{session}", "/v1/sessions/" + long, "", 400, "bad_request", "longer than 64"},
		{ban, "/v1/topics/lobby/bans/bob", `{"until":"tomorrow"}`, 400, "bad_request", "RFC 3339"},
		{ban, "/v1/topics/lobby/bans/bob", `{"until":"2020-01-01T00:00:00Z"}`, 400, "bad_request", "past"},
		{ban, "/v1/topics/lobby/bans/bob", `{"for":"1h"}`, 400, "bad_request", `unknown field "for"`},
		{timer, "/v1/timers", `{"topic":"*","data":1}`, 400, "bad_request", "every"},
		{timer, "/v1/timers", `{"topic":"*","data":1,"every":"10ms"}`, 400, "bad_request", "from 1s"},
		{timer, "/v1/timers", `{"topic":"*","data":1,"every":"-1s"}`, 400, "bad_request", "from 1s"},
		{timer, "/v1/timers", `{"topic":"*","data":1,"every":"1s1ns"}`, 400, "bad_request", "whole milliseconds"},
		{timer, "/v1/timers", `{"topic":"*","data":1,"every":"8785h"}`, 400, "bad_request", "from 1s"},
		{timer, "/v1/timers", `{"topic":"*","data":1,"every":1}`, 400, "bad_request", "every must not be a JSON number"},
		{timer, "/v1/timers", `{"topic":"*","data":1,"at":"0001-01-01T00:00:00Z"}`, 400, "bad_request", "RFC 3339"},
		{timer, "/v1/timers", `{"data":1,"every":"1s"}`, 400, "bad_request", "topic is missing"},
		{"DELETE /v1/timers/{id}", "/v1/timers/" + long, "", 400, "bad_request", "longer than 64"},
	} {
		status, answer := c.call(t, test.pattern, test.target, test.body)
		wantProblem(t, fmt.Sprintf("%s %.60s %.60s", test.pattern, test.target, test.body), status, answer, test.status, test.code, test.detail)
	}
	if len(h.logs)+len(h.members)+len(h.bans)+len(h.clocks)+len(h.signals) > 0 {
		t.Errorf("something was done all the same: %+v", h)
	}
}

// wantProblem checks an answer that is no success.
func wantProblem(t *testing.T, name string, status int, answer string, want int, code wire.Code, detail string) {
	t.Helper()
	var p struct {
		Status int
		Code   wire.Code
		Detail string
		Retry  bool
	}
	if err := json.Unmarshal([]byte(answer), &p); err != nil {
		t.Errorf("%s: %d %.200s: %v", name, status, answer, err)
		return
	}
	if status != want || p.Status != want || p.Code != code || !strings.Contains(p.Detail, detail) {
		t.Errorf("%s: %d %s, want %d %s %q", name, status, answer, want, code, detail)
	}
	if p.Retry != (code == wire.Unavailable || code == wire.RateLimited) {
		t.Errorf("%s: %s says retry %v", name, code, p.Retry)
	}
}

// What the mux does not know is a problem too.
func TestUnknownPaths(t *testing.T) {
	t.Parallel()
	handler := api.NewHTTP(newHall(), nil)
	for _, test := range []struct {
		method, target string
		status         int
		code           wire.Code
		allow          string
	}{
		{"GET", "/v1/", 404, wire.NotFound, ""},
		{"GET", "/v2/nodes", 404, wire.NotFound, ""},
		{"GET", "/v1/topics/a/b/c/d", 404, wire.NotFound, ""},
		{"GET", "/v1/topics/a/b", 404, wire.NotFound, ""},
		{"PATCH", "/v1/nodes", 405, wire.BadRequest, "GET, HEAD"},
		{"PUT", "/v1/topics/lobby/messages", 405, wire.BadRequest, "GET, HEAD, POST"},
		{"OPTIONS", "/v1/timers", 405, wire.BadRequest, "GET, HEAD, POST"},
	} {
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, request(test.method, test.target, ""))
		wantProblem(t, test.method+" "+test.target, w.Code, w.Body.String(), test.status, test.code, "")
		if kind := w.Header().Get("Content-Type"); kind != "application/problem+json" || w.Header().Get("Allow") != test.allow {
			t.Errorf("%s %s: Content-Type %q, Allow %q; want Allow %q", test.method, test.target, kind, w.Header().Get("Allow"), test.allow)
		}
	}
}

// Who is let in, with keys and without.
func TestAccess(t *testing.T) {
	t.Parallel()
	keys := &api.Options{Keys: []string{"old-key", "", "new-key"}}
	for name, test := range map[string]struct {
		opts   *api.Options
		change func(r *http.Request)
		status int
	}{
		"here":                    {nil, func(r *http.Request) {}, 200},
		"here, IPv6":              {nil, func(r *http.Request) { r.RemoteAddr, r.Host = "[::1]:1", "[::1]:9000" }, 200},
		"here, IPv4 in IPv6":      {nil, func(r *http.Request) { r.RemoteAddr = "[::ffff:127.0.0.1]:1" }, 200},
		"here, by name":           {nil, func(r *http.Request) { r.Host = "LocalHost:9000" }, 200},
		"here, by name alone":     {nil, func(r *http.Request) { r.Host = "localhost" }, 200},
		"typed into a browser":    {nil, func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "none") }, 200},
		"elsewhere":               {nil, func(r *http.Request) { r.RemoteAddr = "192.0.2.7:1" }, 403},
		"nowhere":                 {nil, func(r *http.Request) { r.RemoteAddr = "" }, 403},
		"elsewhere, empty key":    {&api.Options{Keys: []string{""}}, func(r *http.Request) { r.RemoteAddr = "192.0.2.7:1"; r.Header.Set("Authorization", "Bearer ") }, 403},
		"through a proxy":         {nil, func(r *http.Request) { r.Header.Set("X-Forwarded-For", "127.0.0.1") }, 403},
		"through another proxy":   {nil, func(r *http.Request) { r.Header.Set("Forwarded", "for=127.0.0.1") }, 403},
		"DNS rebinding":           {nil, func(r *http.Request) { r.Host = "rebound.example:9000" }, 403},
		"DNS rebinding, likeness": {nil, func(r *http.Request) { r.Host = "127.0.0.1.example" }, 403},
		"no host":                 {nil, func(r *http.Request) { r.Host = "" }, 403},
		"page":                    {nil, func(r *http.Request) { r.Header.Set("Origin", "http://127.0.0.1:8000") }, 403},
		"page of nowhere":         {nil, func(r *http.Request) { r.Header.Set("Origin", "null") }, 403},
		"image in a page":         {nil, func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "cross-site") }, 403},
		"image in the chat page":  {nil, func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "same-site") }, 403},
		"key, page":               {keys, func(r *http.Request) { bearer(r, "new-key"); r.Header.Set("Origin", "https://rookery.example") }, 403},
		"first key":               {keys, func(r *http.Request) { bearer(r, "old-key") }, 200},
		"second key":              {keys, func(r *http.Request) { bearer(r, "new-key") }, 200},
		"key from elsewhere":      {keys, func(r *http.Request) { bearer(r, "new-key"); r.RemoteAddr, r.Host = "192.0.2.7:1", "rookery.example" }, 200},
		"key through a proxy":     {keys, func(r *http.Request) { bearer(r, "new-key"); r.Header.Set("X-Forwarded-For", "192.0.2.7") }, 200},
		"key, other capitals":     {keys, func(r *http.Request) { r.Header.Set("Authorization", "bearer new-key") }, 200},
		"no key":                  {keys, func(r *http.Request) {}, 401},
		"empty key":               {keys, func(r *http.Request) { bearer(r, "") }, 401},
		"wrong key":               {keys, func(r *http.Request) { bearer(r, "new-kez") }, 401},
		"beginning of a key":      {keys, func(r *http.Request) { bearer(r, "new-ke") }, 401},
		"both keys":               {keys, func(r *http.Request) { bearer(r, "old-key new-key") }, 401},
		"another scheme":          {keys, func(r *http.Request) { r.SetBasicAuth("new-key", "new-key") }, 401},
	} {
		r := request("GET", "/v1/nodes", "")
		test.change(r)
		w := httptest.NewRecorder()
		api.NewHTTP(newHall(), test.opts).ServeHTTP(w, r)
		guarded, keys := httptest.NewRecorder(), []string(nil)
		if test.opts != nil {
			keys = test.opts.Keys
		}
		api.Guard(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte("in")) }), keys).ServeHTTP(guarded, r)
		if guarded.Code != w.Code || w.Code != 200 && guarded.Body.String() != w.Body.String() || w.Code == 200 && guarded.Body.String() != "in" {
			t.Errorf("%s: what is guarded answers %d %s, the server API %d %s", name, guarded.Code, guarded.Body, w.Code, w.Body)
		}
		switch answer := w.Body.String(); test.status {
		case 200:
			if w.Code != 200 {
				t.Errorf("%s: %d %s, want to be let in", name, w.Code, answer)
			}
		default:
			code := map[int]wire.Code{401: wire.Unauthorized, 403: wire.Forbidden}[test.status]
			wantProblem(t, name, w.Code, answer, test.status, code, "")
			if strings.Contains(answer, "new-ke") {
				t.Errorf("%s: the answer has a key in it: %s", name, answer)
			}
			if challenge := w.Header().Get("WWW-Authenticate"); (challenge != "") != (test.status == 401) {
				t.Errorf("%s: WWW-Authenticate is %q", name, challenge)
			}
		}
	}
}

func bearer(r *http.Request, key string) { r.Header.Set("Authorization", "Bearer "+key) }

// A page may send these without asking first.
func TestBodyTypes(t *testing.T) {
	t.Parallel()
	for kind, want := range map[string]int{
		"application/json":                  200,
		"application/json; charset=utf-8":   200,
		"Application/JSON":                  200,
		"":                                  415,
		"text/plain":                        415,
		"text/plain; x=application/json":    415,
		"application/x-www-form-urlencoded": 415,
		"multipart/form-data; boundary=a":   415,
	} {
		r := request("POST", "/v1/topics/lobby/messages", `{"data":1}`)
		r.Header.Set("Content-Type", kind)
		w := httptest.NewRecorder()
		api.NewHTTP(newHall(), nil).ServeHTTP(w, r)
		if w.Code != want {
			t.Errorf("Content-Type %q: %d %s, want %d", kind, w.Code, w.Body, want)
		}
	}
}

// What goes wrong in the cluster is told as far as it helps the caller, and logged where it does not.
func TestBackendErrors(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		err    error
		status int
		code   wire.Code
		detail string
		logged bool
	}{
		{fmt.Errorf("bus: %w", api.ErrUnavailable), 503, wire.Unavailable, "ask again", false},
		{fmt.Errorf("bus: %w", context.DeadlineExceeded), 503, wire.Unavailable, "ask again", false},
		{fmt.Errorf("store: %w", api.ErrNotFound), 404, wire.NotFound, "none of that name", false},
		{&wire.Error{Code: wire.RateLimited, Message: "slower"}, 429, wire.RateLimited, "slower", false},
		{&wire.Error{Code: "odd", Message: "?"}, 500, wire.Internal, "the node's log", true},
		{errors.New("secret of the house"), 500, wire.Internal, "the node's log", true},
	} {
		h := newHall()
		h.fail(test.err, 0)
		var log strings.Builder
		handler := api.NewHTTP(h, &api.Options{Logger: slog.New(slog.NewTextHandler(&log, nil)), Keys: []string{"the-key"}})
		for _, pattern := range api.Patterns() {
			method, target, _ := strings.Cut(pattern, " ")
			target = strings.NewReplacer("{offset}", "1", "/shed", "/shed?percent=1", "{", "", "}", "").Replace(target)
			body := map[string]string{
				"POST /v1/timers":                  `{"topic":"lobby","data":1,"every":"1s"}`,
				"POST /v1/topics/{topic}/messages": `{"data":1}`,
				"POST /v1/topics/{topic}/signals":  `{"data":1}`,
				"POST /v1/messages":                `[{"topic":"lobby","data":1}]`,
			}[pattern]
			log.Reset()
			r := request(method, target, body)
			bearer(r, "the-key")
			w := httptest.NewRecorder()
			handler.ServeHTTP(w, r)
			name, answer := pattern+": "+test.err.Error(), w.Body.String()
			if strings.Contains(answer, "secret of the house") || strings.Contains(log.String(), "the-key") {
				t.Errorf("%s: too much is told: %s, logged %s", name, answer, &log)
			}
			if told := strings.Contains(log.String(), test.err.Error()); told != test.logged {
				t.Errorf("%s: logged %q", name, &log)
			}
			if pattern == "POST /v1/messages" { // every message has its own answer
				var results struct {
					Results []struct{ Problem json.RawMessage }
				}
				if err := json.Unmarshal(w.Body.Bytes(), &results); err != nil || w.Code != 200 || len(results.Results) != 1 {
					t.Errorf("%s: %d %s", name, w.Code, answer)
					continue
				}
				wantProblem(t, name, test.status, string(results.Results[0].Problem), test.status, test.code, test.detail)
				continue
			}
			wantProblem(t, name, w.Code, answer, test.status, test.code, test.detail)
			if after := w.Header().Get("Retry-After"); (after != "") != (test.status == 503 || test.status == 429) {
				t.Errorf("%s: Retry-After is %q", name, after)
			}
		}
	}
}
