package web_test

import (
	"compress/gzip"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/rookery-chat/rookery/web"
)

func get(t *testing.T, method, path string, header http.Header) *http.Response {
	t.Helper()
	r := httptest.NewRequest(method, path, nil)
	for k, v := range header {
		r.Header[k] = v
	}
	w := httptest.NewRecorder()
	web.Handler(web.NoTokens).ServeHTTP(w, r)
	return w.Result()
}

func body(t *testing.T, r *http.Response) string {
	t.Helper()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// files are what the handler serves.
var files = withModules(map[string]string{
	"/":             "text/html; charset=utf-8",
	"/page.css":     "text/css; charset=utf-8",
	"/later.css":    "text/css; charset=utf-8",
	"/page/main.js": "text/javascript; charset=utf-8",
	"/rookery.js":   "text/javascript; charset=utf-8",
	"/rookery.d.ts": "application/typescript; charset=utf-8",
	"/icon.svg":     "image/svg+xml",
})

// withModules adds the page's modules.
func withModules(files map[string]string) map[string]string {
	modules, err := filepath.Glob("page/*.js")
	if err != nil || len(modules) == 0 {
		panic("no modules of the page are here")
	}
	for _, m := range modules {
		files["/"+filepath.ToSlash(m)] = "text/javascript; charset=utf-8"
	}
	return files
}

func TestFiles(t *testing.T) {
	t.Parallel()
	for path, contentType := range files {
		r := get(t, "GET", path, nil)
		content := body(t, r)
		if r.StatusCode != 200 || content == "" {
			t.Errorf("GET %s: status %d, %d bytes", path, r.StatusCode, len(content))
		}
		etag := r.Header.Get("ETag")
		want := map[string]string{
			"Content-Type":           contentType,
			"Cache-Control":          "no-cache",
			"X-Content-Type-Options": "nosniff",
			"Referrer-Policy":        "no-referrer",
		}
		for k, v := range want {
			if got := r.Header.Get(k); got != v {
				t.Errorf("GET %s: %s is %q, want %q", path, k, got, v)
			}
		}
		policy := r.Header.Get("Content-Security-Policy")
		for _, part := range []string{"default-src 'none'", "script-src 'self'", "connect-src 'self'", "frame-ancestors 'none'"} {
			if !strings.Contains(policy, part) {
				t.Errorf("GET %s: the policy %q lacks %s", path, policy, part)
			}
		}
		if strings.Contains(policy, "unsafe") {
			t.Errorf("GET %s: the policy %q allows what is unsafe", path, policy)
		}

		head := get(t, "HEAD", path, nil)
		if head.StatusCode != 200 || body(t, head) != "" || head.Header.Get("ETag") != etag {
			t.Errorf("HEAD %s: status %d, ETag %s", path, head.StatusCode, head.Header.Get("ETag"))
		}
		if again := get(t, "GET", path, http.Header{"If-None-Match": {etag}}); again.StatusCode != 304 {
			t.Errorf("GET %s with its ETag: status %d, want 304", path, again.StatusCode)
		}
		if other := get(t, "GET", path, http.Header{"If-None-Match": {`"other"`}}); other.StatusCode != 200 {
			t.Errorf("GET %s with another ETag: status %d, want 200", path, other.StatusCode)
		}
	}
}

func TestRefused(t *testing.T) {
	t.Parallel()
	for _, path := range []string{"/web.go", "/testing/fake.js", "/index.html", "/page/", "/page/none.js", "/page.js", "/package.json", "/..", "/ws"} {
		r := get(t, "GET", path, nil)
		if r.StatusCode != 404 || r.Header.Get("Content-Security-Policy") == "" {
			t.Errorf("GET %s: status %d, want 404", path, r.StatusCode)
		}
	}
	for _, method := range []string{"POST", "PUT", "DELETE", "OPTIONS"} {
		r := get(t, method, "/", nil)
		if r.StatusCode != 405 || r.Header.Get("Allow") != "GET, HEAD" {
			t.Errorf("%s /: status %d, Allow %q", method, r.StatusCode, r.Header.Get("Allow"))
		}
	}
}

// Pages of other sites may load the client, and nothing else.
func TestShared(t *testing.T) {
	t.Parallel()
	for path := range files {
		got := get(t, "GET", path, nil).Header.Get("Access-Control-Allow-Origin")
		if want := strings.HasPrefix(path, "/rookery."); (got == "*") != want {
			t.Errorf("GET %s: Access-Control-Allow-Origin is %q", path, got)
		}
	}
}

// Browsers that take gzip load about a third, under an ETag of its own.
func TestPacked(t *testing.T) {
	t.Parallel()
	for path := range files {
		plain := get(t, "GET", path, nil)
		packed := get(t, "GET", path, http.Header{"Accept-Encoding": {"br;q=1.0, gzip, deflate"}})
		sent := body(t, packed)
		z, err := gzip.NewReader(strings.NewReader(sent))
		if err != nil {
			t.Fatalf("GET %s: %v", path, err)
		}
		content, err := io.ReadAll(z)
		if err != nil || string(content) != body(t, plain) {
			t.Errorf("GET %s: what is packed is not what is not: %v", path, err)
		}
		etag := packed.Header.Get("ETag")
		if packed.Header.Get("Content-Encoding") != "gzip" || packed.Header.Get("Vary") != "Accept-Encoding" || etag == plain.Header.Get("ETag") {
			t.Errorf("GET %s: %v", path, packed.Header)
		}
		if again := get(t, "GET", path, http.Header{"Accept-Encoding": {"gzip"}, "If-None-Match": {etag}}); again.StatusCode != 304 {
			t.Errorf("GET %s with its packed ETag: status %d, want 304", path, again.StatusCode)
		}
	}
	for _, refusal := range []string{"", "identity", "gzip;q=0", "gzip; q=0.00", "xgzip"} {
		if r := get(t, "GET", "/", http.Header{"Accept-Encoding": {refusal}}); r.Header.Get("Content-Encoding") != "" {
			t.Errorf("with Accept-Encoding %q, the page comes as %s", refusal, r.Header.Get("Content-Encoding"))
		}
	}
}

// The page loads nothing from elsewhere and runs nothing inline. (How much a browser loads, TestOpening tells.)
func TestPage(t *testing.T) {
	t.Parallel()
	foreign := regexp.MustCompile(`(?i)(src|href|url|import|from)\s*[=(]?\s*["']?(https?:)?//`)
	for path := range files {
		if path == "/rookery.d.ts" {
			continue
		}
		content := body(t, get(t, "GET", path, nil))
		if found := foreign.FindString(content); found != "" {
			t.Errorf("%s loads from elsewhere: %s", path, found)
		}
		for _, sink := range []string{"innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("} {
			if strings.Contains(content, sink) {
				t.Errorf("%s uses %s", path, sink)
			}
		}
	}
	page := body(t, get(t, "GET", "/", nil))
	if inline := regexp.MustCompile(`(?i)<script[^>]*>[^<]|<style|\sstyle=|\son\w+=`).FindString(page); inline != "" {
		t.Errorf("the page has something inline: %s", inline)
	}
	for _, id := range []string{"name", "enter", "room", "log", "people", "text", "send", "banner", "online", "rooms", "directs", "present", "live"} {
		if !strings.Contains(page, `id="`+id+`"`) {
			t.Errorf("the page has no element #%s", id)
		}
	}
}
