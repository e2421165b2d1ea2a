package node

import (
	"context"
	"slices"
	"time"

	"github.com/rookery-chat/rookery/wire"
)

// A rosterFrame is one presence frame, encoded for all.
type rosterFrame struct {
	wire.Presence
	number uint64 // counts the topic's frames
	encoding
}

// schedule tells what is pending: now, or when the interval since the last frame is over.
// The caller holds mu.
func (rs *rosters) schedule(r *roster) {
	if _, ok := rs.due[r.topic]; ok {
		return
	}
	if at := r.told.Add(r.interval()); time.Until(at) > 0 {
		rs.due[r.topic] = at
		select {
		case rs.wake <- struct{}{}:
		default:
		}
		return
	}
	rs.tell(r)
}

// interval is the least time between two presence frames.
func (r *roster) interval() time.Duration {
	return rosterInterval * time.Duration(1+r.online/rosterGrow)
}

// tell sends one presence frame: who came and went or, where those are too many to name, the roster's
// first page anew. The caller holds mu.
func (rs *rosters) tell(r *roster) {
	f := &rosterFrame{Presence: wire.Presence{Topic: r.topic, Version: r.version, Online: r.online}}
	if n := len(r.pending); n > rosterGrow || n > rosterNames && r.large {
		r.unnamed = true
	}
	for u, joined := range r.pending {
		switch {
		case r.unnamed:
		case len(f.Joined)+len(f.Left) == rosterNames:
			continue
		case joined:
			f.Joined = append(f.Joined, u)
		default:
			f.Left = append(f.Left, u)
		}
		r.announce(u, joined)
	}
	slices.Sort(f.Joined)
	slices.Sort(f.Left)
	if r.unnamed {
		r.unnamed = false
		f.Roster = r.top()
	}
	r.told = time.Now()
	r.frames++
	r.fresh = nil
	f.number = r.frames
	f.encoding = encode(f.Append(nil))
	for _, sh := range rs.node.shards {
		sh.mail.post(func() { sh.roster(f) })
	}
	if len(r.pending) > 0 {
		rs.schedule(r)
	}
}

func (r *roster) announce(user string, joined bool) {
	if joined {
		r.users[user] = struct{}{}
	} else {
		delete(r.users, user)
	}
	delete(r.pending, user)
	r.changed()
}

// run tells what is due, until ctx is done.
func (rs *rosters) run(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-rs.wake:
		case <-timer.C:
		}
		rs.mu.Lock()
		now, next := time.Now(), time.Duration(-1)
		for topic, at := range rs.due {
			if wait := at.Sub(now); wait > 0 {
				if next < 0 || wait < next {
					next = wait
				}
				continue
			}
			delete(rs.due, topic)
			if r := rs.topics[topic]; r != nil {
				rs.tell(r)
				if at, ok := rs.due[topic]; ok {
					if wait := time.Until(at); next < 0 || wait < next {
						next = wait
					}
				}
			}
		}
		rs.mu.Unlock()
		if next >= 0 {
			timer.Reset(next)
		}
	}
}

// roster hands a presence frame to the sessions that want it.
func (sh *shard) roster(f *rosterFrame) {
	t := sh.topics[f.Topic]
	if t == nil {
		return
	}
	for _, sub := range t.subs {
		if !sub.presence || sub.state != active || f.number <= sub.rosterSeen {
			continue
		}
		s := sub.session
		if sub.isBehind || !s.hasRoom() {
			sub.stale = true
			sh.mark(sub) // so that it is made good once there is room
			continue
		}
		sub.rosterSeen = f.number
		sh.own(s, s.kind.presence(f))
	}
}

// refresh gives the roster anew to a session that missed presence frames while it was behind.
func (rs *rosters) refresh(sh *shard, sub *subscription) {
	rs.mu.Lock()
	r := rs.topics[sub.topic.name]
	if r == nil {
		rs.mu.Unlock()
		return
	}
	if r.fresh == nil {
		top := r.top()
		r.fresh = &rosterFrame{Presence: wire.Presence{Topic: r.topic, Version: top.Version, Online: top.Online, Roster: top}, number: r.frames}
		r.fresh.encoding = encode(r.fresh.Append(nil))
	}
	f := r.fresh
	rs.mu.Unlock()
	sub.rosterSeen = f.number
	sh.own(sub.session, sub.session.kind.presence(f))
}
