package bench

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Fanout is one room: one session publishes, all others get it.
type Fanout struct {
	Subscribers int           `default:"1000" env:"ROOKERY_BENCH_SUBSCRIBERS" help:"Sessions that get each message."`
	Rate        float64       `default:"50" env:"ROOKERY_BENCH_RATE" help:"Messages a second."`
	Duration    time.Duration `default:"10s" env:"ROOKERY_BENCH_DURATION" help:"How long to measure."`
	Payload     int           `default:"128" env:"ROOKERY_BENCH_PAYLOAD" help:"Bytes of data in a message."`
	Saturate    bool          `env:"ROOKERY_BENCH_SATURATE" help:"Find the greatest rate at which the 99th percentile of latency stays below --bound."`
	Bound       time.Duration `default:"250ms" env:"ROOKERY_BENCH_BOUND" help:"That bound."`
}

// warmUp is published before measuring.
const warmUp = time.Second

// Run measures.
func (f *Fanout) Run(ctx context.Context, opts *Options) (*Report, error) {
	if f.Subscribers < 1 {
		return nil, errors.New("--subscribers: want at least 1")
	}
	if err := checkLoad(f.Rate, f.Duration, f.Payload); err != nil {
		return nil, err
	}
	p, err := newPool(ctx, opts)
	if err != nil {
		return nil, err
	}
	defer p.end()
	l := &load{pool: p, rooms: []*room{p.newRoom(0)}}
	for range f.Subscribers {
		p.newSession(l.rooms[0])
	}
	writers := 1
	if f.Saturate {
		writers = saturators
	}
	for range writers {
		l.writers = append(l.writers, &writer{p.newSession(l.rooms[0]), newPublication(l.rooms[0].name, f.Payload, false)})
	}
	l.rooms[0].members = len(p.sessions) - 1 // who publishes does not get it back, but does get what others publish
	if err := p.connect(ctx, p.sessions, opts.Connects, connectsAtOnce); err != nil {
		return nil, err
	}
	if err := p.sleep(ctx, settling); err != nil {
		return nil, err
	}
	var window int
	if f.Saturate {
		window, err = l.saturate(ctx, f.Duration, f.Bound)
	} else {
		err = l.measure(ctx, f.Rate, f.Duration)
	}
	r, err := l.report("fanout", err)
	if err != nil {
		return nil, err
	}
	r.set("subscribers", f.Subscribers)
	if f.Saturate {
		r.set("window", window)
	} else {
		r.set("rate", f.Rate)
	}
	r.set("payload_bytes", f.Payload)
	return r, nil
}

const (
	connectsAtOnce = 100         // while a scenario sets up
	settling       = time.Second // for what connecting leaves to do
)

// measure warms up, and then publishes in a window.
func (l *load) measure(ctx context.Context, perSecond float64, d time.Duration) error {
	if err := l.steady(ctx, perSecond, warmUp); err != nil {
		return err
	}
	if err := l.settle(ctx); err != nil {
		return err
	}
	if err := l.begin(); err != nil {
		return err
	}
	if err := l.steady(ctx, perSecond, d); err != nil {
		return err
	}
	return l.settle(ctx)
}

func checkLoad(perSecond float64, d time.Duration, payload int) error {
	switch {
	case perSecond <= 0:
		return errors.New("--rate: want more than 0")
	case d <= 0:
		return errors.New("--duration: want a time to come, such as 10s")
	case payload < minPayload || payload > maxData:
		return fmt.Errorf("--payload %d: want %d to %d bytes", payload, minPayload, maxData)
	}
	return nil
}

// maxData leaves room for the rest of a frame of 64 KiB.
const maxData = 60_000
