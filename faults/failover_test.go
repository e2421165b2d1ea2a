package faults_test

import (
	"fmt"
	"hash/fnv"
	"strings"
	"testing"
	"time"

	"github.com/rookery-chat/rookery/faults/judge"
	"github.com/rookery-chat/rookery/internal/redistest"
	"github.com/rookery-chat/rookery/internal/timetest"
	"github.com/rookery-chat/rookery/wire"
)

// heals is within which time, after Redis itself has healed, everybody hears again. It is 2 s where
// nothing else needs the machine; this bound is for machines on which much does.
const heals = 10 * time.Second

// Primaries that Sentinels watch die, freeze and come back, while people talk on three nodes: replicas take over
// that have everything, or lack what was acknowledged last. Nodes follow by themselves. The old
// primary, when it is back, has nobody who listens; and who had what is lost is told so.
func TestSentinelFailovers(t *testing.T) {
	t.Parallel()
	s := newStorm(t, newBackend(t, "sentinel"), 1, nil)
	s.log.Add(judge.Record{Act: judge.Lossy})
	s.failover("killed, with a replica that lacks the newest", true, (*redistest.Server).Kill, (*redistest.Server).Restart)
	s.failover("frozen, with a replica that lacks the newest", true, (*redistest.Server).Pause, (*redistest.Server).Continue)
	s.acquitted(s.calm(), true)
}

// Likewise in a Redis Cluster.
func TestClusterFailovers(t *testing.T) {
	t.Parallel()
	s := newStorm(t, newBackend(t, "cluster"), 1, nil)
	s.log.Add(judge.Record{Act: judge.Lossy})
	s.failover("killed", false, (*redistest.Server).Kill, (*redistest.Server).Restart)
	s.failover("frozen, with a replica that lacks the newest", true, (*redistest.Server).Pause, (*redistest.Server).Continue)
	s.acquitted(s.calm(), true)
}

// In a Redis Cluster, slots of topics that people talk in move to other primaries, one of them new, and a
// primary changes places with its replica as an operator orders: nothing is lost, and nobody is told that something was.
func TestSlotsMove(t *testing.T) {
	t.Parallel()
	b := newBackend(t, "cluster").(*cluster)
	s := newStorm(t, b, 1, nil)
	await(t, "everybody hears", s.hears())
	move := func(room string, to *redistest.Server) {
		t.Helper()
		slot := slotOfTopic(room)
		from := b.Owner(slot)
		if from == to {
			return
		}
		// Some of the slot's keys are here then, and some are there.
		if err := b.MoveSlot(slot, from, to, func() { time.Sleep(300 * time.Millisecond) }); err != nil {
			t.Fatal(err)
		}
		s.healed("the slot of " + room + " moved")
		await(t, room+" is heard where its slot is now", func() bool { return listened(to, room) && !listened(from, room) })
	}
	for i, room := range s.rooms[:3] {
		move(room, b.Servers[i])
		move(room, b.Servers[(i+1)%3])
	}
	fresh := b.Add()
	b.AwaitUp()
	for _, room := range s.rooms[3:] {
		move(room, fresh)
	}
	replica := b.Servers[3]
	old := b.primaries()
	if _, err := replica.Ask("cluster", "failover"); err != nil {
		t.Fatal(err)
	}
	await(t, "the replica is the primary", func() bool { return b.owns(replica) })
	s.healed("a failover was ordered")
	if now := b.primaries(); len(now) != len(old) {
		t.Errorf("%d primaries, %d before", len(now), len(old))
	}
	if v := s.acquitted(s.calm(), false); v.Resets == 0 {
		t.Error("the slots' topics went on in their epochs: nothing moved")
	}
}

// failover loses a primary that people talk through, and waits until they talk through another.
func (s *storm) failover(how string, deaf bool, gone, back func(*redistest.Server)) {
	s.t.Helper()
	b := s.redis.(heir)
	await(s.t, "everybody hears", s.hears())
	slot := slotOfTopic(s.rooms[0])
	old := b.primary(slot)
	if old == nil {
		s.t.Fatal("nobody is the primary")
	}
	s.log.Add(judge.Record{Act: judge.Fault, Kind: "primary " + how})
	if deaf {
		for _, r := range b.servers() {
			if r != old {
				if err := r.Deaf(); err != nil {
					s.t.Fatal(err)
				}
			}
		}
		await(s.t, "everybody hears what will be lost", s.hears())
	}
	lost := time.Now()
	successor := b.successor(old)
	gone(old)
	if successor() == nil {
		s.t.Fatalf("primary %s: nobody takes over", how)
	}
	s.t.Logf("primary %s: Redis healed in %v", how, time.Since(lost).Round(time.Millisecond))
	s.healed("primary " + how)
	back(old)
	for _, r := range b.servers() {
		if err := r.Hear(); err != nil {
			s.t.Fatal(err)
		}
	}
	await(s.t, "the old primary follows, and nobody listens to it", func() bool {
		return old.Follows() && !listened(old, s.rooms[0])
	})
}

// healed measures how long it takes from now until everybody hears.
func (s *storm) healed(what string) {
	s.t.Helper()
	start := timetest.Start()
	await(s.t, "everybody hears again: "+what, s.hears())
	start.Within(s.t, heals, what+": everybody hears again")
}

// hears returns what tells whether every member has got something in each of its rooms since.
func (s *storm) hears() func() bool {
	type place struct {
		m    *witness
		room string
	}
	waits := make(map[place]wire.Position)
	moves := make(map[place]int) // the first may be of before, or a reset
	for _, m := range s.members {
		for _, room := range m.rooms {
			waits[place{m, room}] = *m.position(room)
		}
	}
	return func() bool {
		for p, was := range waits {
			now := *p.m.position(p.room)
			if now == was {
				continue
			}
			if moves[p]++; moves[p] == 2 {
				delete(waits, p)
			} else {
				waits[p] = now
			}
		}
		return len(waits) == 0
	}
}

// acquitted fails the test where the judge found a promise broken, or somebody heard of a loss where none can be.
func (s *storm) acquitted(v judge.Verdict, lossy bool) judge.Verdict {
	s.t.Helper()
	s.t.Logf("%v", v)
	if v.Violated > 0 {
		s.t.Errorf("%d violations; their logs are in %s", v.Violated, s.keepLogs())
	}
	if lossy != (v.Losses > 0) {
		s.t.Errorf("members were told of %d losses", v.Losses)
	}
	return v
}

// listened tells whether somebody is subscribed to a room at a server.
func listened(s *redistest.Server, room string) bool {
	answer, err := s.Ask("pubsub", "shardchannels", "*:live:"+room)
	return err != nil || strings.Contains(fmt.Sprint(answer), room)
}

// slotOfTopic is the slot that a topic's keys have in a Redis Cluster.
func slotOfTopic(topic string) int {
	h := fnv.New64a()
	h.Write([]byte(topic))
	return slotOf(int(h.Sum64() % partitions))
}
