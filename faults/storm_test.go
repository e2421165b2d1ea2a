package faults_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rookery-chat/rookery/client"
	"github.com/rookery-chat/rookery/faults/judge"
	"github.com/rookery-chat/rookery/internal/redistest"
	"github.com/rookery-chat/rookery/wire"
)

var (
	soakTime = flag.Duration("soak", 25*time.Second, "how long TestSoak lets faults happen")
	soakSeed = flag.Uint64("seed", 0, "which faults; 0 chooses")
)

// Faults of all kinds happen at random to a cluster on which people talk all the time: nodes
// die, freeze and drain, Redis dies, freezes and refuses, networks break. When it is over,
// what was acknowledged and what everybody got is judged. Longer: make soak.
func TestSoak(t *testing.T) {
	seed := *soakSeed
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("again with: go test ./faults -run TestSoak -soak %v -seed %d", *soakTime, seed)
	s := newStorm(t, seed, nil)
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
	stormPause   = 25 * time.Millisecond // between two publishes of a talker
)

// A storm is a cluster under faults, and those who write down what happens on it.
type storm struct {
	t     *testing.T
	dir   string
	log   *judge.Log
	redis *redistest.Server
	seats []*seat

	members []*witness
	rooms   []string
	talk    sync.WaitGroup
	hush    context.CancelFunc
	quiet   context.Context // done when talkers and faults are to end
	rng     *rand.Rand      // Owned by the test's goroutine.
}

// A seat is where one node after the other sits: each has its own way to Redis, and the
// clients' way to it.
type seat struct {
	s     *storm
	node  atomic.Pointer[process]
	link  *door // node to Redis
	front *door // clients to node
}

func newStorm(t *testing.T, seed uint64, lies map[int]func(any) []any) *storm {
	t.Helper()
	dir, err := os.MkdirTemp("", "rookery-storm-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	s := &storm{
		t: t, dir: dir, rng: rand.New(rand.NewPCG(seed, 0)),
		redis: redistest.Start(t, "--appendonly", "yes", "--appendfsync", "always", "--enable-debug-command", "yes"),
	}
	if s.log, err = judge.Create(dir, judge.Cluster, "storm"); err != nil {
		t.Fatal(err)
	}
	s.quiet, s.hush = context.WithCancel(context.Background())
	t.Cleanup(s.hush)
	for range stormNodes {
		p := &seat{s: s, link: newDoor(t, s.redis.Addr)}
		p.start()
		p.front = newDoor(t, p.node.Load().addr)
		s.seats = append(s.seats, p)
	}
	for i := range stormRooms {
		s.rooms = append(s.rooms, fmt.Sprint("room", i))
	}
	for i := range stormMembers {
		s.members = append(s.members, watchTampered(t, dir, fmt.Sprint("member", i), s.way(i), i%3 == 0, lies[i],
			s.rooms[i%stormRooms], s.rooms[(i+1+i/stormRooms%(stormRooms-1))%stormRooms]))
	}
	for i := range stormTalkers {
		s.talker(i)
	}
	return s
}

// way leads a client to one node after the other.
func (s *storm) way(first int) func() string {
	var next atomic.Int64
	next.Store(int64(first))
	return func() string { return "ws://" + s.seats[next.Add(1)%stormNodes].front.addr + "/ws" }
}

// start puts a new node on the seat.
func (p *seat) start() {
	n := serve(p.s.t, nil, "--redis=redis://"+p.link.addr, "--drain=3s")
	p.node.Store(n)
	if p.front != nil {
		p.front.lead(n.addr)
	}
	p.s.log.Add(p.measure("before"))
}

func (p *seat) measure(phase string) judge.Record {
	n := p.node.Load()
	return judge.Record{
		Act: judge.Measure, Node: n.ID, Phase: phase,
		Memory: n.rss(), Goroutines: int(n.metric("go_goroutines")), Files: int(n.metric("process_open_fds")),
	}
}

// talker publishes until quiet, each message until it is acknowledged.
func (s *storm) talker(i int) {
	name := fmt.Sprint("talker", i)
	log, err := judge.Create(s.dir, judge.Publisher, name)
	if err != nil {
		s.t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(uint64(i), 1))
	s.talk.Go(func() {
		defer func() {
			if err := log.Close(); err != nil {
				s.t.Error(err)
			}
		}()
		way := s.way(i)
		for n := 0; s.quiet.Err() == nil; {
			// A client has one address; a new one goes on elsewhere, as behind a load balancer.
			c := client.New(way(), &client.Options{User: name})
			ctx, stop := context.WithCancel(context.Background())
			var running sync.WaitGroup
			running.Go(func() { c.Run(ctx) })
			running.Go(func() {
				for range c.Events(context.Background()) {
				}
			})
			for s.quiet.Err() == nil {
				n++
				if s.publish(c, log, s.target(rng), fmt.Sprintf("%s-%d", name, n)) != nil {
					break
				}
				time.Sleep(stormPause)
			}
			stop()
			running.Wait()
		}
	})
}

// target is where the next message goes: mostly a room, at times a member's inbox.
func (s *storm) target(rng *rand.Rand) string {
	if rng.IntN(8) == 0 {
		return wire.Inbox(fmt.Sprint("member", rng.IntN(stormMembers)))
	}
	return s.rooms[rng.IntN(stormRooms)]
}

// publish notes what was acknowledged. An error means that this client gets nowhere.
func (s *storm) publish(c *client.Client, log *judge.Log, topic, key string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Second)
	defer cancel()
	if isRoom(topic) {
		if _, err := c.Join(ctx, topic, nil); err != nil {
			return err
		}
	}
	p, err := c.Publish(ctx, topic, said{key}, nil)
	if err != nil {
		return err
	}
	log.Add(judge.Record{Act: judge.Acked, Topic: topic, Key: key, Epoch: p.Epoch, Offset: p.Offset})
	return nil
}

// rage lets faults happen for a time: at most one at a time to the nodes, to Redis, and to
// the networks each.
func (s *storm) rage(d time.Duration) {
	ctx, cancel := context.WithTimeout(s.quiet, d)
	defer cancel()
	var wg sync.WaitGroup
	for _, faults := range [][]fault{nodeFaults, redisFaults, networkFaults} {
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

// calm ends the talk, lets everybody get everything, and has it judged.
func (s *storm) calm() judge.Verdict { return s.calmAnd(nil) }

// calmAnd does something more between the end of the members and the last measurement.
func (s *storm) calmAnd(last func()) judge.Verdict {
	s.t.Helper()
	s.hush()
	s.talk.Wait()
	for _, p := range s.seats {
		p.node.Load().awaitReady(true)
	}
	ends := s.lastWords()
	for topic := range ends {
		if isRoom(topic) {
			s.log.Add(judge.Record{Act: judge.Truth, Topic: topic, Users: s.inRoom(topic)})
		}
	}
	// Whether all is well is the judge's to say: here it only gets its time.
	for _, m := range s.members {
		topics := append([]string{wire.Inbox(m.user)}, m.rooms...)
		slow := m.wait(topics, ends, s.inRoom)
		if slow != "" {
			s.t.Logf("%s is not level in %s", m.user, slow)
		}
		m.end(topics...)
	}
	for _, m := range s.members {
		m.leave()
	}
	for _, p := range s.seats {
		p.settle()
	}
	if last != nil {
		last()
	}
	for _, p := range s.seats {
		s.log.Add(p.measure("after"))
	}
	if err := s.log.Close(); err != nil {
		s.t.Error(err)
	}
	verdict, err := judge.Dir(s.dir)
	if err != nil {
		s.t.Fatal(err)
	}
	return verdict
}

// lastWords publishes one more message to every topic, and returns where each stands.
func (s *storm) lastWords() map[string]wire.Position {
	log, err := judge.Create(s.dir, judge.Publisher, "last")
	if err != nil {
		s.t.Fatal(err)
	}
	defer log.Close()
	topics := slices.Clone(s.rooms)
	for _, m := range s.members {
		topics = append(topics, wire.Inbox(m.user))
	}
	last := make(map[string]wire.Position)
	for i, topic := range topics {
		key := fmt.Sprint("last-", i)
		body := fmt.Sprintf(`{"data":{"key":%q},"key":%q}`, key, key)
		answer := must(s.t, s.seats[i%stormNodes].node.Load(), "POST", "/v1/topics/"+topic+"/messages", body)
		at := wire.Position{Epoch: answer["epoch"].(string), Offset: uint64(answer["offset"].(float64))}
		log.Add(judge.Record{Act: judge.Acked, Topic: topic, Key: key, Epoch: at.Epoch, Offset: at.Offset})
		last[topic] = at
	}
	return last
}

// inRoom are the users who are in a room when nobody talks any more.
func (s *storm) inRoom(room string) (users []string) {
	for _, m := range s.members {
		if slices.Contains(m.rooms, room) {
			users = append(users, m.user)
		}
	}
	return users
}

// wait gives a witness its time, and returns the topic in which it was not enough.
func (w *witness) wait(topics []string, last map[string]wire.Position, users func(string) []string) string {
	deadline := time.Now().Add(patience / 4)
	for _, topic := range topics {
		var in []string
		if isRoom(topic) {
			in = users(topic)
		}
		for !w.level(topic, last[topic], in) {
			if time.Now().After(deadline) {
				return topic
			}
			time.Sleep(20 * time.Millisecond)
		}
	}
	return ""
}

// settle waits until the node has let go of the sessions that went, or will not.
func (p *seat) settle() {
	n := p.node.Load()
	deadline := time.Now().Add(patience / 4)
	for n.metric("rookery_sessions") > 0 && time.Now().Before(deadline) {
		time.Sleep(50 * time.Millisecond)
	}
}

// keepLogs saves the logs from being removed with the test.
func (s *storm) keepLogs() string {
	kept := s.dir + "-violated"
	if err := errors.Join(os.RemoveAll(kept), os.Rename(s.dir, kept)); err != nil {
		s.t.Error(err)
	}
	return kept
}
