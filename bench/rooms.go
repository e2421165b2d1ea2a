package bench

import (
	"context"
	"errors"
	"time"
)

// Rooms are many small rooms, whose members publish in turn.
type Rooms struct {
	Rooms    int           `default:"200" env:"ROOKERY_BENCH_ROOMS" help:"How many rooms."`
	Members  int           `default:"10" env:"ROOKERY_BENCH_MEMBERS" help:"Sessions in each of them."`
	Rate     float64       `default:"400" env:"ROOKERY_BENCH_RATE" help:"Messages a second, in all rooms together."`
	Duration time.Duration `default:"10s" env:"ROOKERY_BENCH_DURATION" help:"How long to measure."`
	Payload  int           `default:"128" env:"ROOKERY_BENCH_PAYLOAD" help:"Bytes of data in a message."`
}

// Run measures.
func (c *Rooms) Run(ctx context.Context, opts *Options) (*Report, error) {
	if c.Rooms < 1 || c.Members < 1 {
		return nil, errors.New("--rooms, --members: want at least 1")
	}
	if err := checkLoad(c.Rate, c.Duration, c.Payload); err != nil {
		return nil, err
	}
	p, err := newPool(ctx, opts)
	if err != nil {
		return nil, err
	}
	defer p.end()
	l := &load{pool: p}
	for i := range c.Rooms {
		r := p.newRoom(i)
		r.members = c.Members // who publishes gets it too
		l.rooms = append(l.rooms, r)
	}
	// The writers are in the order in which they publish: each room once, by another member each time.
	for n := range c.Members {
		for i, r := range l.rooms {
			s := p.newSession(r)
			s.target = p.targets[(i+n)%len(p.targets)] // every room has members on every server
			l.writers = append(l.writers, &writer{s, newPublication(r.name, c.Payload, true)})
		}
	}
	if err := p.connect(ctx, p.sessions, opts.Connects, connectsAtOnce); err != nil {
		return nil, err
	}
	if err := p.sleep(ctx, settling); err != nil {
		return nil, err
	}
	r, err := l.report("rooms", l.measure(ctx, c.Rate, c.Duration))
	if err != nil {
		return nil, err
	}
	r.set("payload_bytes", c.Payload)
	r.set("rate", c.Rate)
	r.set("members", c.Members)
	r.set("rooms", c.Rooms)
	return r, nil
}
