package bench

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/rookery-chat/rookery/wire"
)

// Topics are many rooms of one member each, in which nothing happens.
type Topics struct {
	Topics   int           `default:"10000" env:"ROOKERY_BENCH_TOPICS" help:"How many rooms."`
	Each     int           `default:"1000" env:"ROOKERY_BENCH_EACH" help:"Rooms of one session; servers have --limit-topics."`
	Settle   time.Duration `default:"10s" env:"ROOKERY_BENCH_SETTLE" help:"How long to wait before measuring."`
	Duration time.Duration `default:"30s" env:"ROOKERY_BENCH_DURATION" help:"How long to measure."`
}

// joinsAtOnce is how many joins of a session are under way at a time.
const joinsAtOnce = 50

// Run measures.
func (c *Topics) Run(ctx context.Context, opts *Options) (*Report, error) {
	if c.Topics < 1 || c.Each < 1 || c.Settle < 0 || c.Duration <= 0 {
		return nil, errors.New("--topics, --each, --duration: want more than 0; --settle: not less than 0")
	}
	p, err := newPool(ctx, opts)
	if err != nil {
		return nil, err
	}
	defer p.end()
	for range (c.Topics + c.Each - 1) / c.Each {
		p.newSession(nil)
	}
	if err := p.connect(ctx, p.sessions, opts.Connects, connectsAtOnce); err != nil {
		return nil, err
	}
	if err := p.sleep(ctx, settling); err != nil {
		return nil, err
	}
	empty, err := opts.usage()
	if err != nil {
		return nil, err
	}
	asked, joined := 0, 0
	of := make(map[*session]int) // rooms that it asked for
	join := func(s *session) {
		if asked == c.Topics || of[s] == c.Each || s.state != open {
			return
		}
		topic := fmt.Sprintf("bench-%s-%d", p.run, asked)
		asked++
		of[s]++
		if err := s.command(wire.Command{Type: "join", ID: joinID, Topic: topic}); err != nil {
			s.lose(err)
		}
	}
	p.joined = func(s *session, _ *wire.Joined) {
		joined++
		join(s)
	}
	begun := p.clock()
	for range joinsAtOnce {
		for _, s := range p.sessions {
			join(s)
		}
	}
	stop := p.show("joining", func() float64 { return float64(joined) / float64(c.Topics) })
	cause := p.wait(ctx, func() bool { return joined == c.Topics || p.lost > 0 })
	stop()
	if cause == nil && p.lost > 0 {
		cause = fmt.Errorf("%d of %d rooms were joined", joined, c.Topics)
	}
	took := (p.clock() - begun).Seconds()
	busy, err := opts.usage()
	if err != nil {
		return nil, err
	}
	if cause == nil {
		cause = p.idle(ctx, "settling", c.Settle)
	}
	before, err := opts.usage()
	if err != nil {
		return nil, err
	}
	if cause == nil {
		cause = p.idle(ctx, "holding", c.Duration)
	}
	after, err := opts.usage()
	if err != nil {
		return nil, err
	}
	r := p.report("topics", cause)
	r.set("topics", joined)
	r.add("joins_per_second", float64(joined)/took)
	r.cpu(opts, busy.since(empty), float64(joined), "join")
	r.commands(opts, busy.since(empty), float64(joined), "join")
	grown, idle, seconds := after.since(empty), after.since(before), after.at.Sub(before.at).Seconds()
	if len(opts.PIDs) > 0 {
		r.add("server_rss_kib_per_topic", kib(grown.serverRSS, joined))
		r.add("server_cpu_s_per_minute", idle.server/seconds*60)
	}
	if len(opts.RedisPIDs) > 0 {
		r.add("redis_rss_kib_per_topic", kib(grown.redisRSS, joined))
		r.add("redis_cpu_s_per_minute", idle.redis/seconds*60)
	}
	r.commands(opts, idle, seconds, "second")
	return r, nil
}
