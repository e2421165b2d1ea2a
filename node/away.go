package node

import (
	"context"
	mathrand "math/rand/v2"
	"time"

	"github.com/rookery-chat/rookery/wire"
)

const (
	goodbyeAfter = 2000            // milliseconds; a session that is sent away should wait at most so long before it comes back
	shedTime     = 5 * time.Second // over which those who are shed are sent away
)

// Shed has a node send a percentage of its sessions away, to come back elsewhere: after new
// nodes have come, that is how they get sessions. It tells how many; there is false where the node is not.
func (n *Node) Shed(ctx context.Context, id string, percent int) (shed int, there bool, err error) {
	reports, silent, err := n.ask(ctx, order{Do: doShed, Percent: percent}, nodeTopic(id))
	if err != nil || len(reports)+silent == 0 {
		return 0, false, err
	}
	if silent > 0 {
		return 0, true, context.DeadlineExceeded
	}
	return reports[0].Shed, true, nil
}

// shed sends a percentage of this node's sessions away, and returns how many. A node that drains is at it already.
func (n *Node) shed(percent int) (shed int) {
	if n.Draining() || percent < 1 || percent > 100 {
		return 0
	}
	counts := make(chan int, len(n.shards))
	for _, sh := range n.shards {
		sh.mail.post(func() {
			some := sh.some(percent)
			sh.sendAway(some, shedTime)
			counts <- len(some)
		})
	}
	for range n.shards {
		select {
		case count := <-counts:
			shed += count
		case <-n.stopped.Done():
			return shed
		}
	}
	return shed
}

// some returns a percentage of the shard's sessions, in random order.
func (sh *shard) some(percent int) []*session {
	sessions := append([]*session(nil), sh.sessions...)
	mathrand.Shuffle(len(sessions), func(i, j int) { sessions[i], sessions[j] = sessions[j], sessions[i] })
	return sessions[:(len(sessions)*percent+50)/100]
}

// sendAway closes sessions of the shard, a few at a time.
func (sh *shard) sendAway(sessions []*session, over time.Duration) {
	const step = 50 * time.Millisecond
	// So few that they all fit into the time, and no slower than needed for few.
	batch := max(len(sessions)*int(step)/int(max(over, step)), 10)
	n := sh.node
	n.helpers.Go(func() {
		for len(sessions) > 0 {
			some := sessions[:min(batch, len(sessions))]
			sessions = sessions[len(some):]
			sh.mail.post(func() {
				for _, s := range some {
					sh.sayGoodbye(s)
				}
			})
			if !n.pause(step) {
				return
			}
		}
		// Who does not answer is not waited for until the next tick.
		if n.pause(closeLinger + step) {
			sh.mail.post(func() { sh.tick(time.Now()) })
		}
	})
}

func (sh *shard) sayGoodbye(s *session) {
	g := &wire.Goodbye{Code: "draining", Reconnect: true, After: mathrand.IntN(goodbyeAfter)}
	sh.close(s, g, wire.CloseDraining, "draining")
}
