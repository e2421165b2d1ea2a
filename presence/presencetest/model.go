package presencetest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"
)

// A declared is one (topic, user) of one node.
type declared struct{ topic, user string }

// A modelled is a node, and what is true of it.
type modelled struct {
	Node
	sessions map[declared]int
	paused   bool
	harmed   bool // was it ever paused or flaky
}

// Model does random things to a random cluster: sessions come and go, with and without
// grace, nodes crash, stop for a while, lose answers and are late, and the cluster
// forgets everything. After that it waits for quiet, and tells what is not as it should
// be: rosters must be the truth, and so must be what observers made of the changes,
// which they find fault with by themselves. The journal must have what they heard.
func Model(c Cluster, seed uint64, steps int) error {
	r := rand.New(rand.NewPCG(seed, 0))
	t := c.Timing()
	topics := []string{"*", "lobby", "team:red", "team:blue"}
	users := []string{"alice", "bob", "carol", "dave", "erin"}
	var observers []*Observer
	for _, topic := range topics {
		observers = append(observers, c.Observe(topic))
	}
	ledger := newLedger(c.Journal())
	nodes := make([]*modelled, 3)
	for i := range nodes {
		nodes[i] = &modelled{Node: c.Attach(), sessions: map[declared]int{}}
	}
	look := func() error {
		for _, o := range observers {
			if err := o.Look(); err != nil {
				return err
			}
		}
		return ledger.drain()
	}
	flaky := map[Node]bool{} // dead ones too
	calm := func() {
		for n := range flaky {
			n.Flaky(nil)
		}
		clear(flaky)
	}

	for step := range steps {
		i := r.IntN(len(nodes))
		n := nodes[i]
		d := declared{topics[r.IntN(len(topics))], users[r.IntN(len(users))]}
		switch what := r.IntN(1000); {
		case what < 400:
			ctx, cancel := context.WithTimeout(context.Background(), time.Duration(r.Int64N(int64(t.Renew/20))))
			n.Join(ctx, d.topic, d.user) // whether it got through in time does not matter
			cancel()
			n.sessions[d]++
		case what < 800:
			if n.sessions[d] > 0 {
				n.sessions[d]--
				grace := time.Duration(0)
				if r.IntN(2) == 0 {
					grace = time.Duration(r.Int64N(int64(t.Renew)))
				}
				n.Leave(d.topic, d.user, grace)
			}
		case what < 815:
			if n.paused {
				n.Resume()
			} else {
				n.Pause()
			}
			n.paused, n.harmed = !n.paused, true
		case what < 830:
			n.Flaky(rand.New(rand.NewPCG(seed, uint64(step))))
			flaky[n.Node], n.harmed = true, true
		case what < 840:
			n.Flaky(nil)
			delete(flaky, n.Node)
		case what < 850:
			n.Crash()
			nodes[i] = &modelled{Node: c.Attach(), sessions: map[declared]int{}}
		case what < 853:
			calm() // what comes later than a loss cannot be refused
			c.Lose()
		case what < 870:
			time.Sleep(time.Duration(r.Int64N(int64(2 * t.Lease))))
		default:
			time.Sleep(time.Duration(r.Int64N(int64(t.Renew / 5))))
		}
		if err := look(); err != nil {
			return fmt.Errorf("seed %d, step %d: %w", seed, step, err)
		}
	}

	calm()
	for _, n := range nodes {
		if n.paused {
			n.Resume()
		}
	}
	// What is wrong may only be on its way yet: to who follows a topic, while its roster was read or the journal drained.
	quiet := func(nodes []*modelled) error {
		for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
			if err := look(); err != nil {
				return fmt.Errorf("seed %d: %w", seed, err)
			}
			var wrong error
			for i, topic := range topics {
				var want []string
				for _, u := range users {
					if slices.ContainsFunc(nodes, func(n *modelled) bool { return n.sessions[declared{topic, u}] > 0 }) {
						want = append(want, u)
					}
				}
				if err := same(observers[i], nodes[0], want); err != nil {
					wrong = err
				}
			}
			members, err := nodes[0].Nodes(context.Background())
			if err != nil || len(members) != len(nodes) {
				wrong = fmt.Errorf("nodes %q (%v), not %d", members, err, len(nodes))
			}
			for i := 0; i < len(topics) && wrong == nil; i++ {
				r, err := nodes[0].Roster(context.Background(), topics[i], "", 1)
				if wrong = err; err == nil {
					wrong = ledger.compare(observers[i], r.Epoch)
				}
			}
			if wrong == nil {
				return nil
			}
			if time.Now().After(deadline) {
				return fmt.Errorf("seed %d: %w", seed, wrong)
			}
		}
	}
	if err := quiet(nodes); err != nil {
		return err
	}
	for _, n := range nodes {
		if got := n.Stats().Incarnations; c.Exact() && !n.harmed && got != 1 {
			return fmt.Errorf("seed %d: a node that had no trouble was condemned %d times", seed, got-1)
		}
	}
	// What is left of all that is left in good order.
	for _, n := range nodes[1:] {
		n.Crash()
	}
	if err := quiet(nodes[:1]); err != nil {
		return err
	}
	for d, sessions := range nodes[0].sessions {
		for range sessions {
			nodes[0].Leave(d.topic, d.user, 0)
		}
	}
	nodes[0].sessions = nil
	return quiet(nodes[:1])
}
