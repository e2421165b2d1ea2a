package bench

import (
	"context"
	"errors"
	"time"

	"github.com/rookery-chat/rookery/wire"
)

// Churn is one room whose members see others come and go.
type Churn struct {
	Members  int           `default:"500" env:"ROOKERY_BENCH_MEMBERS" help:"Sessions that stay in the room and watch."`
	Churners int           `default:"200" env:"ROOKERY_BENCH_CHURNERS" help:"Sessions that join and leave it in turn."`
	Rate     float64       `default:"200" env:"ROOKERY_BENCH_RATE" help:"Joins and leaves a second, of all together."`
	Duration time.Duration `default:"10s" env:"ROOKERY_BENCH_DURATION" help:"How long."`
}

// A churn is a Churn that runs.
type churn struct {
	*pool
	room     *room
	members  []*session
	churners []*churner
	byName   map[string]int // churners
	watchers map[*session]*watcher

	changes, frames, bytes, names uint64
	faults                        uint64 // who was in joined, or who was not left
}

type churner struct {
	session *session
	in      bool
	changed time.Duration // when, by the pool's clock
}

// A watcher is what one member was told.
type watcher struct {
	online int
	in     []bool // by churner
	blind  bool   // it was given a part of the roster: of others it does not know
}

// Run measures.
func (c *Churn) Run(ctx context.Context, opts *Options) (*Report, error) {
	if c.Members < 1 || c.Churners < 1 {
		return nil, errors.New("--members, --churners: want at least 1")
	}
	if err := checkLoad(c.Rate, c.Duration, minPayload); err != nil {
		return nil, err
	}
	p, err := newPool(ctx, opts)
	if err != nil {
		return nil, err
	}
	defer p.end()
	h := &churn{pool: p, room: p.newRoom(0), byName: make(map[string]int), watchers: make(map[*session]*watcher)}
	p.joined, p.presence = h.joins, h.hears
	for range c.Members {
		h.members = append(h.members, p.newSession(h.room))
	}
	for range c.Churners {
		h.churners = append(h.churners, &churner{session: p.newSession(nil)})
	}
	if err := p.connect(ctx, p.sessions, opts.Connects, connectsAtOnce); err != nil {
		return nil, err
	}
	for i, ch := range h.churners {
		h.byName[ch.session.user] = i
	}
	if len(h.byName) < len(h.churners) {
		return nil, errors.New("all sessions are the same user, whom nobody sees coming or going: give --auth-secret, not --token")
	}
	if err := h.quiet(ctx); err != nil {
		return nil, err
	}
	if !h.true() {
		return nil, errors.New("the members do not see each other: is presence in order on the servers?")
	}
	h.changes, h.frames, h.bytes, h.names, h.faults = 0, 0, 0, 0, 0
	before, err := opts.usage()
	if err != nil {
		return nil, err
	}
	cause := h.comeAndGo(ctx, c.Rate, c.Duration)
	if cause == nil {
		cause = h.quiet(ctx)
	}
	after, err := opts.usage()
	if err != nil {
		return nil, err
	}
	return h.report(c, cause, after.since(before)), nil
}

// comeAndGo toggles churners in turn, and lets all of them leave at the end.
func (h *churn) comeAndGo(ctx context.Context, perSecond float64, d time.Duration) error {
	begun, total := time.Now(), int(perSecond*d.Seconds())
	next := 0
	var tick func()
	tick = func() {
		for ; next < total; next++ {
			due := begun.Add(time.Duration(float64(next) / perSecond * float64(time.Second)))
			if time.Until(due) > 0 {
				h.at(due, tick)
				return
			}
			h.toggle(h.churners[next%len(h.churners)])
		}
	}
	tick()
	stop := h.show("coming and going", func() float64 { return float64(next) / float64(max(total, 1)) })
	defer stop()
	if err := h.wait(ctx, func() bool { return next >= total }); err != nil {
		return err
	}
	for _, ch := range h.churners {
		if ch.in {
			h.toggle(ch)
		}
	}
	return nil
}

func (h *churn) toggle(ch *churner) {
	if ch.session.state != open {
		return
	}
	command := wire.Command{Type: "join", ID: otherID, Topic: h.room.name}
	if ch.in {
		command.Type = "leave"
	}
	ch.in, ch.changed = !ch.in, h.clock()
	h.changes++
	if err := ch.session.command(command); err != nil {
		ch.session.lose(err)
	}
}

// joins begins a member's watch with the roster that it got.
func (h *churn) joins(s *session, j *wire.Joined) {
	if s.room != nil && j.Roster != nil {
		h.watchers[s] = &watcher{online: j.Roster.Online, in: make([]bool, len(h.churners))}
	}
}

// hears takes what a member is told.
func (h *churn) hears(s *session, p *wire.Presence, size int) {
	w := h.watchers[s]
	if w == nil {
		return
	}
	h.frames++
	h.bytes += uint64(size)
	h.names += uint64(len(p.Joined) + len(p.Left))
	w.online = p.Online
	if p.Roster != nil {
		h.names += uint64(len(p.Roster.Members))
		w.blind = p.Roster.More
		clear(w.in)
		for _, name := range p.Roster.Members {
			if i, ok := h.byName[name]; ok {
				w.in[i] = true
			}
		}
	}
	h.told(w, p.Joined, true)
	h.told(w, p.Left, false)
}

func (h *churn) told(w *watcher, names []string, in bool) {
	for _, name := range names {
		i, ok := h.byName[name]
		if !ok {
			continue // a member, before it began
		}
		if w.in[i] == in && !w.blind {
			h.faults++
		}
		w.in[i] = in
		if ch := h.churners[i]; ch.in == in {
			h.latency.RecordValue((h.clock() - ch.changed).Microseconds())
		}
	}
}

// quiet waits until every member has the truth, for as long as patience.
func (h *churn) quiet(ctx context.Context) error {
	late := false
	h.after(patience, func() { late = true })
	return h.wait(ctx, func() bool { return late || h.true() })
}

// true reports whether every member knows who is there: all members, and no churner.
func (h *churn) true() bool { return len(h.wrong()) == 0 }

// wrong returns members that have it wrong.
func (h *churn) wrong() (wrong []*session) {
	for _, s := range h.members {
		w := h.watchers[s]
		ok := w != nil && w.online == len(h.members)
		for i := 0; ok && i < len(w.in); i++ {
			ok = w.blind || !w.in[i]
		}
		if !ok {
			wrong = append(wrong, s)
		}
	}
	return wrong
}

func (h *churn) report(c *Churn, cause error, used usage) *Report {
	r := h.pool.report("presence-churn", cause)
	r.set("rate", c.Rate)
	r.set("churners", c.Churners)
	r.set("members", c.Members)
	wrong, blind := len(h.wrong()), 0
	for _, w := range h.watchers {
		if w.blind {
			blind++
		}
	}
	r.add("changes", h.changes)
	r.add("frames_received", h.frames)
	r.add("names_received", h.names)
	r.add("names_per_frame", float64(h.names)/float64(h.frames))
	r.add("bytes_per_frame", float64(h.bytes)/float64(h.frames))
	r.add("frames_per_change_and_member", float64(h.frames)/float64(h.changes)/float64(c.Members))
	r.add("members_wrong_at_the_end", wrong)
	r.add("members_with_a_part", blind)
	r.add("contradictions", h.faults)
	if wrong > 0 && !r.Interrupted {
		r.fault("%d members have another roster than there is", wrong)
	}
	if h.faults > 0 {
		r.fault("%d times a user joined who was there, or left who was not", h.faults)
	}
	r.cpu(h.opts, used, float64(h.changes), "change")
	r.latency("seen", h.latency)
	return r
}
