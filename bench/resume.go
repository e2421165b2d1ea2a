package bench

import (
	"context"
	"errors"
	"time"

	"golang.org/x/sys/unix"
)

// Resume cuts all sessions off, publishes while they are away, and lets them all come back at once with their cursors.
type Resume struct {
	Sessions int `default:"5000" env:"ROOKERY_BENCH_SESSIONS" help:"How many sessions come back."`
	Rooms    int `default:"10" env:"ROOKERY_BENCH_ROOMS" help:"How many rooms they are in."`
	Missed   int `default:"20" env:"ROOKERY_BENCH_MISSED" help:"Messages that each of them misses meanwhile."`
	Payload  int `default:"128" env:"ROOKERY_BENCH_PAYLOAD" help:"Bytes of data in a message."`
	AtOnce   int `default:"500" env:"ROOKERY_BENCH_AT_ONCE" help:"Connections under way at a time when they come back."`
}

// Run measures.
func (c *Resume) Run(ctx context.Context, opts *Options) (*Report, error) {
	if c.Rooms < 1 || c.Sessions < c.Rooms || c.Missed < 1 || c.AtOnce < 1 {
		return nil, errors.New("--rooms, --missed, --at-once: want at least 1; --sessions: at least one a room")
	}
	if err := checkLoad(1, time.Second, c.Payload); err != nil {
		return nil, err
	}
	p, err := newPool(ctx, opts)
	if err != nil {
		return nil, err
	}
	defer p.end()
	p.resuming = true
	l := &load{pool: p}
	for i := range c.Rooms {
		r := p.newRoom(i)
		l.rooms = append(l.rooms, r)
		l.writers = append(l.writers, &writer{p.newSession(r), newPublication(r.name, c.Payload, false)})
	}
	for i := range c.Sessions {
		r := l.rooms[i%c.Rooms]
		r.members++
		p.newSession(r)
	}
	members := p.sessions[c.Rooms:]
	if err := p.connect(ctx, p.sessions, opts.Connects, connectsAtOnce); err != nil {
		return nil, err
	}
	if err := p.sleep(ctx, settling); err != nil {
		return nil, err
	}
	// One message comes live, so that cursors are where the session got to and not where it joined.
	if err := l.publishEach(ctx, 1); err != nil {
		return nil, err
	}
	if err := l.settle(ctx); err != nil {
		return nil, err
	}
	for _, s := range members {
		s.cut()
	}
	p.opens -= len(members)
	if err := l.publishEach(ctx, c.Missed); err != nil {
		return nil, err
	}
	if err := p.sleep(ctx, settling); err != nil {
		return nil, err
	}

	if err := l.begin(); err != nil {
		return nil, err
	}
	level, levels := newHistogram(), 0
	l.delivered = func(s *session) {
		if s.cursor.offset == s.room.head {
			levels++
			level.RecordValue((l.clock() - l.begun).Microseconds())
		}
	}
	cause := p.connect(ctx, members, 0, c.AtOnce)
	if cause == nil {
		cause = l.settle(ctx)
	}
	r, err := l.report("resume", cause)
	if err != nil {
		return nil, err
	}
	r.set("payload_bytes", c.Payload)
	r.set("missed", c.Missed)
	r.set("rooms", c.Rooms)
	r.add("sessions_level", levels)
	r.latency("time_to_level", level)
	return r, nil
}

// publishEach publishes count messages in each room and waits until they are stored.
func (l *load) publishEach(ctx context.Context, count int) error {
	for range count * len(l.writers) {
		l.publish(l.clock())
	}
	return l.wait(ctx, func() bool { return l.acks+l.denials >= l.published })
}

// cut ends the connection as a broken network does: without a word.
func (s *session) cut() {
	unix.SetsockoptLinger(s.fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
	s.hangUp()
}
