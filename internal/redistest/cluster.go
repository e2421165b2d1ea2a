package redistest

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"
)

// A Cluster is a Redis Cluster. A primary is taken for dead after a second.
type Cluster struct {
	Servers []*Server // the primaries come first, as the cluster was made; then a replica of each, in the same order

	tb   testing.TB
	args []string
}

// Slots are how many a Redis Cluster has.
const Slots = 16384

// StartCluster runs a Redis Cluster of primaries that share the slots out evenly, with a replica each or
// without. The servers get the extra arguments.
func StartCluster(tb testing.TB, primaries int, replicas bool, args ...string) *Cluster {
	tb.Helper()
	c := &Cluster{tb: tb, args: append(append(prompt[:len(prompt):len(prompt)],
		"--cluster-enabled", "yes", "--cluster-node-timeout", "1000", "--cluster-replica-validity-factor", "0",
		"--cluster-require-full-coverage", "no"), args...)}
	for i := range primaries {
		s := c.Add()
		s.must("cluster", "addslotsrange", i*Slots/primaries, (i+1)*Slots/primaries-1)
	}
	if replicas {
		for i := range primaries {
			replica := c.Add()
			id := c.Servers[i].must("cluster", "myid")
			eventually(tb, "the replica knows its primary", func() bool {
				_, err := replica.Ask("cluster", "replicate", id)
				return err == nil
			})
			eventually(tb, "the replica is in step", func() bool { return replica.tells("master_link_status:up", "info", "replication") })
		}
	}
	c.AwaitUp()
	return c
}

// Add starts another server, a primary without slots, and waits until all the others know it.
func (c *Cluster) Add() *Server {
	c.tb.Helper()
	s := Start(c.tb, c.args...)
	c.Servers = append(c.Servers, s)
	s.must("cluster", "set-config-epoch", len(c.Servers))
	first := c.Servers[0]
	host, port, _ := net.SplitHostPort(first.Addr)
	for _, other := range c.Servers {
		eventually(c.tb, "all servers know each other", func() bool {
			// Servers that were too slow to shake hands forget that they were to meet.
			if s != first && !s.tells("cluster_known_nodes:"+fmt.Sprint(len(c.Servers)), "cluster", "info") {
				s.must("cluster", "meet", host, port)
				time.Sleep(100 * time.Millisecond)
			}
			nodes, err := other.Ask("cluster", "nodes")
			return err == nil && strings.Count(fmt.Sprint(nodes), " connected") == len(c.Servers) &&
				!strings.Contains(fmt.Sprint(nodes), "handshake")
		})
	}
	return s
}

// AwaitUp waits until every server says that the cluster serves.
func (c *Cluster) AwaitUp() {
	c.tb.Helper()
	for _, s := range c.Servers {
		eventually(c.tb, s.Addr+" serves", func() bool {
			return s.tells("cluster_state:ok", "cluster", "info") && s.tells(fmt.Sprintf("cluster_slots_ok:%d", Slots), "cluster", "info")
		})
	}
}

// URL names the cluster by its first three servers.
func (c *Cluster) URL() string {
	var addrs []string
	for _, s := range c.Servers[:min(3, len(c.Servers))] {
		addrs = append(addrs, s.Addr)
	}
	return "redis+cluster://" + strings.Join(addrs, ",")
}

// Primary is the server that has a slot, as all servers say that answer; nil while they do not agree, or it
// is not one.
func (c *Cluster) Primary(slot int) *Server {
	named := make(map[string]bool)
	for _, s := range c.Servers {
		if owner := s.owner(slot); owner != "" {
			named[owner] = true
		}
	}
	for _, s := range c.Servers {
		if len(named) == 1 && named[s.Addr] && s.tells("role:master", "info", "replication") && s.tells("cluster_state:ok", "cluster", "info") {
			return s
		}
	}
	return nil
}

// Owner is the server that says of itself that it has a slot; nil while none does.
func (c *Cluster) Owner(slot int) *Server {
	for _, s := range c.Servers {
		if s.owner(slot) == s.Addr && s.tells("role:master", "info", "replication") {
			return s
		}
	}
	return nil
}

// owner is the address of who has a slot, as the server says; none when it does not answer.
func (s *Server) owner(slot int) string {
	answer, _ := s.askWithin(time.Second, "cluster", "slots")
	parts, _ := answer.([]any)
	for _, part := range parts {
		p := part.([]any) // from, to, primary, replicas
		if p[0].(int64) <= int64(slot) && int64(slot) <= p[1].(int64) {
			primary := p[2].([]any)
			return fmt.Sprint(primary[0], ":", primary[1])
		}
	}
	return ""
}

// Primaries are the servers that say they are one and have slots.
func (c *Cluster) Primaries() (primaries []*Server) {
	for _, s := range c.Servers {
		if s.tells("role:master", "info", "replication") && s.owns() {
			primaries = append(primaries, s)
		}
	}
	return primaries
}

// owns tells whether a server has slots, by its own word.
func (s *Server) owns() bool {
	answer, _ := s.askWithin(time.Second, "cluster", "nodes")
	for line := range strings.Lines(fmt.Sprint(answer)) {
		if strings.Contains(line, "myself,master") {
			return len(strings.Fields(line)) > 8
		}
	}
	return false
}

// MoveSlot moves a slot to another primary as an operator's tool does, a few keys at a time, and calls
// meanwhile after the first ones. Repeated after an error, it goes on.
func (c *Cluster) MoveSlot(slot int, from, to *Server, meanwhile func()) error {
	fromID, err := from.Ask("cluster", "myid")
	toID, err2 := to.Ask("cluster", "myid")
	if err := errors.Join(err, err2); err != nil {
		return err
	}
	if _, err := to.Ask("cluster", "setslot", slot, "importing", fromID); err != nil {
		return err
	}
	if _, err := from.Ask("cluster", "setslot", slot, "migrating", toID); err != nil {
		return err
	}
	host, port, _ := net.SplitHostPort(to.Addr)
	for {
		answer, err := from.Ask("cluster", "getkeysinslot", slot, 5)
		if err != nil {
			return err
		}
		keys := answer.([]any)
		if len(keys) == 0 {
			break
		}
		if _, err := from.Ask(append([]any{"migrate", host, port, "", 0, 5000, "keys"}, keys...)...); err != nil {
			return err
		}
		if meanwhile != nil {
			meanwhile()
			meanwhile = nil
		}
	}
	for _, s := range []*Server{to, from} {
		if _, err := s.Ask("cluster", "setslot", slot, "node", toID); err != nil {
			return err
		}
	}
	return nil
}
