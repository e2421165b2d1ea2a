package bench

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/rookery-chat/rookery/wire"
)

// A pool is all sessions of one benchmark. It is owned by the goroutine that runs its loop.
type pool struct {
	*loop
	opts    *Options
	targets []*target
	sources *sources
	started time.Time
	run     string // makes names of this run its own
	failed  error  // ends the run

	sessions []*session
	waiting  []*session // to be connected
	opening  int        // on their way
	opens    int        // sessions that are open
	pace     pace       // of connecting

	tally      tally
	latency    *hdrhistogram.Histogram // µs
	published  uint64
	acks       uint64
	denials    uint64 // publishes that were refused
	denial     *wire.Error
	refused    uint64 // connections that were told to come back
	lost       uint64 // sessions that broke while open
	lostReason error
	resets     uint64
	bytes      uint64 // that came in
	resuming   bool   // sessions keep their positions

	// Called by sessions; may be nil.
	onOpen    func(*session)
	delivered func(*session)
	answered  func(*session) // a publish, either way
	joined    func(*session, *wire.Joined)
	presence  func(s *session, p *wire.Presence, size int)
}

// A pace bounds how fast connections are made.
type pace struct {
	perSecond float64 // 0: as fast as they are answered
	atOnce    int
	begun     time.Time
	dialled   int
	timed     bool // a timer is set
}

func newPool(ctx context.Context, opts *Options) (*pool, error) {
	if len(opts.URLs) == 0 {
		return nil, errors.New("give at least one --url")
	}
	p := &pool{opts: opts, started: time.Now(), run: strconv.FormatUint(rand.Uint64()>>24, 36), latency: newHistogram()}
	for _, u := range opts.URLs {
		t, err := newTarget(ctx, u)
		if err != nil {
			return nil, err
		}
		p.targets = append(p.targets, t)
	}
	var err error
	if p.sources, err = newSources(opts.Sources, p.targets); err != nil {
		return nil, err
	}
	if _, err := opts.usage(); err != nil {
		return nil, err
	}
	p.loop, err = newLoop()
	return p, err
}

// newHistogram holds latencies from 1 µs to 1 min, in µs.
func newHistogram() *hdrhistogram.Histogram {
	return hdrhistogram.New(1, time.Minute.Microseconds(), 3)
}

// end closes everything. Users of the sessions are seen leaving at once.
func (p *pool) end() {
	for _, s := range p.sessions {
		s.bye()
	}
	p.loop.close()
}

// clock is the time since the pool's start.
func (p *pool) clock() time.Duration { return time.Since(p.started) }

// newRoom returns a room that no other run has.
func (p *pool) newRoom(number int) *room { return newRoom(fmt.Sprintf("bench-%s-%d", p.run, number)) }

// newSession returns one more session, of a user of its own. It connects to the servers in turn.
func (p *pool) newSession(r *room) *session {
	n := len(p.sessions)
	s := &session{pool: p, target: p.targets[n%len(p.targets)], room: r, user: fmt.Sprintf("%s-%s-%d", p.opts.UserPrefix, p.run, n)}
	if p.resuming {
		s.positions = make(map[string]wire.Position)
	}
	p.sessions = append(p.sessions, s)
	return s
}

// fail ends the run.
func (p *pool) fail(err error) {
	if p.failed == nil {
		p.failed = err
	}
}

// wait runs the loop until done, until the run has failed, or until ctx is done.
func (p *pool) wait(ctx context.Context, done func() bool) error {
	if err := p.loop.run(ctx, func() bool { return p.failed != nil || done() }); err != nil {
		return err
	}
	return p.failed
}

// sleep runs the loop for d.
func (p *pool) sleep(ctx context.Context, d time.Duration) error {
	over := false
	p.after(d, func() { over = true })
	return p.wait(ctx, func() bool { return over })
}

// connect opens sessions and waits until all are in. It shows its progress.
func (p *pool) connect(ctx context.Context, sessions []*session, perSecond float64, atOnce int) error {
	p.pace = pace{perSecond: perSecond, atOnce: atOnce, begun: time.Now()}
	p.waiting = append(p.waiting, sessions...)
	want := p.opens + len(sessions)
	p.dialMore()
	stop := p.show("connecting", func() float64 { return float64(p.opens) / float64(want) })
	defer stop()
	return p.wait(ctx, func() bool { return p.opens >= want })
}

// dialMore begins as many connections as the pace permits.
func (p *pool) dialMore() {
	for len(p.waiting) > 0 && p.opening < p.pace.atOnce && p.failed == nil {
		if p.pace.perSecond > 0 && float64(p.pace.dialled) > p.pace.perSecond*time.Since(p.pace.begun).Seconds() {
			if !p.pace.timed {
				p.pace.timed = true
				p.after(time.Millisecond, func() { p.pace.timed = false; p.dialMore() })
			}
			return
		}
		s := p.waiting[0]
		p.waiting = p.waiting[1:]
		p.pace.dialled++
		p.opening++
		s.dial()
	}
}

func (p *pool) hasOpened(s *session) {
	p.opening--
	p.opens++
	if p.onOpen != nil {
		p.onOpen(s)
	}
	p.dialMore()
}

// comeBack closes a connection that was refused and tries it again later.
func (p *pool) comeBack(s *session, wait time.Duration) {
	s.hangUp()
	p.refused++
	p.opening--
	p.after(wait, func() {
		p.waiting = append(p.waiting, s)
		p.dialMore()
	})
	p.dialMore()
}

func (p *pool) hasLost(s *session, was state, err error) {
	if was != open {
		var refusal *wire.Error
		if errors.As(err, &refusal) && refusal.Code == wire.Unauthorized {
			err = fmt.Errorf("%w (give --token or --auth-secret)", err)
		}
		p.fail(fmt.Errorf("%s does not get in at %s: %w", s.user, s.target.url, err))
		return
	}
	p.opens--
	p.lost++
	if p.lostReason == nil {
		p.lostReason = err
	}
}

// acknowledged counts a publish of s that is stored.
func (p *pool) acknowledged(s *session, offset uint64) {
	p.acks++
	s.room.stored++
	s.room.head = max(s.room.head, offset)
	p.wasAnswered(s)
}

func (p *pool) denied(s *session, err *wire.Error) {
	p.denials++
	p.denial = err
	p.wasAnswered(s)
}

func (p *pool) wasAnswered(s *session) {
	s.answers++
	if p.answered != nil {
		p.answered(s)
	}
}

// show calls the options' Progress a few times a second, until stop is called.
func (p *pool) show(what string, share func() float64) (stop func()) {
	if p.opts.Progress == nil {
		return func() {}
	}
	return p.every(200*time.Millisecond, func() { p.opts.Progress(what, share()) })
}
