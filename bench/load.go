package bench

import (
	"context"
	"errors"
	"time"
)

// A load publishes into rooms, and expects each message at each of their members.
type load struct {
	*pool
	rooms   []*room
	writers []*writer // they publish in turn
	next    int

	begun      time.Duration // of the window, by the pool's clock
	deliveries uint64        // before this window
	acked      uint64        // likewise
	before     usage
}

// A writer is a session with a publication for its room.
type writer struct {
	session     *session
	publication *publication
}

// patience is how long to wait for deliveries that are under way after the last one came.
const patience = 5 * time.Second

// publish makes the next publication, which was due at a time of the pool's clock.
func (l *load) publish(due time.Duration) {
	for range l.writers {
		w := l.writers[l.next%len(l.writers)]
		l.next++
		if w.session.state == open {
			w.session.publish(w.publication, due)
			return
		}
	}
	l.fail(errors.New("no session is left to publish"))
}

// begin opens a window of measuring.
func (l *load) begin() (err error) {
	l.latency.Reset()
	l.begun, l.deliveries, l.acked = l.clock(), l.tally.received, l.acks
	l.before, err = l.opts.usage()
	return err
}

// steady publishes perSecond for d, each at its time, however late the one before is: latency counts
// from when a message was due.
func (l *load) steady(ctx context.Context, perSecond float64, d time.Duration) error {
	began, sent, total := l.clock(), 0, int(perSecond*d.Seconds())
	var tick func()
	tick = func() {
		for sent < total {
			due := began + time.Duration(float64(sent)/perSecond*float64(time.Second))
			if due > l.clock() {
				l.at(l.started.Add(due), tick)
				return
			}
			l.publish(due)
			sent++
		}
	}
	tick()
	stop := l.show("publishing", func() float64 { return float64(sent) / float64(max(total, 1)) })
	defer stop()
	return l.wait(ctx, func() bool { return sent >= total })
}

// settle waits until all that was published is answered and delivered, or does not come.
func (l *load) settle(ctx context.Context) error {
	received, since, late := l.tally.received, time.Now(), false
	stop := l.every(patience/10, func() {
		if received != l.tally.received {
			received, since = l.tally.received, time.Now()
		}
		late = time.Since(since) >= patience
	})
	defer stop()
	return l.wait(ctx, func() bool {
		return late || l.acks+l.denials >= l.published && l.tally.received >= l.due() && l.skipped()
	})
}

// skipped tells whether those who publish have passed their own messages: the skip of one may come
// after its acknowledgement and after all deliveries.
func (l *load) skipped() bool {
	for _, w := range l.writers {
		if s := w.session; s.state == open && s.cursor.offset < s.room.head {
			return false
		}
	}
	return true
}

// due is how many deliveries are to come of what is acknowledged.
func (l *load) due() (n uint64) {
	for _, r := range l.rooms {
		n += uint64(r.stored) * uint64(r.members)
	}
	return n
}

// report tells of the window that begin opened.
func (l *load) report(name string, cause error) (*Report, error) {
	after, err := l.opts.usage()
	if err != nil {
		return nil, err
	}
	for _, s := range l.sessions {
		if s.room != nil {
			l.tally.end(&s.cursor, s.room.head)
		}
	}
	seconds := (l.clock() - l.begun).Seconds()
	deliveries := l.tally.received - l.deliveries
	r := l.pool.report(name, cause)
	r.add("deliveries_expected", l.due())
	r.add("deliveries_received", l.tally.received)
	r.add("deliveries_doubled", l.tally.doubled)
	r.add("deliveries_missing", l.tally.missing)
	r.add("deliveries_disordered", l.tally.disordered)
	r.add("resets", l.resets)
	r.add("published", l.acks)
	r.add("publishes_refused", l.denials)
	r.add("seconds_measured", seconds)
	r.add("publishes_measured", l.acks-l.acked)
	r.add("deliveries_measured", deliveries)
	r.add("deliveries_per_second", float64(deliveries)/seconds)
	r.cpu(l.opts, after.since(l.before), float64(deliveries), "delivery")
	r.cpu(l.opts, after.since(l.before), float64(l.acks-l.acked), "publish")
	r.commands(l.opts, after.since(l.before), float64(l.acks-l.acked), "publish")
	r.latency("latency", l.latency)
	return r, nil
}
