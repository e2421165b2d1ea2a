package bench

import (
	"context"
	"errors"
	"time"

	"github.com/rookery-chat/rookery/wire"
)

// Gather is one room that everybody joins at the same time, each watching who is there.
type Gather struct {
	Sessions int           `default:"1000" env:"ROOKERY_BENCH_SESSIONS" help:"How many come."`
	Within   time.Duration `default:"10s" env:"ROOKERY_BENCH_WITHIN" help:"In so long a time, evenly."`
}

// Run measures.
func (c *Gather) Run(ctx context.Context, opts *Options) (*Report, error) {
	if c.Sessions < 1 || c.Within <= 0 {
		return nil, errors.New("--sessions, --within: want more than 0")
	}
	p, err := newPool(ctx, opts)
	if err != nil {
		return nil, err
	}
	defer p.end()
	r := p.newRoom(0)
	for range c.Sessions {
		p.newSession(r)
	}
	var frames, bytes, names, listed, rosters uint64
	online, level := make(map[*session]int), 0
	knows := func(s *session, n int) {
		if online[s] == c.Sessions {
			level--
		}
		if online[s] = n; n == c.Sessions {
			level++
		}
	}
	p.joined = func(s *session, j *wire.Joined) {
		if j.Roster != nil {
			listed += uint64(len(j.Roster.Members))
			knows(s, j.Roster.Online)
		}
	}
	p.presence = func(s *session, f *wire.Presence, size int) {
		frames++
		bytes += uint64(size)
		names += uint64(len(f.Joined) + len(f.Left))
		if f.Roster != nil {
			rosters++
			names += uint64(len(f.Roster.Members))
		}
		knows(s, f.Online)
	}
	before, err := opts.usage()
	if err != nil {
		return nil, err
	}
	begun := p.clock()
	cause := p.connect(ctx, p.sessions, float64(c.Sessions)/c.Within.Seconds(), 2*connectsAtOnce)
	came := p.clock() - begun
	late := false
	p.after(2*patience, func() { late = true })
	if cause == nil {
		cause = p.wait(ctx, func() bool { return late || level == c.Sessions })
	}
	took := p.clock() - begun
	after, err := opts.usage()
	if err != nil {
		return nil, err
	}
	report := p.report("gather", cause)
	if level < c.Sessions && !report.Interrupted {
		report.fault("%d of %d members do not know how many are there", c.Sessions-level, c.Sessions)
	}
	n := float64(c.Sessions)
	report.add("seconds_of_coming", came.Seconds())
	report.add("seconds_until_all_know", took.Seconds())
	report.add("presence_frames", frames)
	report.add("presence_frames_per_member", float64(frames)/n)
	report.add("presence_bytes_per_member", float64(bytes)/n)
	report.add("presence_names_per_member", float64(names)/n)
	report.add("presence_rosters_per_member", float64(rosters)/n)
	report.add("roster_names_per_join", float64(listed)/n)
	report.add("received_bytes_per_member", float64(p.bytes)/n)
	report.cpu(opts, after.since(before), n, "join")
	report.commands(opts, after.since(before), n, "join")
	return report, nil
}
