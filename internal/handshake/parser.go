package handshake

import (
	"bufio"
	"bytes"
	"net/http"
	"strings"
	"sync"
)

// most is the length of a handshake that is taken. Browsers' have some hundred bytes, and what cookies they have.
const most = 4 << 10

// A parser holds what a connection's first bytes are read into, and what takes them apart.
type parser struct {
	room   [most]byte
	reader *bufio.Reader
}

var parsers = sync.Pool{New: func() any { return &parser{reader: bufio.NewReaderSize(nil, most)} }}

// parse returns the request that p begins with, and its size, if it is a handshake that is beyond doubt: it came whole at
// once, in the one form that everybody writes and nobody could read in two ways. Anything else, and
// whatever is special about it, is for the server to judge: then parse returns nil.
func (ps *parser) parse(p []byte) (*http.Request, int) {
	if !bytes.HasPrefix(p, []byte("GET /ws HTTP/1.1\r\n")) && !bytes.HasPrefix(p, []byte("GET /ws?")) {
		return nil, 0
	}
	end := bytes.Index(p, []byte("\r\n\r\n"))
	if end < 0 {
		return nil, 0
	}
	for line := range bytes.SplitSeq(p[:end], []byte("\r\n")) {
		if line[0] == ' ' || bytes.ContainsFunc(line, unprintable) {
			return nil, 0 // one line in two, or bytes of which there is no telling what they do
		}
	}
	size := end + len("\r\n\r\n")
	ps.reader.Reset(bytes.NewReader(p[:size]))
	r, err := http.ReadRequest(ps.reader)
	if err != nil || ps.reader.Buffered() > 0 || !plain(r) {
		return nil, 0
	}
	return r, size
}

// plain reports whether r is a handshake and nothing else.
func plain(r *http.Request) bool {
	for name, values := range r.Header {
		switch {
		case len(values) != 1 && name != "X-Forwarded-For":
			return false
		case strings.Contains(name, " "): // which the parser lets through, and the server does not
			return false
		}
	}
	for _, name := range []string{"Content-Length", "Transfer-Encoding", "Trailer", "Expect"} {
		if _, ok := r.Header[name]; ok {
			return false
		}
	}
	return r.Proto == "HTTP/1.1" && r.URL.Path == "/ws" &&
		r.ContentLength == 0 && len(r.TransferEncoding) == 0 &&
		r.Host != "" && !strings.ContainsFunc(r.Host, notOfHost) &&
		strings.EqualFold(r.Header.Get("Upgrade"), "websocket") &&
		strings.Contains(strings.ToLower(r.Header.Get("Connection")), "upgrade") &&
		r.Header.Get("Sec-WebSocket-Version") == "13"
}

func unprintable(c rune) bool { return c < ' ' || c > '~' }

func notOfHost(c rune) bool {
	return !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.ContainsRune(".:-_[]", c))
}
