package api

import (
	"context"
	_ "embed"
	"encoding/json"
	"log/slog"
	"net/http"
	"time"
)

// Options adjust the server API; nil is good.
type Options struct {
	// Keys are the API keys, any of which a caller may present: two at once while one is
	// changed for another. Empty ones do not count. Without any, only callers on this machine are served.
	Keys []string
	// Logger is told of errors inside: slog.Default by default.
	Logger *slog.Logger
}

// requestTime bounds what a request may ask of the cluster.
const requestTime = 10 * time.Second

//go:embed openapi.yaml
var openAPI []byte

// A server answers requests. Its fields are fixed at construction.
type server struct {
	backend Backend
	gate    gate
	mux     *http.ServeMux
	log     *slog.Logger
}

// A route is one operation. What its handle returns is sent as JSON under status;
// nothing goes with http.StatusNoContent.
type route struct {
	pattern string
	status  int
	handle  func(*http.Request) (any, error)
}

// routes is the whole server API, but for openapi.yaml itself.
func (s *server) routes() []route {
	const ok, created, done = http.StatusOK, http.StatusCreated, http.StatusNoContent
	return []route{
		{"POST /v1/messages", ok, s.publishBatch},
		{"POST /v1/topics/{topic}/messages", ok, s.publish},
		{"POST /v1/topics/{topic}/signals", done, s.signal},

		{"GET /v1/topics", ok, s.topics},
		{"DELETE /v1/topics/{topic}", done, s.deleteTopic},
		{"GET /v1/topics/{topic}/messages", ok, s.history},
		{"DELETE /v1/topics/{topic}/messages/{offset}", done, s.deleteMessage},
		{"GET /v1/topics/{topic}/members", ok, s.members},
		{"PUT /v1/topics/{topic}/members/{user}", done, s.join},
		{"DELETE /v1/topics/{topic}/members/{user}", done, s.remove},
		{"PUT /v1/topics/{topic}/bans/{user}", done, s.ban},
		{"DELETE /v1/topics/{topic}/bans/{user}", done, s.unban},
		{"PUT /v1/topics/{topic}/mutes/{user}", done, s.mute},
		{"DELETE /v1/topics/{topic}/mutes/{user}", done, s.unmute},

		{"GET /v1/nodes", ok, s.nodes},
		{"POST /v1/nodes/{node}/shed", ok, s.shed},
		{"GET /v1/users/{user}", ok, s.user},
		{"DELETE /v1/users/{user}", done, s.deleteUser},
		{"DELETE /v1/users/{user}/sessions", done, s.kick},
		{"DELETE /v1/sessions/{session}", done, s.kickSession},

		{"POST /v1/timers", created, s.addTimer},
		{"GET /v1/timers", ok, s.timers},
		{"DELETE /v1/timers/{id}", done, s.deleteTimer},
	}
}

// NewHTTP returns the server API, which serves /v1/… as openapi.yaml says. It is to be
// mounted on "/v1/" of a server that bounds how long a request may take to arrive, and
// is not for pages in browsers: their requests are refused.
func NewHTTP(b Backend, opts *Options) http.Handler {
	if opts == nil {
		opts = &Options{}
	}
	s := &server{backend: b, gate: newGate(opts.Keys), mux: http.NewServeMux(), log: opts.Logger}
	if s.log == nil {
		s.log = slog.Default()
	}
	for _, r := range s.routes() {
		s.mux.HandleFunc(r.pattern, s.serve(r))
	}
	s.mux.HandleFunc("GET /v1/openapi.yaml", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/yaml")
		w.Write(openAPI)
	})
	return s
}

// ServeHTTP lets the mux serve what is let in, and makes a problem of what the mux does not know.
func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	if p := s.gate.check(r); p != nil {
		p.write(w)
		return
	}
	h, pattern := s.mux.Handler(r)
	if pattern != "" {
		s.mux.ServeHTTP(w, r)
		return
	}
	answer := unsent{header: w.Header()}
	h.ServeHTTP(&answer, r) // 404, or 405 with the header Allow
	if answer.status == http.StatusMethodNotAllowed {
		refuse(answer.status, "this path does not serve %s: see the header Allow", r.Method).write(w)
		return
	}
	refuse(http.StatusNotFound, "no such path: GET /v1/openapi.yaml lists them").write(w)
}

// serve makes one route's handler.
func (s *server) serve(route route) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), requestTime)
		defer cancel()
		answer, err := route.handle(r.WithContext(ctx))
		var body []byte
		if err == nil && route.status != http.StatusNoContent {
			body, err = json.Marshal(answer)
		}
		if err != nil {
			p, known := problemOf(err)
			if !known && r.Context().Err() == nil {
				s.log.Error("server API", "operation", route.pattern, "err", err)
			}
			p.write(w)
			return
		}
		if body != nil {
			w.Header().Set("Content-Type", "application/json")
		}
		w.WriteHeader(route.status)
		w.Write(body)
	}
}

// An unsent answer keeps its status and forgets its body.
type unsent struct {
	header http.Header
	status int
}

func (u *unsent) Header() http.Header         { return u.header }
func (u *unsent) WriteHeader(status int)      { u.status = status }
func (u *unsent) Write(b []byte) (int, error) { return len(b), nil }
