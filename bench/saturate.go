package bench

import (
	"context"
	"math"
	"time"
)

// saturators publish while a room is saturated: more than one, because a session's publishes run one at a time,
// and a node limits how many a session may make.
const saturators = 16

// maxWindow is how many messages are under way at most, to all members or to the slowest of them. It is less than what
// a node's log holds of a topic: who is further behind than that cannot be made level.
const maxWindow = 512

// patientTries is how often in turn a greater window may be no better before the search ends: on a machine that others
// use too, a second can be bad by chance.
const patientTries = 3

// probe is how long one size of the window is tried.
const probe = time.Second

// saturate looks for the number of messages under way that gives the greatest rate within the bound of latency, and
// measures with it. More under way than the servers can take would only make a queue.
func (l *load) saturate(ctx context.Context, d, bound time.Duration) (window int, err error) {
	best, worse := 0.0, 0
	for try := 1; try <= maxWindow && worse < patientTries; try *= 2 {
		rate, p99, err := l.push(ctx, try, probe)
		if err != nil {
			return try, err
		}
		if p99 <= bound && rate > best {
			best, window, worse = rate, try, 0
		} else {
			worse++
		}
	}
	window = max(window, 1)
	for {
		_, p99, err := l.push(ctx, window, d)
		if err != nil || p99 <= bound || window == 1 { // a longer run has worse moments
			return window, err
		}
		window = window * 2 / 3
	}
}

// push publishes for d so that no more than window messages are under way.
func (l *load) push(ctx context.Context, window int, d time.Duration) (perSecond float64, p99 time.Duration, err error) {
	if err := l.settle(ctx); err != nil {
		return 0, 0, err
	}
	if err := l.begin(); err != nil {
		return 0, 0, err
	}
	members := l.rooms[0].members
	end := l.begun + d
	l.afterwards = func() {
		answered := l.tally.received + l.denials*uint64(members)
		room := min(int64(answered/uint64(members))+int64(window)-int64(l.published), l.slack())
		for now := l.clock(); room > 0 && now < end && l.failed == nil; room-- {
			l.publish(now)
		}
	}
	defer func() { l.afterwards = nil }()
	stop := l.show("publishing", func() float64 { return float64(l.clock()-l.begun) / float64(d) })
	defer stop()
	l.afterwards()
	if err := l.sleep(ctx, d); err != nil {
		return 0, 0, err
	}
	if err := l.settle(ctx); err != nil {
		return 0, 0, err
	}
	perSecond = float64(l.tally.received-l.deliveries) / (l.clock() - l.begun).Seconds()
	return perSecond, time.Duration(l.latency.ValueAtQuantile(99)) * time.Microsecond, nil
}

// slack is how many more messages may be published before the slowest session may be maxWindow behind.
func (l *load) slack() int64 {
	slowest := uint64(math.MaxUint64)
	for _, s := range l.sessions {
		if s.state == open {
			slowest = min(slowest, s.cursor.offset)
		}
	}
	return maxWindow - int64(l.published-l.denials-slowest)
}
