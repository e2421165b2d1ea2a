package faults_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/rookery-chat/rookery/client"
	"github.com/rookery-chat/rookery/faults/judge"
	"github.com/rookery-chat/rookery/wire"
)

// A crowd is people on a cluster: witnesses that are in rooms, and talkers that publish all the
// time. What was acknowledged and what everybody got is judged in the end.
type crowd struct {
	t   *testing.T
	dir string // of the logs
	log *judge.Log
	way func(first int) func() string // leads a client to the cluster, each time it connects
	rng *rand.Rand                    // Owned by the test's goroutine.

	members []*witness
	rooms   []string
	talkers int
	talking sync.WaitGroup
	hush    context.CancelFunc
	quiet   context.Context // done when talkers, and faults, are to end

	mu     sync.Mutex
	spoken map[string]bool // topics that something was published to. Guarded by mu.
}

func newCrowd(t *testing.T, name string, seed uint64, rooms int) *crowd {
	t.Helper()
	dir, err := os.MkdirTemp("", "rookery-"+name+"-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	c := &crowd{t: t, dir: dir, rng: rand.New(rand.NewPCG(seed, 0)), spoken: make(map[string]bool)}
	if c.log, err = judge.Create(dir, judge.Cluster, name); err != nil {
		t.Fatal(err)
	}
	c.quiet, c.hush = context.WithCancel(context.Background())
	t.Cleanup(c.hush)
	for i := range rooms {
		c.rooms = append(c.rooms, fmt.Sprint("room", i))
	}
	return c
}

// enter adds a member to the crowd.
func (c *crowd) enter(watches bool, tamper func(any) []any, rooms ...string) {
	c.t.Helper()
	i := len(c.members)
	c.members = append(c.members, watchTampered(c.t, c.dir, fmt.Sprint("member", i), c.way(i), watches, tamper, rooms...))
}

// talk adds a talker, who publishes until quiet, each message until it is acknowledged.
func (c *crowd) talk(pause time.Duration) {
	i := c.talkers
	c.talkers++
	name := fmt.Sprint("talker", i)
	log, err := judge.Create(c.dir, judge.Publisher, name)
	if err != nil {
		c.t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(uint64(i), 1))
	c.talking.Go(func() {
		defer func() {
			if err := log.Close(); err != nil {
				c.t.Error(err)
			}
		}()
		way := c.way(i)
		for n := 0; c.quiet.Err() == nil; {
			// A client has one address; a new one goes on elsewhere, as behind a load balancer.
			cl := client.New(way(), &client.Options{User: name})
			ctx, stop := context.WithCancel(context.Background())
			var running sync.WaitGroup
			running.Go(func() { cl.Run(ctx) })
			running.Go(func() {
				for range cl.Events(context.Background()) {
				}
			})
			for c.quiet.Err() == nil {
				n++
				if c.publish(cl, log, c.target(rng), fmt.Sprintf("%s-%d", name, n)) != nil {
					break
				}
				time.Sleep(pause)
			}
			stop()
			running.Wait()
		}
	})
}

// target is where the next message goes: mostly a room, at times a member's inbox.
func (c *crowd) target(rng *rand.Rand) string {
	if rng.IntN(8) == 0 {
		return wire.Inbox(fmt.Sprint("member", rng.IntN(len(c.members))))
	}
	return c.rooms[rng.IntN(len(c.rooms))]
}

// publish notes what was acknowledged. An error means that this client gets nowhere.
func (c *crowd) publish(cl *client.Client, log *judge.Log, topic, key string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Second)
	defer cancel()
	if isRoom(topic) {
		if _, err := cl.Join(ctx, topic, nil); err != nil {
			return err
		}
	}
	c.mu.Lock()
	c.spoken[topic] = true
	c.mu.Unlock()
	p, err := cl.Publish(ctx, topic, said{key}, nil)
	if err != nil {
		return err
	}
	log.Add(judge.Record{Act: judge.Acked, Topic: topic, Key: key, Epoch: p.Epoch, Offset: p.Offset})
	return nil
}

// hear ends the talk, lets everybody get everything, and has it judged. nodes are those that live;
// last, if there is one, comes between the end of the members and the last measurement.
func (c *crowd) hear(nodes []*process, last func()) judge.Verdict {
	c.t.Helper()
	c.hush()
	c.talking.Wait()
	for _, n := range nodes {
		n.AwaitReady(true)
	}
	ends := c.lastWords(nodes)
	for _, room := range c.rooms {
		c.log.Add(judge.Record{Act: judge.Truth, Topic: room, Users: c.inRoom(room)})
	}
	// Whether all is well is the judge's to say: here it only gets its time.
	for _, m := range c.members {
		topics := slices.Clone(m.rooms)
		if _, ok := ends[wire.Inbox(m.user)]; ok {
			topics = append(topics, wire.Inbox(m.user))
		}
		slow := m.wait(topics, ends, c.inRoom)
		if slow != "" {
			c.t.Logf("%s is not level in %s", m.user, slow)
		}
		m.end(topics...)
	}
	for _, m := range c.members {
		m.leave()
	}
	for _, n := range nodes {
		n.settle()
	}
	if last != nil {
		last()
	}
	for _, n := range nodes {
		c.measure(n, "after")
	}
	if err := c.log.Close(); err != nil {
		c.t.Error(err)
	}
	verdict, err := judge.Dir(c.dir)
	if err != nil {
		c.t.Fatal(err)
	}
	return verdict
}

// lastWords publishes one more message to every room, and to each inbox that has one, and returns where each stands.
func (c *crowd) lastWords(nodes []*process) map[string]wire.Position {
	log, err := judge.Create(c.dir, judge.Publisher, "last")
	if err != nil {
		c.t.Fatal(err)
	}
	defer log.Close()
	topics := slices.Clone(c.rooms)
	for _, m := range c.members {
		if inbox := wire.Inbox(m.user); c.spoken[inbox] {
			topics = append(topics, inbox)
		}
	}
	last := make(map[string]wire.Position)
	for i, topic := range topics {
		key := fmt.Sprint("last-", i)
		body := fmt.Sprintf(`{"data":{"key":%q},"key":%q}`, key, key)
		answer := must(c.t, nodes[i%len(nodes)], "POST", "/v1/topics/"+topic+"/messages", body)
		at := wire.Position{Epoch: answer["epoch"].(string), Offset: uint64(answer["offset"].(float64))}
		log.Add(judge.Record{Act: judge.Acked, Topic: topic, Key: key, Epoch: at.Epoch, Offset: at.Offset})
		last[topic] = at
	}
	return last
}

// inRoom are the users who are in a room when nobody talks any more.
func (c *crowd) inRoom(room string) (users []string) {
	for _, m := range c.members {
		if slices.Contains(m.rooms, room) {
			users = append(users, m.user)
		}
	}
	return users
}

// wait gives a witness its time, and returns the topic in which it was not enough.
func (w *witness) wait(topics []string, last map[string]wire.Position, users func(string) []string) string {
	deadline := time.Now().Add(patience)
	if w.tamper != nil {
		deadline = time.Now().Add(patience / 20) // it may never be level
	}
	for _, topic := range topics {
		var in []string
		if w.watches && isRoom(topic) {
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

func (c *crowd) measure(n *process, phase string) {
	c.log.Add(judge.Record{
		Act: judge.Measure, Node: n.ID, Phase: phase,
		Memory: n.rss(), Goroutines: int(n.Metric("go_goroutines")), Files: int(n.Metric("process_open_fds")),
	})
}

// settle waits until the node has let go of the sessions that went, or will not.
func (p *process) settle() {
	deadline := time.Now().Add(patience)
	for p.Metric("rookery_sessions") > 0 && time.Now().Before(deadline) {
		time.Sleep(50 * time.Millisecond)
	}
}

// keepLogs saves the logs from being removed with the test.
func (c *crowd) keepLogs() string {
	kept := c.dir + "-violated"
	if err := errors.Join(os.RemoveAll(kept), os.Rename(c.dir, kept)); err != nil {
		c.t.Error(err)
	}
	return kept
}
