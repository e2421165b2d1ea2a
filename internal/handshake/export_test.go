package handshake

import "net/http"

// Parse is a parser's.
func Parse(p []byte) (*http.Request, int) { return parsers.Get().(*parser).parse(p) }
