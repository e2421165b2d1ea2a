package node

import (
	"context"
	"slices"
	"time"

	"github.com/rookery-chat/rookery/bus"
	"github.com/rookery-chat/rookery/wire"
)

const (
	pageEntries  = 256                    // most that one read of the log returns
	readTimeout  = 5 * time.Second        // for one read of the log
	readRetry    = 200 * time.Millisecond // after a read that failed, or that was older or newer than what is live
	maxLogReads  = 32                     // under way at once in a node
	causeResume  = "resume"               // a session joined with a cursor that the ring does not hold
	causeSlow    = "slow"                 // a session that did not take its messages in time
	causeEpoch   = "epoch"                // the log's life changed while the session was behind
	causeUnknown = "join"                 // a join that only the log could judge
)

// A join is a subscription that waits for its cursor. Guarded by shard.mu.
type join struct {
	sub    *subscription
	after  *wire.Position // where the session was; nil when it was not there
	recent int
	done   func(wire.Joined) // called once, as a step of the shard
}

// startJoin subscribes a session; j.done is called when its cursor is known. Messages
// flow after activate.
func (sh *shard) startJoin(s *session, name string, presence bool, j *join) *subscription {
	t := sh.topics[name]
	if t == nil {
		t = &topic{name: name}
		sh.topics[name] = t
		sh.node.interest.add(name, sh.index)
	}
	sub := &subscription{topic: t, session: s, presence: presence, resuming: true}
	t.add(sub)
	j.sub = sub
	sh.judge(j)
	return sub
}

// activate lets messages flow to subscriptions whose joins are done.
func (sh *shard) activate(subs []*subscription) {
	for _, sub := range subs {
		if sub.state == joining {
			sub.state = active
			sh.mark(sub)
		}
	}
}

// leave ends a subscription. It is safe to repeat.
func (sh *shard) leave(sub *subscription) {
	if sub.state == ended {
		return
	}
	t := sub.topic
	if sub.state == joining && t.catchup != nil {
		other := func(j *join) bool { return j.sub == sub }
		t.catchup.waiting = slices.DeleteFunc(t.catchup.waiting, other)
		t.catchup.asking = slices.DeleteFunc(t.catchup.asking, other)
	}
	t.remove(sub)
	if len(t.subs) == 0 && wire.IsInbox(t.name) {
		// At once: what a publisher is told it reached is who hears the inbox.
		sh.drop(t.name, t)
	}
}

// judge finds a join's cursor: from what is at hand where that is enough, else from the log.
func (sh *shard) judge(j *join) {
	t := j.sub.topic
	switch {
	case j.sub.state == ended:
	case !t.live:
		t.catching().waiting = append(t.catching().waiting, j)
	case j.after == nil && j.recent == 0:
		sh.resolve(j, t.epoch, t.head, t.head, true)
	case j.after == nil && t.covers(t.head-min(t.head, uint64(j.recent))):
		sh.resolve(j, t.epoch, t.head, t.head-min(t.head, uint64(j.recent)), true)
	case j.after != nil && j.after.Epoch == t.epoch && t.covers(j.after.Offset):
		sh.resolve(j, t.epoch, t.head, j.after.Offset, true)
	default:
		sh.node.metrics.catchup(causeUnknown)
		t.catching().asking = append(t.catching().asking, j)
		sh.catchUp(t)
	}
}

func (sh *shard) resolve(j *join, epoch string, head, after uint64, recovered bool) {
	j.sub.epoch, j.sub.after = epoch, after
	j.done(wire.Joined{Position: wire.Position{Epoch: epoch, Offset: head}, After: after, Recovered: recovered})
}

// resolveByLog judges a join by a page, which holds the log's own view.
func (sh *shard) resolveByLog(j *join, p bus.Page) {
	if j.sub.state == ended {
		return
	}
	if j.after == nil {
		after := max(p.Head-min(p.Head, uint64(j.recent)), p.First-1)
		sh.resolve(j, p.Epoch, p.Head, after, true)
		return
	}
	after, reason, recovered := p.Judge(bus.Position(*j.after))
	sh.resolve(j, p.Epoch, p.Head, after, reason == "" || recovered)
}

// fallBehind notes that a subscription's next message must come from the log.
func (sh *shard) fallBehind(sub *subscription) {
	if sub.isBehind {
		return
	}
	t := sub.topic
	sub.isBehind = true
	t.catching().behind = append(t.catching().behind, sub)
	switch {
	case sub.epoch != t.epoch:
		sh.node.metrics.catchup(causeEpoch)
	case sub.resuming:
		sh.node.metrics.catchup(causeResume)
	default:
		sh.node.metrics.catchup(causeSlow)
	}
	sh.retry = append(sh.retry, t)
}

// catchUp reads the log for those who need it, from the oldest cursor on: one read per
// topic at a time, off this goroutine.
func (sh *shard) catchUp(t *topic) {
	need := t.catchup
	if need == nil || need.reading || sh.topics[t.name] != t || !t.live {
		return
	}
	from, any := uint64(0), false
	want := func(after uint64) {
		if !any || after < from {
			from, any = after, true
		}
	}
	for _, j := range need.asking {
		switch {
		case j.after != nil:
			want(j.after.Offset)
		default:
			want(t.head - min(t.head, uint64(j.recent)))
		}
	}
	for _, sub := range need.behind {
		if sub.state == active {
			want(sub.after)
		}
	}
	if !any {
		need.behind = nil
		return
	}
	need.reading = true
	n := sh.node
	n.helpers.Go(func() {
		select {
		case n.logReads <- struct{}{}:
		case <-n.stopped.Done():
			return
		}
		ctx, cancel := context.WithTimeout(n.stopped, readTimeout)
		p, err := n.bus.Read(ctx, t.name, from, pageEntries)
		cancel()
		<-n.logReads
		n.metrics.logReads.Add(1)
		frames := make([]*frame, len(p.Entries))
		for i, e := range p.Entries {
			frames[i] = newFrame(t.name, e)
		}
		sh.mail.post(func() { sh.gotPage(t, p, frames, err) })
	})
}

// retryLater looks at t again after a while.
func (sh *shard) retryLater(t *topic) {
	t.catching().reading = true
	n := sh.node
	n.helpers.Go(func() {
		select {
		case <-time.After(readRetry):
		case <-n.stopped.Done():
			return
		}
		sh.mail.post(func() {
			t.catching().reading = false
			sh.catchUp(t)
		})
	})
}

// gotPage takes a page of the log: joins are judged by it, cursors that it serves go on.
func (sh *shard) gotPage(t *topic, p bus.Page, frames []*frame, err error) {
	need := t.catching()
	need.reading = false
	if sh.topics[t.name] != t {
		return
	}
	if err != nil {
		sh.retryLater(t)
		return
	}
	asking := need.asking
	need.asking = nil
	for _, j := range asking {
		sh.resolveByLog(j, p)
	}
	if p.Epoch != t.epoch {
		// The bus has not told of the log's new life yet, or the page is from the old one.
		if len(need.behind) > 0 {
			sh.retryLater(t)
		}
		return
	}
	sh.ringSize += t.extend(frames)
	sh.ringSize += need.setPage(frames)
	behind := need.behind
	need.behind = nil
	moved := false
	for _, sub := range behind {
		if sub.state != active {
			continue
		}
		if after, reason, recovered := p.Judge(bus.Position{Epoch: sub.epoch, Offset: sub.after}); reason != "" {
			sub.epoch, sub.after = p.Epoch, after
			sh.tellReset(sub, wire.Position{Epoch: p.Epoch, Offset: p.Head}, reason, recovered)
			moved = true
		}
		if sub.after < t.head && t.find(sub.after+1) == nil {
			need.behind = append(need.behind, sub) // for the next page
			continue
		}
		sub.isBehind = false
		moved = true
		sh.mark(sub)
	}
	switch {
	case len(need.behind) == 0:
	case moved:
		sh.retry = append(sh.retry, t)
	default:
		sh.retryLater(t)
	}
}
