package faults_test

import (
	"net/http"
	"testing"

	"github.com/coder/websocket"
)

// A node without any settings lets everybody in who reaches it, which is this machine. A page of
// another site that gave its own name this machine's address (DNS rebinding) is not let in; pages
// of the node, of a site that --origins names, and programs are.
func TestDNSRebinding(t *testing.T) {
	t.Parallel()
	plain, named, anyone := serve(t, nil), serve(t, nil, "--origins=chat.example"), serve(t, nil, "--anonymous")
	for _, row := range []struct {
		what         string
		node         *process
		host, origin string
		want         int
	}{
		{"a page of a site that leads here", plain, "evil.example:8000", "http://evil.example:8000", http.StatusForbidden},
		{"one whose name begins like ours", plain, "localhost.evil.example", "http://localhost.evil.example", http.StatusForbidden},
		{"the node's page", plain, plain.Addr, "http://" + plain.Addr, http.StatusSwitchingProtocols},
		{"the node's page by name", plain, "LOCALHOST:8000", "http://localhost:8000", http.StatusSwitchingProtocols},
		{"the node's page by the other address", plain, "[::1]:8000", "http://[::1]:8000", http.StatusSwitchingProtocols},
		{"a program", plain, "chat.example", "", http.StatusSwitchingProtocols},
		{"a site that is named", named, "chat.example", "http://chat.example", http.StatusSwitchingProtocols},
		{"another site", named, "evil.example", "http://evil.example", http.StatusForbidden},
		{"any site, where anyone may come", anyone, "evil.example", "http://evil.example", http.StatusSwitchingProtocols},
	} {
		header := http.Header{}
		if row.origin != "" {
			header.Set("Origin", row.origin)
		}
		conn, r, err := websocket.Dial(t.Context(), row.node.URL(), &websocket.DialOptions{Host: row.host, HTTPHeader: header})
		if err == nil {
			conn.CloseNow()
		}
		if r == nil || r.StatusCode != row.want {
			t.Errorf("%s: %v, %v, want %d", row.what, r, err, row.want)
		}
	}
}
