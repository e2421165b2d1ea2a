package bus

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

// A link hears the live channels of some partitions: it keeps one connection, and makes
// a new one whenever something is not as it should be. Every end of a connection is a gap in all topics.
type link struct {
	r      *Redis   // fixed at construction
	probes *batcher // of the link's partitions; fixed too
	probe  string   // the channel of the probes, whose hash tag leads to the link's server; fixed too
	cache  string   // the key of the history's cache there; fixed too

	id     atomic.Int64 // CLIENT ID of the connection, 0 when there is none
	heard  atomic.Int64 // when the last probe came back, Unix ns
	probed atomic.Bool  // the connection is subscribed to probe
	stood  atomic.Bool  // so was one before
	down   atomic.Bool  // the last one has ended, as an operator was told

	changes sync.Mutex    // held by subscribe and unsubscribe, while a Handler call ends too
	news    chan struct{} // holds a token when the connection's writer has something to do

	mu    sync.Mutex               // guards the following
	subs  map[string]*subscription // by live channel: what shall be heard
	todo  map[string]struct{}      // channels for which it may differ from what Redis was told
	known map[string]*told         // what Redis was told over the connection that stands
	ready []*subscription          // confirmed, position not asked for yet
}

// told is what Redis was told about a channel. Redis confirms in order, so the last
// confirmation outstanding is that of the last command.
type told struct {
	sub         *subscription // nil after SUNSUBSCRIBE
	subscribe   int           // confirmations outstanding
	unsubscribe int
}

const (
	probeEvery   = time.Second
	probesMissed = 3
	steady       = 500 * time.Millisecond // a connection that ends sooner does not make the next attempt sooner
	channelsPer  = 1000                   // channels of one command
)

var (
	errSilent    = errors.New("nothing was heard for 3 s")
	errElsewhere = errors.New("the connection leads to another server than publishes do")
)

// newLink returns a link to the server of a partition.
func newLink(r *Redis, partition int) *link {
	return &link{
		r:      r,
		probes: r.of(partition).probes,
		probe:  r.key(partition, "probe", newEpoch()),
		cache:  r.key(partition, "history", "id"),
		news:   make(chan struct{}, 1),
		subs:   make(map[string]*subscription),
		todo:   make(map[string]struct{}),
	}
}

func (l *link) heardAt() time.Time {
	if ns := l.heard.Load(); ns != 0 {
		return time.Unix(0, ns)
	}
	return time.Time{}
}

// tell wakes the connection's writer.
func (l *link) tell() {
	select {
	case l.news <- struct{}{}:
	default:
	}
}

func (l *link) subscribe(topics []string) {
	l.changes.Lock()
	defer l.changes.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, topic := range topics {
		channel, _ := l.r.Live(topic)
		if l.subs[channel] == nil {
			l.subs[channel] = &subscription{r: l.r, topic: topic, partition: partitionOf(topic), channel: channel, announce: true}
			l.todo[channel] = struct{}{}
			l.r.behind.Add(1)
		}
	}
	l.tell()
}

// unsubscribe returns when the Handler hears nothing more of topics.
func (l *link) unsubscribe(topics []string) {
	l.changes.Lock()
	defer l.changes.Unlock()
	var gone []*subscription
	l.mu.Lock()
	for _, topic := range topics {
		channel, _ := l.r.Live(topic)
		if s := l.subs[channel]; s != nil {
			delete(l.subs, channel)
			l.todo[channel] = struct{}{}
			gone = append(gone, s)
		}
	}
	l.tell()
	l.mu.Unlock()
	for _, s := range gone {
		s.end()
	}
}

// live returns the subscriptions of a partition.
func (l *link) live(partition int) (subs []*subscription) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range l.subs {
		if s.partition == partition {
			subs = append(subs, s)
		}
	}
	return subs
}

// run keeps a connection until ctx is done.
func (l *link) run(ctx context.Context) {
	for wait := (backoff{}); ctx.Err() == nil; wait.sleep(ctx) {
		start := time.Now()
		c, err := l.dial(ctx)
		if err == nil {
			err = l.use(ctx, c)
		}
		if time.Since(start) > steady && c != nil {
			wait = backoff{}
		}
		if ctx.Err() == nil && !l.down.Swap(true) {
			l.r.opts.Logger.Warn("bus: no live connection to Redis; trying on", "error", err)
		}
		if cluster, ok := l.r.client.(*redis.ClusterClient); ok {
			cluster.ReloadState(ctx)
		}
	}
}

// stands is called when Redis has confirmed the probe of a new connection.
func (l *link) stands() {
	if l.stood.Swap(true) {
		l.r.reconnects.Add(1)
	}
	if l.down.Swap(false) {
		l.r.opts.Logger.Info("bus: the live connection to Redis is back")
	}
	l.probed.Store(true)
}

// use hears over c until c fails or ctx is done.
func (l *link) use(ctx context.Context, c *conn) error {
	l.mu.Lock()
	l.known, l.ready = make(map[string]*told), nil
	for channel := range l.subs {
		l.todo[channel] = struct{}{}
	}
	l.tell()
	l.mu.Unlock()
	l.probed.Store(false)
	l.id.Store(c.id)

	ctx, cancel := context.WithCancelCause(ctx)
	context.AfterFunc(ctx, c.cut)
	var all sync.WaitGroup
	all.Go(func() { cancel(l.receive(c)) })
	all.Go(func() { cancel(l.write(ctx, c)) })
	all.Go(func() { cancel(l.watch(ctx)) })
	all.Wait()

	c.close()
	l.id.Store(0)
	l.mu.Lock()
	subs := slices.Collect(maps.Values(l.subs))
	l.mu.Unlock()
	for _, s := range subs {
		s.interrupt()
	}
	return context.Cause(ctx)
}

// receive hands on what comes, until c fails.
func (l *link) receive(c *conn) error {
	for {
		got, err := c.pubsub.Receive(context.Background())
		if err != nil {
			return err
		}
		switch got := got.(type) {
		case *redis.Message:
			l.hear(got)
		case *redis.Subscription:
			if err := l.confirmed(got); err != nil {
				return err
			}
		}
	}
}

func (l *link) hear(m *redis.Message) {
	if m.Channel == l.probe {
		l.heard.Store(time.Now().UnixNano())
		return
	}
	l.mu.Lock()
	s := l.subs[m.Channel]
	l.mu.Unlock()
	if s == nil || m.Payload == "" {
		return
	}
	switch m.Payload[0] {
	case liveMessage:
		epoch, e, err := parseLive(m.Payload)
		if err != nil {
			s.broken()
			return
		}
		s.hear(heard{epoch, e})
	case liveSignal:
		s.signal([]byte(m.Payload[1:]))
	}
}

// confirmed notes that Redis has done what it was told. It is an error when it did something else.
func (l *link) confirmed(got *redis.Subscription) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	t := l.known[got.Channel]
	switch {
	case got.Channel == l.probe:
		if got.Kind != "ssubscribe" {
			return fmt.Errorf("Redis sent %s of %s unasked", got.Kind, got.Channel)
		}
		l.stands()
	case t != nil && got.Kind == "ssubscribe" && t.subscribe > 0:
		t.subscribe--
	case t != nil && got.Kind == "sunsubscribe" && t.unsubscribe > 0:
		t.unsubscribe--
	default: // a slot has moved away
		return fmt.Errorf("Redis sent %s of %s unasked", got.Kind, got.Channel)
	}
	if t == nil || t.subscribe > 0 || t.unsubscribe > 0 {
		return nil
	}
	if t.sub == nil {
		delete(l.known, got.Channel)
	} else {
		l.ready = append(l.ready, t.sub)
		l.tell()
	}
	return nil
}

// write tells Redis what to send, and asks for the position of what it has confirmed.
func (l *link) write(ctx context.Context, c *conn) error {
	for wait := (backoff{}); ; {
		select {
		case <-l.news:
		case <-ctx.Done():
			return nil
		}
		subscribe, unsubscribe, ready := l.work()
		for part := range slices.Chunk(subscribe, channelsPer) {
			if err := c.pubsub.SSubscribe(ctx, part...); err != nil {
				return err
			}
		}
		for part := range slices.Chunk(unsubscribe, channelsPer) {
			if err := c.pubsub.SUnsubscribe(ctx, part...); err != nil {
				return err
			}
		}
		if err := l.r.locate(ctx, ready); err != nil {
			l.again(ready)
			wait.sleep(ctx)
			continue
		}
		wait = backoff{}
	}
}

// work returns what there is to do, as if it was done.
func (l *link) work() (subscribe, unsubscribe []string, ready []*subscription) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for channel := range l.todo {
		s, t := l.subs[channel], l.known[channel]
		if t == nil {
			if s == nil {
				continue
			}
			t = new(told)
			l.known[channel] = t
		}
		if t.sub == s {
			continue
		}
		if t.sub = s; s != nil {
			t.subscribe++
			subscribe = append(subscribe, channel)
		} else {
			t.unsubscribe++
			unsubscribe = append(unsubscribe, channel)
		}
	}
	clear(l.todo)
	ready, l.ready = l.ready, nil
	return subscribe, unsubscribe, ready
}

// again puts subscriptions back whose position could not be asked for.
func (l *link) again(ready []*subscription) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ready = append(l.ready, ready...)
	l.tell()
}

// watch sends a probe through Redis each second, and gives up when three in a row did
// not come back (with the reason, where Redis gave one), or when the server that takes
// publishes does not know this connection.
func (l *link) watch(ctx context.Context) error {
	tick := time.NewTicker(probeEvery)
	defer tick.Stop()
	var last error
	for missed := 0; missed < probesMissed; {
		sent := time.Now().UnixNano()
		subscribed := l.probed.Load()
		probe, cancel := context.WithTimeout(ctx, probeEvery)
		answers, err := l.probes.do(probe, probeScript.cmd([]string{l.cache}, l.probe))
		cancel()
		if err == nil && answers[0] == int64(0) && subscribed {
			return errElsewhere
		}
		last = err
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
		missed++
		if l.heard.Load() >= sent {
			missed = 0
		}
	}
	if last != nil {
		return fmt.Errorf("%w: %w", errSilent, last)
	}
	return errSilent
}
