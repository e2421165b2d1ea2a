// Package web holds the chat page and rookery.js, the JavaScript client of rookery.v1,
// and serves both from the binary. It knows the node by its protocol alone.
package web

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"time"
)

//go:embed index.html page.css later.css page/*.js icon.svg rookery.js rookery.d.ts
var files embed.FS

// policy is the page's Content-Security-Policy (https://www.w3.org/TR/CSP3/): it runs our
// scripts and no others, and talks with nobody but the node that served it; 'self' covers
// WebSockets to the same host and port. Pictures may come as data, in messages.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"

// An asset is one file, ready to be served.
type asset struct {
	content     []byte
	packed      []byte // the content in gzip
	contentType string
	etag        string // of the content; that of packed differs
	shared      bool   // pages of other sites may load it
}

// Tokens tells how the node that serves the page takes tokens, which say who somebody is.
type Tokens string

const (
	NoTokens   Tokens = ""     // names will do
	TokensToo  Tokens = "too"  // who has none comes in by a name
	TokensOnly Tokens = "only" // nobody comes in without one
)

// Handler serves the chat page at / and the files that it is made of.
func Handler(tokens Tokens) http.Handler {
	const script, style = "text/javascript; charset=utf-8", "text/css; charset=utf-8"
	assets := map[string]asset{
		"/":             page(tokens),
		"/page.css":     load("page.css", style),
		"/later.css":    load("later.css", style),
		"/icon.svg":     load("icon.svg", "image/svg+xml"),
		"/rookery.js":   load("rookery.js", script).share(),
		"/rookery.d.ts": load("rookery.d.ts", "application/typescript; charset=utf-8").share(),
	}
	modules, err := files.ReadDir("page")
	if err != nil {
		panic(err) // cannot be: the compiler has embedded it
	}
	for _, m := range modules {
		name := "page/" + m.Name()
		assets["/"+name] = load(name, script)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", policy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		a, found := assets[r.URL.Path]
		if !found {
			http.Error(w, "not found: the chat page is at /", http.StatusNotFound)
			return
		}
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			h.Set("Allow", "GET, HEAD")
			http.Error(w, "only GET and HEAD", http.StatusMethodNotAllowed)
			return
		}
		if a.shared {
			h.Set("Access-Control-Allow-Origin", "*")
		}
		h.Set("Content-Type", a.contentType)
		h.Set("Cache-Control", "no-cache") // keep it, but ask with the ETag: a cluster may be upgraded
		h.Set("Vary", "Accept-Encoding")
		content, etag := a.content, a.etag
		if takesGzip(r) {
			content, etag = a.packed, strings.TrimSuffix(a.etag, `"`)+`-gzip"`
			h.Set("Content-Encoding", "gzip")
		}
		h.Set("ETag", etag)
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(content))
	})
}

// page is index.html, which knows how the node takes tokens.
func page(tokens Tokens) asset {
	content := read("index.html")
	if tokens != NoTokens {
		content = bytes.Replace(content, []byte("<body>"), fmt.Appendf(nil, "<body data-tokens=%q>", tokens), 1)
	}
	return pack(content, "text/html; charset=utf-8")
}

func load(name, contentType string) asset { return pack(read(name), contentType) }

func read(name string) []byte {
	content, err := files.ReadFile(name)
	if err != nil {
		panic(err) // cannot be: the compiler has embedded it
	}
	return content
}

func pack(content []byte, contentType string) asset {
	var packed bytes.Buffer
	z, _ := gzip.NewWriterLevel(&packed, gzip.BestCompression) // fails for unknown levels only
	z.Write(content)                                           // into memory
	z.Close()
	sum := sha256.Sum256(content)
	etag := `"` + base64.RawURLEncoding.EncodeToString(sum[:12]) + `"`
	return asset{content: content, packed: packed.Bytes(), contentType: contentType, etag: etag}
}

// takesGzip tells whether a browser wants gzip (RFC 9110, section 12.5.3). A part of a file is not packed.
func takesGzip(r *http.Request) bool {
	for coding := range strings.SplitSeq(strings.Join(r.Header.Values("Accept-Encoding"), ","), ",") {
		name, weight, _ := strings.Cut(strings.TrimSpace(coding), ";")
		if strings.EqualFold(strings.TrimSpace(name), "gzip") {
			return !refused.MatchString(weight) && r.Header.Get("Range") == ""
		}
	}
	return false
}

// refused is the weight of a coding that is not wanted.
var refused = regexp.MustCompile(`^\s*q\s*=\s*0(\.0*)?\s*$`)

// share lets pages of other sites load the file.
func (a asset) share() asset {
	a.shared = true
	return a
}
