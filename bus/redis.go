package bus

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

// Redis is a Bus over a Redis server, Redis Cluster or a group of Sentinels.
type Redis struct {
	opts    Options // fixed at construction, as are the following
	client  redis.UniversalClient
	invalid error     // what is wrong with client or opts: every call returns it
	live    string    // the kind of the live channels' names
	links   []*link   // all partitions, or one each in a cluster
	queues  []*queues // of all partitions, or one each in a cluster
	heals   *crew[*subscription]

	handler    Handler         // fixed by Run before anything uses it
	ctx        context.Context // Run's
	ran        atomic.Bool
	warned     sync.Map // what an operator was told already
	refusals   refusals
	reconnects atomic.Uint64
	gaps       atomic.Uint64
	behind     atomic.Int64 // subscriptions that are not level
	resets     atomic.Uint64
}

// NewRedis returns an attachment to the cluster that client leads to. The client
// must be a *redis.Client (also one for Sentinel) or a *redis.ClusterClient, made with
// MaxRetries: -1: go-redis otherwise repeats whole pipelines by itself, and signals
// would arrive twice. With a client or options that cannot work every method returns
// an error that says why. The client stays the caller's, who closes it after Run has ended.
func NewRedis(client redis.UniversalClient, opts *Options) *Redis {
	r := &Redis{opts: opts.withDefaults(), client: client, live: "live"}
	r.heals = newCrew(8, 1, func(s []*subscription) { r.heal(s[0]) })
	retries := -1
	switch c := client.(type) {
	case *redis.Client:
		retries = c.Options().MaxRetries
		if db := c.Options().DB; db != 0 { // databases share the channels, not the keys
			r.live = fmt.Sprint("live", db)
		}
		r.queues = []*queues{r.newQueues(0, 3)}
		r.links = []*link{newLink(r, 0)}
	case *redis.ClusterClient:
		retries = max(0, c.Options().MaxRetries)
		for p := range partitions {
			r.queues = append(r.queues, r.newQueues(p, 1))
		}
		for p := range partitions {
			r.links = append(r.links, newLink(r, p))
		}
	default:
		r.invalid = fmt.Errorf("bus: a %T cannot carry a bus: use redis.NewUniversalClient", client)
	}
	if r.invalid == nil && retries > 0 {
		r.invalid = errors.New("bus: the Redis client repeats commands by itself: make it with MaxRetries: -1")
	}
	if strings.ContainsAny(r.opts.Prefix, "{}") {
		r.invalid = fmt.Errorf("bus: the prefix %q contains a brace: choose one without", r.opts.Prefix)
	}
	return r
}

// queues are where commands wait to share a pipeline. In a cluster each partition has its own, so that
// a primary that does not answer holds up only what is for it.
type queues struct {
	publishes *publisher
	writes    *batcher // all others
	reads     *batcher // apart, because their answers are long
	probes    *batcher // apart, because they may not wait in a queue
}

// newQueues returns queues for a partition, or for all of one server.
func (r *Redis) newQueues(partition, flushers int) *queues {
	return &queues{
		publishes: newPublisher(r.client, r.key(partition, "history", "id"), flushers),
		writes:    newBatcher(r.client, flushers, 256),
		reads:     newBatcher(r.client, flushers, 16),
		probes:    newBatcher(r.client, 2, partitions),
	}
}

// of returns the queues of a partition.
func (r *Redis) of(partition int) *queues { return r.queues[partition%len(r.queues)] }

// key returns the name of a partition's key, or of its part that belongs to a topic.
func (r *Redis) key(partition int, kind, name string) string {
	return r.opts.Prefix + "{" + tags[partition] + "}:" + kind + ":" + name
}

// Live returns the name of a topic's live channel, and the prefix that a payload
// needs to be heard there as Handler.Signal. So other scripts can signal as part of
// what they do: SPUBLISH channel prefix..payload. The channel's name holds the hash tag of
// the topic's partition.
func (r *Redis) Live(topic string) (channel, prefix string) {
	return r.key(partitionOf(topic), r.live, topic), string(liveSignal)
}

// A Connection is a live connection of an attachment, as Redis knows it.
type Connection struct {
	Key string // any name in the slot that leads to its server
	ID  int64  // its CLIENT ID there
}

// Connections lists the live connections that stand now. Once this process is dead,
// another one can end them (CLIENT KILL ID), so that they count as receivers no more.
func (r *Redis) Connections() []Connection {
	var all []Connection
	for _, l := range r.links {
		if id := l.id.Load(); id != 0 {
			all = append(all, Connection{l.probe, id})
		}
	}
	return all
}

// Run receives until ctx is done.
func (r *Redis) Run(ctx context.Context, h Handler) error {
	if r.invalid != nil {
		return r.invalid
	}
	if r.ran.Swap(true) {
		return errors.New("bus: Run was called twice")
	}
	r.ctx, r.handler = ctx, h
	var all sync.WaitGroup
	for _, l := range r.links {
		all.Go(func() { l.run(ctx) })
	}
	all.Go(func() { r.sweep(ctx) })
	all.Wait()
	r.heals.wait()
	return nil
}

// Subscribe notes the topics, and the link of each sees to the rest.
func (r *Redis) Subscribe(ctx context.Context, topics ...string) error {
	if r.invalid != nil {
		return r.invalid
	}
	for l, topics := range r.byLink(topics) {
		l.subscribe(topics)
	}
	return nil
}

func (r *Redis) Unsubscribe(ctx context.Context, topics ...string) error {
	if r.invalid != nil {
		return r.invalid
	}
	for l, topics := range r.byLink(topics) {
		l.unsubscribe(topics)
	}
	return nil
}

// byLink sorts topics by the link that hears them.
func (r *Redis) byLink(topics []string) map[*link][]string {
	if len(r.links) == 1 {
		return map[*link][]string{r.links[0]: topics}
	}
	m := make(map[*link][]string)
	for _, t := range topics {
		l := r.links[partitionOf(t)]
		m[l] = append(m[l], t)
	}
	return m
}

func (r *Redis) Stats() Stats {
	s := Stats{
		Reconnects: r.reconnects.Load(),
		Gaps:       r.gaps.Load(),
		Resets:     r.resets.Load(),
		Behind:     int(r.behind.Load()),
	}
	for i, l := range r.links { // as well as the worst one
		if heard := l.heardAt(); i == 0 || heard.Before(s.Heard) {
			s.Heard = heard
		}
	}
	return s
}

// warn tells the operator something once.
func (r *Redis) warn(msg string, args ...any) {
	if _, known := r.warned.LoadOrStore(msg, true); !known {
		r.opts.Logger.Warn(msg, args...)
	}
}

// positionLife returns how long the position of a topic is kept, in seconds. Half of
// it is left at least after any use, and that is longer than the log lives.
func (r *Redis) positionLife(topic string) int64 {
	_, age := r.opts.logBounds(topic)
	return int64(2 * max(positionLife, 2*age) / time.Second)
}
