package faults_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/rookery-chat/rookery/faults/judge"
	"github.com/rookery-chat/rookery/internal/redistest"
)

// A backend is the Redis of a storm: a server, what Sentinels watch, or a Redis Cluster.
type backend interface {
	url() string
	servers() []*redistest.Server   // all, those included that are down
	primaries() []*redistest.Server // those that take writes, as far as can be told now
	faults() []fault
}

// newBackend starts the backend of a kind.
func newBackend(t *testing.T, kind string) backend {
	t.Helper()
	durable := []string{"--appendonly", "yes", "--appendfsync", "always", "--enable-debug-command", "yes"}
	switch kind {
	case "single":
		return &single{redistest.Start(t, durable...)}
	case "sentinel":
		return &sentinel{redistest.StartGroup(t, 2, 3, "--appendonly", "yes", "--appendfsync", "no", "--enable-debug-command", "yes")}
	case "cluster":
		c := redistest.StartCluster(t, 3, true, "--appendonly", "yes", "--appendfsync", "no", "--enable-debug-command", "yes")
		return &cluster{Cluster: c, seeds: c.URL()}
	}
	t.Fatalf("-redis %s: want single, sentinel or cluster", kind)
	return nil
}

type single struct{ *redistest.Server }

func (b *single) url() string                    { return b.URL() }
func (b *single) servers() []*redistest.Server   { return []*redistest.Server{b.Server} }
func (b *single) primaries() []*redistest.Server { return b.servers() }
func (b *single) faults() []fault                { return slices.Concat(singleFaults, redisFaults) }

type sentinel struct{ *redistest.Group }

func (b *sentinel) url() string                  { return b.URL() }
func (b *sentinel) servers() []*redistest.Server { return b.Servers }
func (b *sentinel) faults() []fault              { return slices.Concat(failovers, sentinelFaults, redisFaults) }

func (b *sentinel) primaries() []*redistest.Server {
	if p := b.Primary(); p != nil {
		return []*redistest.Server{p}
	}
	return nil
}

func (b *sentinel) successor(old *redistest.Server) func() *redistest.Server {
	return func() *redistest.Server { return succeeded(b.Primary, old) }
}

func (b *sentinel) primary(int) *redistest.Server { return b.Primary() }

func (b *cluster) primary(slot int) *redistest.Server { return b.Owner(slot) }

// owns tells whether a server is a primary with slots.
func (b *cluster) owns(s *redistest.Server) bool { return slices.Contains(b.Primaries(), s) }

type cluster struct {
	*redistest.Cluster
	seeds string // Fixed at construction.
	added int    // primaries. Owned by the goroutine of Redis' faults.
}

func (b *cluster) url() string                    { return b.seeds }
func (b *cluster) servers() []*redistest.Server   { return b.Servers }
func (b *cluster) primaries() []*redistest.Server { return b.Primaries() }
func (b *cluster) faults() []fault                { return slices.Concat(failovers, clusterFaults, redisFaults) }

func (b *cluster) successor(old *redistest.Server) func() *redistest.Server {
	slot := 0
	for i := range partitions {
		if b.Owner(slotOf(i)) == old {
			slot = slotOf(i)
			break
		}
	}
	return func() *redistest.Server {
		return succeeded(func() *redistest.Server { return b.Primary(slot) }, old)
	}
}

// succeeded waits until somebody is the primary in the place of old; nil when nobody is for long: a
// Sentinel that was held up for 2 s trusts nobody for 30 s.
func succeeded(primary func() *redistest.Server, old *redistest.Server) *redistest.Server {
	for deadline := time.Now().Add(2 * patience); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if p := primary(); p != nil && p != old {
			return p
		}
	}
	return nil
}

// partitions is how many slots of a Redis Cluster topics are in, and slotOf where each of them is.
const partitions = 64

func slotOf(partition int) int { return 256*partition + 128 }

// A heir is a backend in which a replica takes over for a primary that is lost.
type heir interface {
	backend
	// successor is called while old is the primary. What it returns waits until Redis has found
	// another, and all servers say so; nil if that takes too long.
	successor(old *redistest.Server) func() *redistest.Server
	primary(slot int) *redistest.Server
}

// lose is a failover: what becomes of the old primary, and how it comes back.
func (s *storm) lose(rng *rand.Rand, deaf time.Duration, gone, back func(*redistest.Server)) {
	all := s.redis.servers()
	var primaries []*redistest.Server // that have somebody to take over
	for deadline := time.Now().Add(patience / 2); len(primaries) == 0; time.Sleep(100 * time.Millisecond) {
		if time.Now().After(deadline) {
			return
		}
		primaries = slices.DeleteFunc(s.redis.primaries(), func(p *redistest.Server) bool { return !p.Followed() })
	}
	old := primaries[rng.IntN(len(primaries))]
	if deaf > 0 {
		for _, r := range all {
			if r != old {
				r.Deaf()
			}
		}
		time.Sleep(deaf)
	}
	successor := s.redis.(heir).successor(old)
	gone(old)
	if successor() == nil {
		s.log.Add(judge.Record{Act: judge.Fault, Kind: "no replica took over"})
	}
	for _, r := range all {
		if r != old && deaf > 0 {
			r.Hear()
		}
	}
	time.Sleep(between(rng, 0, 2*time.Second))
	back(old)
	if deaf > 0 {
		old.Hear()
	}
}

// Failovers of any backend with replicas.
var failovers = []fault{
	{"primary killed, a replica takes over", func(s *storm, rng *rand.Rand) {
		s.lose(rng, 0, (*redistest.Server).Kill, (*redistest.Server).Restart)
	}},
	{"primary frozen, a replica takes over, it comes back", func(s *storm, rng *rand.Rand) {
		s.lose(rng, 0, (*redistest.Server).Pause, (*redistest.Server).Continue)
	}},
	{"primary killed, a replica takes over that lacks the newest", func(s *storm, rng *rand.Rand) {
		s.lose(rng, between(rng, 100*time.Millisecond, 3*time.Second), (*redistest.Server).Kill, (*redistest.Server).Restart)
	}},
	{"primary frozen, a replica takes over that lacks the newest, it comes back", func(s *storm, rng *rand.Rand) {
		s.lose(rng, between(rng, 100*time.Millisecond, 3*time.Second), (*redistest.Server).Pause, (*redistest.Server).Continue)
	}},
	{"a replica killed", func(s *storm, rng *rand.Rand) {
		primaries := s.redis.primaries()
		for _, i := range rng.Perm(len(s.redis.servers())) {
			if r := s.redis.servers()[i]; !slices.Contains(primaries, r) {
				r.Kill()
				time.Sleep(between(rng, 0, 2*time.Second))
				r.Restart()
				return
			}
		}
	}},
}

var sentinelFaults = []fault{
	{"a failover is ordered", func(s *storm, rng *rand.Rand) {
		b := s.redis.(*sentinel)
		if old := b.Primary(); old != nil {
			if _, err := b.Sentinels[rng.IntN(len(b.Sentinels))].Ask("sentinel", "failover", "main"); err == nil {
				b.successor(old)()
			}
		}
	}},
	{"a Sentinel killed", func(s *storm, rng *rand.Rand) {
		b := s.redis.(*sentinel)
		w := b.Sentinels[rng.IntN(len(b.Sentinels))]
		w.Kill()
		time.Sleep(between(rng, 0, 3*time.Second))
		w.Restart()
	}},
}

var clusterFaults = []fault{
	{"a failover is ordered", func(s *storm, rng *rand.Rand) {
		b := s.redis.(*cluster)
		primaries := b.primaries()
		for _, i := range rng.Perm(len(b.Servers)) {
			if r := b.Servers[i]; !slices.Contains(primaries, r) {
				r.Ask("cluster", "failover")
				time.Sleep(time.Second)
				return
			}
		}
	}},
	{"a slot moves", func(s *storm, rng *rand.Rand) { s.redis.(*cluster).moveSlots(s, rng, 1) }},
	{"many slots move", func(s *storm, rng *rand.Rand) { s.redis.(*cluster).moveSlots(s, rng, 8) }},
	{"a new primary takes slots over", func(s *storm, rng *rand.Rand) {
		b := s.redis.(*cluster)
		if b.added++; b.added > 2 {
			return
		}
		b.Add()
		for range 8 {
			b.moveTo(s, slotOf(rng.IntN(partitions)), b.Servers[len(b.Servers)-1])
		}
	}},
}

func (b *cluster) moveSlots(s *storm, rng *rand.Rand, n int) {
	primaries := b.primaries()
	if len(primaries) == 0 {
		return
	}
	for range n {
		b.moveTo(s, slotOf(rng.IntN(partitions)), primaries[rng.IntN(len(primaries))])
	}
}

// moveTo moves a slot, and tries again what other faults hinder.
func (b *cluster) moveTo(s *storm, slot int, to *redistest.Server) {
	err := fmt.Errorf("slot %d has no primary", slot)
	for deadline := time.Now().Add(patience / 2); err != nil && time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if from := b.Owner(slot); from == to {
			return
		} else if from != nil {
			err = b.MoveSlot(slot, from, to, func() { time.Sleep(100 * time.Millisecond) })
		}
	}
	if err != nil {
		s.log.Add(judge.Record{Act: judge.Fault, Kind: "a slot did not move: " + err.Error()})
	}
}
