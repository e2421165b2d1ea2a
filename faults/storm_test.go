package faults_test

import (
	"context"
	"flag"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rookery-chat/rookery/faults/judge"
)

var (
	soakTime  = flag.Duration("soak", 25*time.Second, "how long TestSoak lets faults happen")
	soakRedis = flag.String("redis", "single", "what TestSoak runs on: single, sentinel or cluster")
	soakSeed  = flag.Uint64("seed", 0, "which faults; 0 chooses")
)

// Faults of all kinds happen at random to a cluster on which people talk all the time: nodes
// die, freeze and drain, Redis dies, freezes and refuses, networks break. When it is over,
// what was acknowledged and what everybody got is judged. Longer: make soak.
func TestSoak(t *testing.T) {
	seed := *soakSeed
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("again with: go test ./faults -run TestSoak -soak %v -redis %s -seed %d", *soakTime, *soakRedis, seed)
	s := newStorm(t, newBackend(t, *soakRedis), seed, nil)
	s.rage(*soakTime)
	verdict := s.calm()
	t.Logf("%v", verdict)
	if verdict.Violated > 0 {
		t.Errorf("%d violations; their logs are in %s", verdict.Violated, s.keepLogs())
	}
	if verdict.Acked == 0 || verdict.Deliveries < verdict.Acked {
		t.Errorf("%d publishes and %d deliveries are no traffic to judge by", verdict.Acked, verdict.Deliveries)
	}
	if least := int(*soakTime / (10 * time.Second)); len(verdict.Faults) < min(least, 12) {
		t.Errorf("only %d types of faults happened", len(verdict.Faults))
	}
}

const (
	stormNodes   = 3
	stormRooms   = 6
	stormMembers = 60 // each in two rooms
	stormTalkers = 8
	stormPause   = 12 * time.Millisecond // between two publishes of a talker
)

// A storm is a cluster under faults, and the crowd on it.
type storm struct {
	*crowd
	redis backend
	seats []*seat
}

// A seat is where one node after the other sits: each has its own way to Redis, and the
// clients' way to it.
type seat struct {
	s     *storm
	node  atomic.Pointer[process]
	link  *door // node to Redis; nil where Redis tells nodes its own addresses
	front *door // clients to node
}

func newStorm(t *testing.T, redis backend, seed uint64, lies map[int]func(any) []any) *storm {
	t.Helper()
	s := &storm{crowd: newCrowd(t, "storm", seed, stormRooms), redis: redis}
	server, alone := redis.(*single)
	// One node after the other.
	s.way = func(first int) func() string {
		var next atomic.Int64
		next.Store(int64(first))
		return func() string { return "ws://" + s.seats[next.Add(1)%stormNodes].front.addr + "/ws" }
	}
	for range stormNodes {
		p := &seat{s: s}
		if alone {
			p.link = newDoor(t, server.Addr)
		}
		p.start()
		p.front = newDoor(t, p.node.Load().Addr)
		s.seats = append(s.seats, p)
	}
	for i := range stormMembers {
		s.enter(i%3 == 0, lies[i], s.rooms[i%stormRooms], s.rooms[(i+1+i/stormRooms%(stormRooms-1))%stormRooms])
	}
	for range stormTalkers {
		s.talk(stormPause)
	}
	return s
}

func (s *storm) nodes() (nodes []*process) {
	for _, p := range s.seats {
		nodes = append(nodes, p.node.Load())
	}
	return nodes
}

// calm ends the talk, lets everybody get everything, and has it judged.
func (s *storm) calm() judge.Verdict { return s.calmAnd(nil) }

// calmAnd does something more between the end of the members and the last measurement.
func (s *storm) calmAnd(last func()) judge.Verdict { return s.hear(s.nodes(), last) }

// start puts a new node on the seat.
func (p *seat) start() {
	url := p.s.redis.url()
	if p.link != nil {
		url = "redis://" + p.link.addr
	}
	n := serve(p.s.t, nil, "--redis="+url, "--drain=3s")
	p.node.Store(n)
	if p.front != nil {
		p.front.lead(n.Addr)
	}
	p.s.measure(n, "before")
}

// rage lets faults happen for a time: at most one at a time to the nodes, to Redis, and to
// the networks each.
func (s *storm) rage(d time.Duration) {
	ctx, cancel := context.WithTimeout(s.quiet, d)
	defer cancel()
	var wg sync.WaitGroup
	network := clientFaults
	if s.seats[0].link != nil {
		network = slices.Concat(linkFaults, clientFaults)
	} else {
		s.log.Add(judge.Record{Act: judge.Lossy}) // replication is asynchronous
	}
	for _, faults := range [][]fault{nodeFaults, s.redis.faults(), network} {
		rng := rand.New(rand.NewPCG(s.rng.Uint64(), s.rng.Uint64()))
		wg.Go(func() {
			order := rng.Perm(len(faults)) // each comes before one comes again
			for i := 0; ctx.Err() == nil; i++ {
				f := faults[order[i%len(order)]]
				s.log.Add(judge.Record{Act: judge.Fault, Kind: f.kind})
				f.happen(s, rng)
				pause(ctx, time.Duration(1+rng.IntN(3000))*time.Millisecond)
			}
		})
	}
	wg.Wait()
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}
