package api_test

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"

	"github.com/rookery-chat/rookery/api"
)

// A caller calls the server API as a program on the node's machine does, and judges
// every answer by openapi.yaml.
type caller struct {
	handler http.Handler
	doc     *openapi3.T
	seen    map[string]bool // operations that were answered with success
}

func newCaller(t *testing.T, b api.Backend) *caller {
	t.Helper()
	c := &caller{handler: api.NewHTTP(b, nil), seen: make(map[string]bool)}
	w := httptest.NewRecorder()
	c.handler.ServeHTTP(w, request("GET", "/v1/openapi.yaml", ""))
	if w.Code != http.StatusOK {
		t.Fatalf("openapi.yaml: %d %s", w.Code, w.Body)
	}
	doc, err := openapi3.NewLoader().LoadFromData(w.Body.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	if err := doc.Validate(t.Context()); err != nil {
		t.Fatal(err)
	}
	c.doc = doc
	return c
}

// request makes one of a caller on the node's machine.
func request(method, target, body string) *http.Request {
	r := httptest.NewRequest(method, "http://127.0.0.1:9000"+target, strings.NewReader(body))
	r.RemoteAddr = "127.0.0.1:4711"
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	return r
}

// call sends a request to the operation of a pattern, and checks that both it and the answer are as described.
func (c *caller) call(t *testing.T, pattern, target, body string) (status int, answer string) {
	t.Helper()
	method, path, _ := strings.Cut(pattern, " ")
	r := request(method, target, body)
	w := httptest.NewRecorder()
	c.handler.ServeHTTP(w, r)
	answer = w.Body.String()
	if err := c.judge(r.Context(), method, path, w.Code, w.Header(), answer); err != nil {
		t.Errorf("%s %s: the answer %d %s is not as openapi.yaml has it: %v", method, target, w.Code, answer, err)
	}
	item := c.doc.Paths.Value(path)
	if w.Code < 300 {
		c.seen[pattern] = true
		if err := c.judgeBody(item, method, body); err != nil {
			t.Errorf("%s %s: took %s, which openapi.yaml does not allow: %v", method, target, body, err)
		}
	}
	return w.Code, answer
}

// judge validates an answer.
func (c *caller) judge(ctx context.Context, method, path string, status int, header http.Header, body string) error {
	item := c.doc.Paths.Value(path)
	operation := item.GetOperation(method)
	return openapi3filter.ValidateResponse(ctx, &openapi3filter.ResponseValidationInput{
		RequestValidationInput: &openapi3filter.RequestValidationInput{
			Request: request(method, "/", ""),
			Route:   &routers.Route{Spec: c.doc, Path: path, PathItem: item, Method: method, Operation: operation},
		},
		Status:  status,
		Header:  header,
		Body:    io.NopCloser(bytes.NewReader([]byte(body))),
		Options: &openapi3filter.Options{IncludeResponseStatus: true},
	})
}

// judgeBody validates what was sent.
func (c *caller) judgeBody(item *openapi3.PathItem, method, body string) error {
	described := item.GetOperation(method).RequestBody
	if described == nil || body == "" {
		return nil
	}
	return openapi3filter.ValidateRequestBody(context.Background(), &openapi3filter.RequestValidationInput{
		Request: request(method, "/", body),
	}, described.Value)
}

// described returns all operations of openapi.yaml as patterns.
func (c *caller) described() (all []string) {
	for path, item := range c.doc.Paths.Map() {
		for method := range item.Operations() {
			all = append(all, method+" "+path)
		}
	}
	slices.Sort(all)
	return all
}

// What is served is what is described.
func TestOpenAPI(t *testing.T) {
	t.Parallel()
	c := newCaller(t, newHall())
	served := append(api.Patterns(), "GET /v1/openapi.yaml")
	slices.Sort(served)
	if described := c.described(); !slices.Equal(described, served) {
		t.Errorf("openapi.yaml has %q, the mux has %q", described, served)
	}
	// The mux itself knows every operation of it.
	for _, pattern := range c.described() {
		method, path, _ := strings.Cut(pattern, " ")
		w := httptest.NewRecorder()
		c.handler.ServeHTTP(w, request(method, strings.NewReplacer("{", "", "}", "").Replace(path), ""))
		if w.Code == http.StatusMethodNotAllowed || w.Code == http.StatusNotFound && strings.Contains(w.Body.String(), "no such path") {
			t.Errorf("%s is not served: %d %s", pattern, w.Code, w.Body)
		}
	}
}

// The judge of answers must refuse what is not described.
func TestJudge(t *testing.T) {
	t.Parallel()
	c := newCaller(t, newHall())
	for _, test := range []struct {
		status int
		kind   string
		body   string
		ok     bool
	}{
		{200, "application/json", `{"nodes":[{"node":"n1","state":"silent"}]}`, true},
		{200, "application/json", `{"nodes":[{"node":"n1","state":"odd"}]}`, false},
		{200, "application/json", `{"nodes":null}`, false},
		{200, "application/json", `{"nodes":[],"more":true}`, false},
		{200, "text/plain", `{"nodes":[]}`, false},
		{500, "application/problem+json", `{"type":"about:blank","title":"a","status":500,"detail":"b","code":"internal","retry":false}`, true},
		{500, "application/problem+json", `{"type":"about:blank","title":"a","status":500,"detail":"b","code":"odd","retry":false}`, false},
		{500, "application/json", `{"nodes":[]}`, false},
	} {
		err := c.judge(t.Context(), "GET", "/v1/nodes", test.status, http.Header{"Content-Type": {test.kind}}, test.body)
		if (err == nil) != test.ok {
			t.Errorf("%d %s %s: judged %v", test.status, test.kind, test.body, err)
		}
	}
}

// serve returns the body of an answer.
func serve(h http.Handler, r *http.Request) []byte {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Body.Bytes()
}
