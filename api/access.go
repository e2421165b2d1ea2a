package api

import (
	"crypto/sha256"
	"crypto/subtle"
	"net"
	"net/http"
	"net/netip"
	"strings"
)

// A gate tells who is let in. Keys are kept and compared as hashes, so that neither
// length nor time tells anything of them.
type gate struct {
	keys [][sha256.Size]byte // Fixed at construction.
}

func newGate(keys []string) gate {
	var g gate
	for _, key := range keys {
		if key != "" {
			g.keys = append(g.keys, sha256.Sum256([]byte(key)))
		}
	}
	return g
}

// Guard lets only those through to h whom the server API would serve, with these keys.
func Guard(h http.Handler, keys []string) http.Handler {
	g := newGate(keys)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if p := g.check(r); p != nil {
			p.write(w)
			return
		}
		h.ServeHTTP(w, r)
	})
}

// check returns why a request is not let in, or nil.
func (g gate) check(r *http.Request) *problem {
	// A page that an operator looks at could use their address, and a key that their browser
	// keeps: https://www.w3.org/TR/fetch-metadata/
	site := r.Header.Get("Sec-Fetch-Site")
	if r.Header.Get("Origin") != "" || site != "" && site != "none" && site != "same-origin" {
		return refuse(http.StatusForbidden, "this is not for pages in browsers: let your server call it")
	}
	if len(g.keys) > 0 {
		if !g.knows(bearer(r)) {
			return refuse(http.StatusUnauthorized, "send one of the node's API keys: Authorization: Bearer <key>")
		}
		return nil
	}
	switch {
	case !loopbackPeer(r.RemoteAddr):
		return refuse(http.StatusForbidden, "without an API key only callers on the node's own machine are served: start the node with --api-key")
	case r.Header.Get("X-Forwarded-For") != "" || r.Header.Get("Forwarded") != "":
		return refuse(http.StatusForbidden, "without an API key no proxy is served: start the node with --api-key")
	case !loopbackHost(r.Host):
		// A name of another site may lead here (DNS rebinding).
		return refuse(http.StatusForbidden, "without an API key the host must be localhost or a loopback address: start the node with --api-key")
	}
	return nil
}

// knows compares a key with all, and takes the same time whichever it is.
func (g gate) knows(key string) bool {
	hash := sha256.Sum256([]byte(key))
	found := 0
	for _, k := range g.keys {
		found |= subtle.ConstantTimeCompare(hash[:], k[:])
	}
	return found == 1
}

// bearer returns the key that a request presents (RFC 6750, section 2.1), "" without one.
func bearer(r *http.Request) string {
	scheme, key, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return strings.TrimSpace(key)
}

func loopbackPeer(address string) bool {
	ap, err := netip.ParseAddrPort(address)
	return err == nil && ap.Addr().Unmap().IsLoopback()
}

func loopbackHost(host string) bool {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	if strings.EqualFold(host, "localhost") {
		return true
	}
	addr, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(host, "["), "]"))
	return err == nil && addr.Unmap().IsLoopback()
}
