package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"

	"github.com/rookery-chat/rookery/auth"
	"github.com/rookery-chat/rookery/bench"
)

type benchCmd struct {
	Fanout   fanoutCmd       `cmd:"" help:"One session publishes, a thousand get it."`
	Rooms    roomsCmd        `cmd:"" help:"Many small rooms, whose members publish in turn."`
	Idle     idleCmd         `cmd:"" help:"Sessions that say nothing but their heartbeat: memory, and CPU time a minute."`
	Connect  connectCmd      `cmd:"" help:"Sessions that come in, as fast as they are let in."`
	Resume   resumeCmd       `cmd:"" help:"All sessions come back at once after a cut, and catch up."`
	Publish  benchPublishCmd `cmd:"" help:"Sessions that publish as fast as they are answered."`
	Topics   topicsCmd       `cmd:"" help:"Many rooms in which nothing happens: joins a second, memory, and commands of Redis."`
	Gather   gatherCmd       `cmd:"" help:"A room that everybody joins at the same time."`
	Churn    churnCmd        `cmd:"" name:"presence-churn" help:"A room that sees others come and go."`
	Baseline baselineCmd     `cmd:"" help:"Serve as little as can be served, to measure beside it."`
}

// benchFlags are what all scenarios take.
type benchFlags struct {
	URL         []string `name:"url" default:"ws://127.0.0.1:8000/ws" env:"ROOKERY_BENCH_URL" help:"Address of a node (ws://); sessions connect to several in turn."`
	PID         []int    `name:"pid" env:"ROOKERY_BENCH_PID" placeholder:"PID" help:"Process of a node on this machine, whose CPU time and memory are told; repeatable."`
	RedisPID    []int    `name:"redis-pid" env:"ROOKERY_BENCH_REDIS_PID" placeholder:"PID" help:"Process of Redis, told apart; repeatable."`
	Redis       string   `name:"redis" env:"ROOKERY_BENCH_REDIS" placeholder:"URL" help:"Redis of the nodes, whose commands are counted."`
	Token       string   `name:"token" env:"ROOKERY_TOKEN" placeholder:"JWT" help:"Token of the one user that all sessions then are."`
	AuthSecret  string   `name:"auth-secret" env:"ROOKERY_AUTH_SECRET" placeholder:"SECRET" help:"The secret that the nodes have as --auth-secret: each session gets a token of its own user."`
	UserPrefix  string   `name:"user-prefix" default:"bench" env:"ROOKERY_BENCH_USER_PREFIX" help:"How users' names begin."`
	SourceRange string   `name:"source-range" env:"ROOKERY_BENCH_SOURCE_RANGE" placeholder:"FROM-TO" help:"Addresses that connections come from, since one has 28,000 ports only: 127.0.0.2-127.0.0.33, which is also taken when the nodes are on loopback."`
	ConnectRate float64  `name:"connect-rate" default:"1000" env:"ROOKERY_BENCH_CONNECT_RATE" help:"Connections a second while the sessions come in, before measuring."`
	JSON        bool     `name:"json" env:"ROOKERY_BENCH_JSON" help:"Print one line of JSON; the table then goes to standard error."`
	SVG         string   `name:"svg" type:"path" env:"ROOKERY_BENCH_SVG" placeholder:"FILE" help:"Draw the latencies into a file."`
}

// A scenario is one of package bench.
type scenario interface {
	Run(ctx context.Context, opts *bench.Options) (*bench.Report, error)
}

type fanoutCmd struct {
	benchFlags
	bench.Fanout
}

type roomsCmd struct {
	benchFlags
	bench.Rooms
}

type idleCmd struct {
	benchFlags
	bench.Idle
}

type connectCmd struct {
	benchFlags
	bench.Connect
}

type resumeCmd struct {
	benchFlags
	bench.Resume
}

type benchPublishCmd struct {
	benchFlags
	bench.Publish
}

type topicsCmd struct {
	benchFlags
	bench.Topics
}

type gatherCmd struct {
	benchFlags
	bench.Gather
}

type churnCmd struct {
	benchFlags
	bench.Churn
}

func (c *fanoutCmd) Run(ctx context.Context) error       { return c.run(ctx, &c.Fanout) }
func (c *roomsCmd) Run(ctx context.Context) error        { return c.run(ctx, &c.Rooms) }
func (c *idleCmd) Run(ctx context.Context) error         { return c.run(ctx, &c.Idle) }
func (c *connectCmd) Run(ctx context.Context) error      { return c.run(ctx, &c.Connect) }
func (c *resumeCmd) Run(ctx context.Context) error       { return c.run(ctx, &c.Resume) }
func (c *benchPublishCmd) Run(ctx context.Context) error { return c.run(ctx, &c.Publish) }
func (c *topicsCmd) Run(ctx context.Context) error       { return c.run(ctx, &c.Topics) }
func (c *gatherCmd) Run(ctx context.Context) error       { return c.run(ctx, &c.Gather) }
func (c *churnCmd) Run(ctx context.Context) error        { return c.run(ctx, &c.Churn) }

type baselineCmd struct {
	Listen string `default:"127.0.0.1:8000" env:"ROOKERY_LISTEN" help:"Address to serve on."`
}

func (c *baselineCmd) Run(ctx context.Context) error {
	l, err := listen(ctx, c.Listen)
	if err != nil {
		return fmt.Errorf("--listen: %w", err)
	}
	fmt.Fprintln(os.Stderr, "the baseline listens on", l.Addr())
	return bench.Baseline(ctx, l)
}

// run measures, prints what was found, and fails when a delivery did not come as it should.
func (f *benchFlags) run(ctx context.Context, s scenario) error {
	opts := &bench.Options{
		URLs: f.URL, UserPrefix: f.UserPrefix, Sources: f.SourceRange, PIDs: f.PID, RedisPIDs: f.RedisPID, Redis: f.Redis, Connects: f.ConnectRate,
	}
	switch {
	case f.Token != "":
		opts.Token = func(string) (string, error) { return f.Token, nil }
	case f.AuthSecret != "":
		opts.Token = func(user string) (string, error) { return auth.Mint(f.AuthSecret, user, time.Hour, nil) }
	}
	if term.IsTerminal(int(os.Stderr.Fd())) {
		opts.Progress = progress(os.Stderr)
	}
	r, err := s.Run(ctx, opts)
	if opts.Progress != nil {
		opts.Progress("", 0)
	}
	if err != nil {
		return err
	}
	if f.SVG != "" {
		if err := drawSVG(f.SVG, r); err != nil {
			return fmt.Errorf("--svg: %w", err)
		}
	}
	return f.print(r)
}

func (f *benchFlags) print(r *bench.Report) error {
	table := io.Writer(os.Stdout)
	if f.JSON {
		table = os.Stderr
		if err := json.NewEncoder(os.Stdout).Encode(r); err != nil {
			return err
		}
	}
	if err := r.WriteTable(table); err != nil {
		return err
	}
	return r.Err()
}

func drawSVG(name string, r *bench.Report) error {
	file, err := os.Create(name)
	if err != nil {
		return err
	}
	defer file.Close()
	if err := r.WriteSVG(file); err != nil {
		return err
	}
	return file.Close()
}

// progress draws a bar for each thing that a scenario waits for. What is "" clears the last one.
func progress(w io.Writer) func(what string, share float64) {
	const steps = 1000
	var bar *progressbar.ProgressBar
	var shown string
	return func(what string, share float64) {
		if what != shown {
			if bar != nil {
				bar.Clear()
			}
			bar, shown = nil, what
		}
		if what == "" {
			return
		}
		if bar == nil {
			bar = progressbar.NewOptions(steps, progressbar.OptionSetWriter(w), progressbar.OptionSetDescription(what),
				progressbar.OptionSetWidth(30), progressbar.OptionClearOnFinish(), progressbar.OptionSetElapsedTime(true), progressbar.OptionSetPredictTime(false))
		}
		bar.Set(min(int(share*steps), steps-1))
	}
}
