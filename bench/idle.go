package bench

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/rookery-chat/rookery/wire"
)

// Idle holds sessions that say nothing but their heartbeat.
type Idle struct {
	Sessions int           `default:"10000" env:"ROOKERY_BENCH_SESSIONS" help:"How many sessions."`
	Members  int           `default:"0" env:"ROOKERY_BENCH_MEMBERS" help:"Sessions in each room; 0: there are no rooms."`
	Settle   time.Duration `default:"55s" env:"ROOKERY_BENCH_SETTLE" help:"How long to wait before measuring: two heartbeats."`
	Duration time.Duration `default:"60s" env:"ROOKERY_BENCH_DURATION" help:"How long to measure."`
}

// heartbeat is how often a session sends a ping: the servers' default.
const heartbeat = 25 * time.Second

// Run measures.
func (c *Idle) Run(ctx context.Context, opts *Options) (*Report, error) {
	if c.Sessions < 1 || c.Members < 0 || c.Settle < 0 || c.Duration <= 0 {
		return nil, errors.New("--sessions, --duration: want more than 0; --members, --settle: not less than 0")
	}
	p, err := newPool(ctx, opts)
	if err != nil {
		return nil, err
	}
	defer p.end()
	var r *room
	for n := range c.Sessions {
		if c.Members > 0 && n%c.Members == 0 {
			r = p.newRoom(n)
		}
		p.newSession(r)
	}
	ping := appendFrame(nil, opText, wire.Command{Type: "ping", ID: otherID}.Append(nil))
	beats := 0
	p.onOpen = func(s *session) {
		var beat func()
		beat = func() {
			if s.state == open {
				beats++
				if err := s.send(ping); err != nil {
					s.lose(err)
				}
				p.after(heartbeat, beat)
			}
		}
		p.after(rand.N(heartbeat), beat) // spread evenly, however fast the sessions came in
	}
	empty, err := opts.usage()
	if err != nil {
		return nil, err
	}
	if err := p.connect(ctx, p.sessions, opts.Connects, connectsAtOnce); err != nil {
		return nil, err
	}
	full, err := opts.usage()
	if err != nil {
		return nil, err
	}
	if err := p.idle(ctx, "settling", c.Settle); err != nil {
		return nil, err
	}
	before, err := opts.usage()
	if err != nil {
		return nil, err
	}
	beats = 0
	cause := p.idle(ctx, "holding", c.Duration)
	after, err := opts.usage()
	if err != nil {
		return nil, err
	}
	report := p.report("idle", cause)
	report.set("members", c.Members)
	minutes := after.at.Sub(before.at).Minutes()
	used := after.since(before)
	report.add("seconds_measured", minutes*60)
	report.add("heartbeats", beats)
	if len(opts.PIDs) > 0 {
		report.add("server_rss_kib_per_connection_at_once", kib(full.since(empty).serverRSS, p.opens))
		report.add("server_cpu_s_per_minute", used.server/minutes)
	}
	if len(opts.RedisPIDs) > 0 {
		report.add("redis_cpu_s_per_minute", used.redis/minutes)
	}
	report.add("bench_cpu_s_per_minute", used.own/minutes)
	report.commands(opts, used, minutes*60, "second")
	report.memory(opts, after.since(empty), p.opens)
	return report, nil
}

// idle runs the loop for d, and shows it.
func (p *pool) idle(ctx context.Context, what string, d time.Duration) error {
	begun := time.Now()
	stop := p.show(what, func() float64 { return float64(time.Since(begun)) / float64(max(d, 1)) })
	defer stop()
	return p.sleep(ctx, d)
}

func kib(bytes uint64, of int) float64 { return float64(bytes) / 1024 / float64(of) }
