package redistest

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// A Group is a primary and its replicas, watched by Sentinels under the name "main".
type Group struct {
	Servers   []*Server // the first one began as the primary
	Sentinels []*Server
}

// StartGroup runs a primary, so many replicas and so many Sentinels, most of which must agree that the
// primary is down, after a second, to make a replica the primary. The servers get the extra arguments.
func StartGroup(tb testing.TB, replicas, sentinels int, args ...string) *Group {
	tb.Helper()
	g := new(Group)
	for i := range 1 + replicas {
		g.Servers = append(g.Servers, Start(tb, append(prompt[:len(prompt):len(prompt)], args...)...))
		if i > 0 {
			g.Servers[i].Replicate(g.Servers[0])
		}
	}
	for range sentinels {
		g.Sentinels = append(g.Sentinels, startSentinel(tb, g.Servers[0], sentinels/2+1))
	}
	for _, s := range g.Sentinels {
		eventually(tb, "the Sentinels know the replicas and each other", func() bool {
			state, err := s.Ask("sentinel", "master", "main")
			text := fmt.Sprint(state)
			return err == nil && strings.Contains(text, fmt.Sprintf("num-slaves %d ", replicas)) &&
				strings.Contains(text, fmt.Sprintf("num-other-sentinels %d ", sentinels-1))
		})
	}
	return g
}

func startSentinel(tb testing.TB, primary *Server, quorum int) *Server {
	tb.Helper()
	s := &Server{tb: tb, Dir: tb.TempDir()}
	host, port, _ := net.SplitHostPort(primary.Addr)
	config := filepath.Join(s.Dir, "sentinel.conf")
	text := fmt.Sprintf("sentinel monitor main %s %s %d\nsentinel down-after-milliseconds main 1000\nsentinel failover-timeout main 3000\n", host, port, quorum)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		tb.Fatal(err)
	}
	s.args = func(port string) []string {
		return []string{config, "--sentinel", "--bind", "127.0.0.1", "--port", port, "--dir", s.Dir}
	}
	s.startAnywhere()
	return s
}

// URL names the group by all its Sentinels.
func (g *Group) URL() string {
	var addrs []string
	for _, s := range g.Sentinels {
		addrs = append(addrs, s.Addr)
	}
	return "redis+sentinel://" + strings.Join(addrs, ",") + "/main"
}

// Primary is the server that all Sentinels name, of those that answer; nil while they do not agree, or it
// is not one.
func (g *Group) Primary() *Server {
	named := make(map[string]bool)
	for _, s := range g.Sentinels {
		if answer, err := s.askWithin(time.Second, "sentinel", "get-master-addr-by-name", "main"); err == nil {
			if part, ok := answer.([]any); ok && len(part) == 2 {
				named[fmt.Sprint(part[0], ":", part[1])] = true
			}
		}
	}
	for _, s := range g.Servers {
		if len(named) == 1 && named[s.Addr] && s.tells("role:master", "info", "replication") {
			return s
		}
	}
	return nil
}
