package bench

import (
	"context"
	"errors"
	"time"
)

// Publish is sessions that publish as fast as they are answered, each into a room of its own, of which nobody else gets anything.
type Publish struct {
	Sessions int           `default:"100" env:"ROOKERY_BENCH_SESSIONS" help:"Sessions that publish."`
	Window   int           `default:"32" env:"ROOKERY_BENCH_WINDOW" help:"Publishes of a session under way at a time."`
	Duration time.Duration `default:"10s" env:"ROOKERY_BENCH_DURATION" help:"How long to measure."`
	Payload  int           `default:"128" env:"ROOKERY_BENCH_PAYLOAD" help:"Bytes of data in a message."`
}

// Run measures.
func (c *Publish) Run(ctx context.Context, opts *Options) (*Report, error) {
	if c.Sessions < 1 || c.Window < 1 {
		return nil, errors.New("--sessions, --window: want at least 1")
	}
	if err := checkLoad(1, c.Duration, c.Payload); err != nil {
		return nil, err
	}
	p, err := newPool(ctx, opts)
	if err != nil {
		return nil, err
	}
	defer p.end()
	publications := make(map[*session]*publication)
	for i := range c.Sessions {
		r := p.newRoom(i)
		publications[p.newSession(r)] = newPublication(r.name, c.Payload, false)
	}
	if err := p.connect(ctx, p.sessions, opts.Connects, connectsAtOnce); err != nil {
		return nil, err
	}
	if err := p.sleep(ctx, settling); err != nil {
		return nil, err
	}
	talking := true
	// A session says the next half of its window when that much is answered, in one write.
	fill := func(s *session) {
		if under := int(s.lastID - s.answers); talking && s.state == open && under <= c.Window/2 {
			s.publishMany(publications[s], c.Window-under)
		}
	}
	p.answered = fill
	for _, s := range p.sessions {
		fill(s)
	}
	if err := p.sleep(ctx, warmUp); err != nil {
		return nil, err
	}
	before, err := opts.usage()
	if err != nil {
		return nil, err
	}
	acks, begun := p.acks, p.clock()
	stop := p.show("publishing", func() float64 { return float64(p.clock()-begun) / float64(c.Duration) })
	cause := p.sleep(ctx, c.Duration)
	stop()
	after, err := opts.usage()
	if err != nil {
		return nil, err
	}
	used, published, seconds := after.since(before), float64(p.acks-acks), after.at.Sub(before.at).Seconds()
	talking = false
	late := false
	p.after(patience, func() { late = true })
	if cause == nil {
		cause = p.wait(ctx, func() bool { return late || p.acks+p.denials >= p.published })
	}
	r := p.report("publish", cause)
	if unanswered := p.published - p.acks - p.denials; unanswered > 0 && !r.Interrupted {
		r.fault("%d publishes were not answered", unanswered)
	}
	r.set("payload_bytes", c.Payload)
	r.set("window", c.Window)
	r.add("published", p.acks)
	r.add("publishes_refused", p.denials)
	r.add("seconds_measured", seconds)
	r.add("publishes_per_second", published/seconds)
	r.cpu(opts, used, published, "publish")
	r.commands(opts, used, published, "publish")
	return r, nil
}
