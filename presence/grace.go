package presence

import (
	"container/heap"
	"context"
	"time"
)

// graces holds every leave that waits for its grace to end, the next one first. A user
// who came back stays in it until then: the entry tells whether the leave still stands.
type graces []grace

type grace struct {
	until time.Duration // by local.now
	topic *topic
	user  string
}

func (g graces) Len() int           { return len(g) }
func (g graces) Less(i, j int) bool { return g[i].until < g[j].until }
func (g graces) Swap(i, j int)      { g[i], g[j] = g[j], g[i] }
func (g *graces) Push(x any)        { *g = append(*g, x.(grace)) }
func (g *graces) Pop() any {
	last := len(*g) - 1
	x := (*g)[last]
	(*g)[last] = grace{}
	*g = (*g)[:last]
	return x
}

func (g *graces) push(until time.Duration, t *topic, user string) {
	heap.Push(g, grace{until, t, user})
}
func (g graces) first() time.Duration { return g[0].until }

// expiries queues the leaves whose grace ends.
func (n *local) expiries(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case <-n.expire:
		}
		n.mu.Lock()
		now := n.now()
		for len(n.graces) > 0 && n.graces.first() <= now {
			g := heap.Pop(&n.graces).(grace)
			e, ok := g.topic.users[g.user]
			if !ok || e.sessions > 0 || e.until != g.until {
				continue
			}
			e.until = 0
			g.topic.users[g.user] = e
			g.topic.queue(g.user)
			g.topic.lane.awake()
		}
		if len(n.graces) > 0 {
			timer.Reset(n.graces.first() - now)
		}
		n.mu.Unlock()
	}
}
