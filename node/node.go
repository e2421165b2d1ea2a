package node

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/time/rate"

	"github.com/rookery-chat/rookery/auth"
	"github.com/rookery-chat/rookery/bus"
	"github.com/rookery-chat/rookery/internal/seldom"
	"github.com/rookery-chat/rookery/presence"
	"github.com/rookery-chat/rookery/proxy"
	"github.com/rookery-chat/rookery/store"
	"github.com/rookery-chat/rookery/wire"
)

// Options are a node's settings. The zero value of each field is its default.
type Options struct {
	ID         string        // 64 random bits in hex
	Address    string        // where sessions find it, for who asks about nodes
	Version    string        // of the program, likewise
	MaxFrame   int           // bytes of one frame from a session; 64 KiB
	Heartbeat  time.Duration // how often a session sends something; 25 s
	Handshakes int           // admitted a second; 2,000
	DrainDelay time.Duration // from not ready to the first goodbye, so that load balancers notice; 0
	Drain      time.Duration // for goodbyes, the delay included; 15 s
	RingBudget int           // bytes of recent frames kept for sessions that are a little behind; 64 MiB
	Registerer prometheus.Registerer
	Limits     Limits
	Proxies    proxy.Trusted // whose X-Forwarded-For is believed; the limits of an address are not theirs

	// Auth verifies tokens. Without it everybody is let in under a name of their choice.
	Auth *auth.Verifier
	// Anonymous lets sessions without a token in beside those with one. Their users' names
	// get a "~" before them, which no name of a token's user may have.
	Anonymous bool
	// Closed is the rule for who has no permissions of their own: no rooms, and no writing to
	// others' inboxes. Otherwise all of them are open.
	Closed bool
	// Origins are the sites, beside the node's own, whose pages may connect: host patterns
	// such as example.com or *.example.com.
	Origins []string
	// Review is asked about each publish of a session before it is stored. A session's
	// publishes are reviewed and stored one at a time, in their order.
	Review Review
}

// A Review returns the compact JSON to store in the place of a publish's data, or an error
// that refuses the publish: a *wire.Error goes to the session as it is.
type Review func(ctx context.Context, topic string, p Publication) ([]byte, error)

// A Node is one edge of the cluster: it holds sessions and brings them the messages
// of their topics.
type Node struct {
	id         string             // Fixed at construction.
	address    string             // Fixed at construction.
	version    string             // Fixed at construction.
	bus        bus.Bus            // Fixed at construction.
	presence   presence.Presence  // Fixed at construction.
	store      store.Store        // Fixed at construction.
	heartbeat  time.Duration      // Fixed at construction.
	rhythm     rhythm             // Fixed at construction.
	maxFrame   int                // Fixed at construction.
	drainDelay time.Duration      // Fixed at construction.
	drainTime  time.Duration      // Fixed at construction.
	ringBudget int                // of one shard. Fixed at construction.
	auth       *auth.Verifier     // Nil when everybody is anonymous. Fixed at construction.
	anonymous  bool               // Fixed at construction.
	rule       auth.Permissions   // for who has none of their own. Fixed at construction.
	origins    []string           // Fixed at construction.
	review     Review             // Nil where nobody is asked. Fixed at construction.
	shards     []*shard           // Fixed at construction.
	interest   *interest          // Fixed at construction.
	rosters    *rosters           // Fixed at construction.
	metrics    *metrics           // Fixed at construction.
	admission  *admission         // Fixed at construction.
	limits     Limits             // Fixed at construction.
	proxies    proxy.Trusted      // Fixed at construction.
	addresses  *addresses         // Fixed at construction.
	publishers *ledger[string]    // what users publish. Fixed at construction.
	started    time.Time          // Fixed at construction.
	questions  questions          // to other nodes
	sanctions  *sanctions         // Fixed at construction.
	users      *userCounts        // Fixed at construction.
	logReads   chan struct{}      // bounds reads of the log. Fixed at construction.
	stopped    context.Context    // ends when Run is over. Fixed at construction.
	stop       context.CancelFunc // Fixed at construction.

	counter  atomic.Uint64 // numbers sessions
	draining atomic.Bool
	failures seldom.Log // of what sessions and others ask for: many fail alike when Redis is in trouble

	sessions sync.WaitGroup // Run waits for them
	helpers  sync.WaitGroup // reads of the log, roster loads; Run waits for them

	acceptMu sync.Mutex
	closed   bool // no more sessions. Guarded by acceptMu.
}

// New makes a node of a cluster that it reaches by b, p and st. It does nothing until Run.
func New(b bus.Bus, p presence.Presence, st store.Store, opts *Options) *Node {
	o := Options{}
	if opts != nil {
		o = *opts
	}
	if o.ID == "" {
		o.ID = NewID()
	}
	n := &Node{
		id: o.ID, address: o.Address, version: o.Version, bus: b, presence: p, store: st,
		heartbeat:  or(o.Heartbeat, 25*time.Second),
		maxFrame:   or(o.MaxFrame, wire.MaxFrame),
		drainDelay: o.DrainDelay,
		drainTime:  or(o.Drain, 15*time.Second),
		auth:       o.Auth,
		anonymous:  o.Anonymous || o.Auth == nil,
		rule:       auth.Open(),
		origins:    o.Origins,
		review:     o.Review,
		admission:  newAdmission(or(o.Handshakes, 2000)),
		limits:     o.Limits.withDefaults(),
		proxies:    o.Proxies,
		publishers: newLedger[string](),
		started:    time.Now(),
		questions:  questions{open: make(map[string]chan report)},
		users:      &userCounts{counts: make(map[string]int)},
		logReads:   make(chan struct{}, maxLogReads),
	}
	n.rhythm = newRhythm(n.heartbeat)
	if o.Closed {
		n.rule = auth.Grant(nil, nil, nil)
	}
	n.stopped, n.stop = context.WithCancel(context.Background())
	n.interest = newInterest(n)
	n.rosters = newRosters(n)
	n.sanctions = newSanctions(n)
	n.addresses = &addresses{node: n, ledger: newLedger[netip.Addr](), hint: rate.Sometimes{Interval: time.Minute}}
	const maxShards = 64 // bits of heard.shards
	count := min(runtime.GOMAXPROCS(0), maxShards)
	n.ringBudget = or(o.RingBudget, 64<<20) / count
	for i := range count {
		n.shards = append(n.shards, newShard(n, i))
	}
	n.metrics = newMetrics(n, o.Registerer)
	return n
}

// NewID returns 64 random bits in hex.
func NewID() string {
	var b [8]byte
	rand.Read(b[:])
	return hex.EncodeToString(b[:])
}

func or[T comparable](value, otherwise T) T {
	var zero T
	if value == zero {
		return otherwise
	}
	return value
}

// ID is the node's id.
func (n *Node) ID() string { return n.id }

// Run serves until ctx is done, then drains: it says that it is not ready, goes on for the
// drain delay, sends every session away, and returns when all of its goroutines ended.
// Handler must stay reachable meanwhile.
func (n *Node) Run(ctx context.Context) error {
	var background sync.WaitGroup
	inner, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	failed := make(chan error, 2)
	background.Go(func() { failed <- n.bus.Run(inner, n.interest) })
	background.Go(func() { failed <- n.presence.Run(inner) })
	background.Go(func() { n.interest.run(inner) })
	background.Go(func() { n.rosters.run(inner) })
	background.Go(func() { n.sanctions.run(inner) })
	background.Go(func() { n.runTimers(inner) })
	n.interest.hearOrders(nodeTopic(n.id))
	for _, sh := range n.shards {
		background.Go(func() { sh.run(inner) })
		if sh.lot != nil {
			background.Go(func() { sh.lot.run(inner) })
		}
	}

	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
		err = fmt.Errorf("the node cannot go on: %w", or(err, errors.New("its bus or presence ended")))
	}
	n.drain()
	n.abortAll()
	n.stop()
	n.sessions.Wait()
	for _, sh := range n.shards {
		sh.readers.Wait()
	}
	n.helpers.Wait()
	cancel()
	background.Wait()
	return err
}

// Draining reports whether the node is on its way out.
func (n *Node) Draining() bool { return n.draining.Load() }

// Ready returns nil when the node can serve: it is not draining, knows who is banned, and
// has lately heard a probe of its own through the bus.
func (n *Node) Ready() error {
	const silence = 5 * time.Second
	if n.Draining() {
		return errors.New("draining")
	}
	if !n.sanctions.ready() {
		return errors.New("the bans were not read yet: nobody is let in before")
	}
	if heard := n.bus.Stats().Heard; time.Since(heard) > silence {
		return errors.New("no probe came back through the bus for 5 s")
	}
	return nil
}

// drain sends all sessions away, spread over the drain time.
func (n *Node) drain() {
	n.draining.Store(true)
	begin := time.Now()
	time.Sleep(n.drainDelay)
	n.acceptMu.Lock()
	n.closed = true
	n.acceptMu.Unlock()
	left := n.drainTime - time.Since(begin)
	for _, sh := range n.shards {
		sh.mail.post(func() {
			sh.away = true
			sh.sendAway(sh.some(100), left/2)
		})
	}
	gone := make(chan struct{})
	n.helpers.Go(func() { n.sessions.Wait(); close(gone) })
	select {
	case <-gone:
	case <-time.After(left):
	}
}

// abortAll ends the connections that are still there.
func (n *Node) abortAll() {
	for _, sh := range n.shards {
		done := make(chan struct{})
		sh.mail.post(func() {
			for _, s := range sh.sessions {
				sh.cut(s)
			}
			close(done)
		})
		<-done
	}
}

// pause waits for d. False means that Run is over.
func (n *Node) pause(d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-n.stopped.Done():
		return false
	}
}

// A Publication is a message on its way to the log.
type Publication struct {
	Data    []byte // compact JSON
	From    string // the user or service that publishes
	Session string // "" from a server
	To      string // in the sender's own copy of a direct message: whom it went to
	Key     string // makes it safe to repeat
	Except  []string
}

// draft is p as the bus takes it. It holds nothing of p's Data.
func (p Publication) draft() bus.Draft {
	return bus.Draft{Payload: wire.AppendPayload(nil, p.From, p.Session, p.To, p.Data), User: p.From, Key: p.Key, Except: p.Except}
}

// Publish stores a message in a topic's log and brings it to the topic's sessions on
// every node. An error that wraps bus.ErrUnavailable leaves open whether it was stored:
// repeat it with the same key.
func (n *Node) Publish(ctx context.Context, topic string, p Publication) (bus.Receipt, error) {
	begin := time.Now()
	receipt, err := n.bus.Publish(ctx, topic, p.draft())
	n.metrics.published(time.Since(begin), err)
	return receipt, err
}

// userCounts counts the node's sessions by user.
type userCounts struct {
	mu     sync.Mutex
	counts map[string]int // Guarded by mu.
}

// add counts one more session, unless the user has most already.
func (u *userCounts) add(user string, most int) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.counts[user] >= most {
		return false
	}
	u.counts[user]++
	return true
}

func (u *userCounts) has(user string) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.counts[user] > 0
}

func (u *userCounts) remove(user string) {
	u.mu.Lock()
	if u.counts[user]--; u.counts[user] == 0 {
		delete(u.counts, user)
	}
	u.mu.Unlock()
}

func (u *userCounts) len() int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return len(u.counts)
}

// Handler serves GET /ws (rookery.v1) and GET /plain (plain text).
func (n *Node) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /ws", n.serveProtocol)
	mux.HandleFunc("GET /plain", n.servePlain)
	return mux
}
