package api_test

import (
	"bytes"
	"encoding/json"
	"io"
	"log/slog"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/rookery-chat/rookery/api"
	"github.com/rookery-chat/rookery/wire"
)

// Whatever a line has in it: it has one answer, what is published is data that members can
// read, and never the secret.
func FuzzLine(f *testing.F) {
	for _, seed := range []string{
		`{"uid":"uid1","percent":"88%"}`, `{"uid":"*","text":"hi"}`, `{"topic":"lobby","data":{"a":1}}`,
		`{"uid":"uid1","secret":"open-sesame"}`, `{"secret":"open-sesame","uid":"uid1","a":[1, {"b":null}]}`,
		`{"uid":"uid1","\u0073ecret":"open-sesame"}`, `{"uid":"uid1","uid":"uid2"}`, `{"topic":"lobby","data":1,"x":2}`,
		`{ "uid" : "u" , "a" : 1 }`, `{}`, `[]`, ``, `{"uid":"\ud800"}`, "\xff", `{"uid":"a","b":1e999}`, `{"":"","uid":"a"}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		h := newHall()
		err := api.Push(t.Context(), h, line)
		stored := 0
		for topic, log := range h.logs {
			stored += len(log)
			if name, wrong := wire.ParseTopic(topic); wrong != nil || name != topic {
				t.Errorf("published to %q", topic)
			}
			for _, m := range log {
				if compact, wrong := wire.ParseData(m.Data); wrong != nil || !bytes.Equal(compact, m.Data) {
					t.Errorf("published %q: %v", m.Data, wrong)
				}
				var sent, got map[string]any
				json.Unmarshal(line, &sent)
				if _, whole := sent["uid"]; !whole {
					continue
				}
				if wrong := json.Unmarshal(m.Data, &got); wrong != nil && !strings.Contains(wrong.Error(), "cannot unmarshal number") {
					t.Errorf("published %q: %v", m.Data, wrong)
				}
				if _, told := got["secret"]; told {
					t.Errorf("published the secret: %q", m.Data)
				}
				delete(sent, "secret")
				if len(got) != len(sent) {
					t.Errorf("of %q, %q was published", line, m.Data)
				}
			}
		}
		if err == nil && stored != 1 {
			t.Errorf("%q is ok, and %d messages are stored", line, stored)
		}
	})
}

// Whatever a publish has in it: the answer is a receipt, and the message is one that
// members can read, or a problem of the caller's, and nothing is stored.
func FuzzPublish(f *testing.F) {
	for _, seed := range []string{
		`{"data":1}`, `{"data":{"a": [1, 2]},"from":"backend","key":"a-17","except":["n1-1"]}`, `{"data":null}`, `{"data":"\ud83d\ude00"}`,
		`{"Data":1}`, `{"data":1,"data":2}`, `{"data":1,"from":null}`, `{"data":1,"except":null}`, `{"data":1,"key":"\u0000"}`, `{`, `[]`, `null`, "\xff",
		`{"data":1,"\u212aey":"a"}`, `{"data":1,"from":"ü"}`, `{"data":1e999}`,
	} {
		f.Add([]byte(seed))
	}
	quiet := slog.New(slog.DiscardHandler)
	f.Fuzz(func(t *testing.T, body []byte) {
		h := newHall()
		r := httptest.NewRequest("POST", "http://localhost/v1/topics/lobby/messages", io.NopCloser(bytes.NewReader(body)))
		r.RemoteAddr = "127.0.0.1:1"
		r.Header.Set("Content-Type", "application/json")
		w := httptest.NewRecorder()
		api.NewHTTP(h, &api.Options{Logger: quiet}).ServeHTTP(w, r)
		log := h.logs["lobby"]
		switch w.Code {
		case 200:
			if len(log) != 1 {
				t.Fatalf("%q: 200, and %d messages", body, len(log))
			}
			m := log[0]
			if compact, err := wire.ParseData(m.Data); err != nil || !bytes.Equal(compact, m.Data) || len(m.Data) > api.MaxData {
				t.Errorf("%q: stored %q: %v", body, m.Data, err)
			}
			if name, err := wire.CheckUser(m.From); m.From != "" && (err != nil || name != m.From) {
				t.Errorf("%q: from %q: %v", body, m.From, err)
			}
		case 400, 413:
			if len(log) != 0 || !json.Valid(w.Body.Bytes()) {
				t.Errorf("%q: %d %q, and %d messages", body, w.Code, w.Body, len(log))
			}
		default:
			t.Errorf("%q: %d %s", body, w.Code, w.Body)
		}
	})
}

// Whatever the body of a request has in it: the answer is what openapi.yaml lets it be, in JSON, and
// never that the server failed.
func FuzzBody(f *testing.F) {
	targets := []string{
		"POST /v1/messages", "POST /v1/topics/lobby/signals", "POST /v1/timers", "PUT /v1/topics/lobby/bans/bob", "PUT /v1/topics/lobby/mutes/bob",
		"PUT /v1/topics/lobby/members/bob", "POST /v1/topics/@bob/messages", "POST /v1/topics/*/messages",
	}
	for i := range targets {
		for _, body := range []string{
			`[{"topic":"lobby","data":1},{"topic":"@bob","data":{}}]`, `{"data":1}`, `{"topic":"lobby","data":"{{time}}","every":"1s"}`, `{"topic":"lobby","data":1,"at":"2026-01-01T00:00:00Z"}`,
			`{"for":"10m"}`, `{"until":"2027-01-01T00:00:00Z"}`, `{"topic":"lobby","data":1,"every":"-1s"}`, ``, `{}`, `[]`, `[[]]`, `null`, "\xff",
		} {
			f.Add(uint8(i), []byte(body))
		}
	}
	quiet := slog.New(slog.DiscardHandler)
	f.Fuzz(func(t *testing.T, which uint8, body []byte) {
		h := newHall()
		h.enter("n1-1", "bob")
		method, path, _ := strings.Cut(targets[int(which)%len(targets)], " ")
		r := httptest.NewRequest(method, "http://localhost"+path, io.NopCloser(bytes.NewReader(body)))
		r.RemoteAddr = "127.0.0.1:1"
		r.Header.Set("Content-Type", "application/json")
		w := httptest.NewRecorder()
		api.NewHTTP(h, &api.Options{Logger: quiet}).ServeHTTP(w, r)
		if w.Code >= 500 || w.Code != 204 && !json.Valid(w.Body.Bytes()) {
			t.Errorf("%s %s %q: %d %q", method, path, body, w.Code, w.Body)
		}
	})
}
