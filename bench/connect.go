package bench

import (
	"context"
	"errors"
	"time"
)

// Connect opens sessions as fast as the servers let them in: each connects, upgrades, says hello and is welcomed.
type Connect struct {
	Sessions int     `default:"5000" env:"ROOKERY_BENCH_SESSIONS" help:"How many sessions."`
	Rate     float64 `env:"ROOKERY_BENCH_RATE" help:"Connections a second; 0: as fast as they are answered."`
	AtOnce   int     `default:"100" env:"ROOKERY_BENCH_AT_ONCE" help:"Connections under way at a time."`
}

// Run measures.
func (c *Connect) Run(ctx context.Context, opts *Options) (*Report, error) {
	if c.Sessions < 1 || c.AtOnce < 1 || c.Rate < 0 {
		return nil, errors.New("--sessions, --at-once: want at least 1; --rate: want 0 or more")
	}
	p, err := newPool(ctx, opts)
	if err != nil {
		return nil, err
	}
	defer p.end()
	for range c.Sessions {
		p.newSession(nil)
	}
	p.onOpen = func(s *session) { p.latency.RecordValue(time.Since(s.begun).Microseconds()) }
	before, err := opts.usage()
	if err != nil {
		return nil, err
	}
	cause := p.connect(ctx, p.sessions, c.Rate, c.AtOnce)
	seconds := time.Since(before.at).Seconds()
	if cause == nil {
		cause = p.sleep(ctx, settling) // what a node does for a session in the background is part of its price
	}
	after, err := opts.usage()
	if err != nil {
		return nil, err
	}
	if cause != nil && p.opens == 0 {
		return nil, cause
	}
	r := p.report("connect", cause)
	r.set("rate", c.Rate)
	r.add("connects_per_second", float64(p.opens)/seconds)
	r.cpu(opts, after.since(before), float64(p.opens), "connection")
	r.memory(opts, after.since(before), p.opens)
	r.latency("welcome", p.latency)
	return r, nil
}
