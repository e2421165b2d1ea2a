package main

import (
	"bufio"
	_ "embed"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/prometheus/procfs"
)

// tried is what the page tells of work on these figures, in the words of who did it.
//
//go:embed tried.md
var tried string

// document is docs/benchmarks.md. others is the share of the machine's CPU time that went elsewhere.
func (s *suite) document(others float64) string {
	var b strings.Builder
	fmt.Fprintf(&b, `# Benchmarks

`+"`make bench`"+` has written this page: it starts two nodes and a Redis on one machine, runs each scenario of
`+"`rookery bench`"+` over loopback, with 128 bytes of data in a message and all promises on (logs, presence, offsets), and
checks that every delivery came, once and in order. CPU is user and system time of both nodes together; what Redis and the load generator
use is told apart in each run's own report. Idle sessions send a ping each 25 s, as clients do. Nodes share the machine's
processors, as operations.md advises: each of two has %s (`+"`GOMAXPROCS`"+`), and so has the baseline.

*The baseline* is `+"`rookery bench baseline`"+`: one process that does nothing but write the same frames, one write(2) each, and answer pings. It
ran in turns with the nodes, so that the ratio to it holds on other machines, and on a noisy one, where the figure alone does not.
Figures beside a baseline are medians of three runs, the others, and the CPU time of idle connections, of one.

*Scaled* are budgets of time. They were set on a machine on which a bare loop's fan-out took %s µs a delivery; here the baseline took %s, and
so they are %.2f times as large in these columns. Whether a budget holds is what stands beside the budget itself.

| | |
|---|---|
| date | %s |
| machine | %s |
| software | %s |
| noise | other processes used %.0f %% of the machine's CPU time meanwhile |

## Budgets

| what | budget | measured | runs | holds | scaled | holds when scaled | baseline | ratio |
|---|---|---|---|---|---|---|---|---|
`, figure(float64(processorsEach(2))), figure(designBare), figure(s.bare), s.scale(), s.begun.UTC().Format(time.DateOnly), machine(), software(), 100*others)
	for _, r := range s.rows {
		fmt.Fprintf(&b, "| %s | %s | %s %s | %s | %s | %s | %s | %s | %s |\n", r.what, r.wanted(), figure(r.measured()), r.unit, r.spread(), r.holds(),
			r.scaled(s.scale()).wanted(), r.scaled(s.scale()).holds(), r.baseline(), r.ratio())
	}
	b.WriteString("\nThe commands, each with `--url` and `--pid` of both nodes and `--redis-pid`:\n\n```\n")
	shown := make(map[string]bool)
	for _, r := range s.rows {
		if !shown[r.command] {
			shown[r.command] = true
			fmt.Fprintf(&b, "rookery bench %s\n", r.command)
		}
	}
	b.WriteString("```\n")
	if len(s.faults) > 0 {
		b.WriteString("\n## Faults\n\nThese runs found something wrong, and their figures are worth little:\n\n")
		for _, f := range s.faults {
			fmt.Fprintf(&b, "- %s\n", f)
		}
	}
	l := s.limits
	fmt.Fprintf(&b, `
## What tokens and limits cost

They are to cost less than 5 %% of the CPU time of a delivery. In turns, %d times each, medians:

| nodes | command | µs a delivery | all runs |
|---|---|---|---|
| `+"`--auth-secret …`"+`, limits by default | `+"`%s`"+` | %s | %s |
| without, all limits at 1,000,000,000 | `+"`%s`"+` | %s | %s |

The difference is **%+.1f %%**: it %s. A token is verified once, in the hello, and limits are about what sessions send: neither is on the way of a delivery. What the runs of one row
differ by is the measurement's error.
`, len(l.withRuns), l.withCommand, figure(l.with), figures(l.withRuns), l.otherCommand, figure(l.without), figures(l.withoutRuns),
		100*(l.with/l.without-1), map[bool]string{true: "holds", false: "**does not hold**"}[l.with < 1.05*l.without])
	b.WriteString(tried)
	return b.String()
}

// designBare is what the bare write loop's fan-out took on the machine that the budgets are for, in µs a delivery.
const designBare = 5.6

// scale is how much slower this machine is than that one.
func (s *suite) scale() float64 { return s.bare / designBare }

// scaled is r with the budget of a machine that is so much slower. One that is not about time is none.
func (r row) scaled(by float64) row {
	switch {
	case r.unit == "KiB":
		r.budget = 0
	case r.atLeast:
		r.budget /= by
	default:
		r.budget *= by
	}
	return r
}

func (r row) wanted() string {
	switch {
	case r.budget == 0:
		return ""
	case r.atLeast:
		return "≥ " + figure(r.budget)
	}
	return "≤ " + figure(r.budget)
}

func (r row) measured() float64 { return median(r.runs) }

// spread is what the median is of.
func (r row) spread() string {
	if len(r.runs) == 1 {
		return ""
	}
	return figures(r.runs)
}

func (r row) holds() string {
	switch m := r.measured(); {
	case r.budget == 0:
		return ""
	case (m >= r.budget) == r.atLeast || m == r.budget:
		return "yes"
	}
	return "**no**"
}

func (r row) baseline() string {
	if r.bare == nil {
		return ""
	}
	return figure(median(r.bare))
}

func (r row) ratio() string {
	if r.bare == nil {
		return ""
	}
	return fmt.Sprintf("%.2f", r.measured()/median(r.bare))
}

// figure has three digits, or all of a number's thousands.
func figure(f float64) string {
	if f < 1000 {
		return fmt.Sprintf("%.3g", f)
	}
	digits := fmt.Sprintf("%.0f", f)
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}

func figures(of []float64) string {
	var texts []string
	for _, f := range of {
		texts = append(texts, figure(f))
	}
	return strings.Join(texts, "; ")
}

// machine tells what this runs on.
func machine() string {
	model := "?"
	if f, err := os.Open("/proc/cpuinfo"); err == nil {
		defer f.Close()
		for scan := bufio.NewScanner(f); scan.Scan(); {
			if name, value, ok := strings.Cut(scan.Text(), ":"); ok && strings.TrimSpace(name) == "model name" {
				model = strings.TrimSpace(value)
				break
			}
		}
	}
	var u syscall.Utsname
	syscall.Uname(&u)
	var release strings.Builder
	for _, c := range u.Release {
		if c == 0 {
			break
		}
		release.WriteByte(byte(c))
	}
	return fmt.Sprintf("%d cores, %s, Linux %s", runtime.NumCPU(), model, &release)
}

func software() string {
	redis := "Redis of unknown version"
	if out, err := exec.Command("redis-server", "--version").Output(); err == nil {
		for _, f := range strings.Fields(string(out)) {
			if v, ok := strings.CutPrefix(f, "v="); ok {
				redis = "Redis " + v
			}
		}
	}
	return runtime.Version() + ", " + redis
}

// busy is CPU time since the machine's start, in seconds.
type busy struct{ all, idle, ours float64 }

func machineBusy() (busy, error) {
	fs, err := procfs.NewDefaultFS()
	if err != nil {
		return busy{}, err
	}
	stat, err := fs.Stat()
	if err != nil {
		return busy{}, err
	}
	t := stat.CPUTotal
	var children syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_CHILDREN, &children); err != nil {
		return busy{}, err
	}
	seconds := func(tv syscall.Timeval) float64 { return float64(tv.Sec) + float64(tv.Usec)/1e6 }
	return busy{
		all:  t.User + t.Nice + t.System + t.Idle + t.Iowait + t.IRQ + t.SoftIRQ + t.Steal,
		idle: t.Idle + t.Iowait,
		ours: seconds(children.Utime) + seconds(children.Stime), // all of them have ended
	}, nil
}

// others is which share of the CPU time since before went to processes that are not ours.
func (b busy) others(before busy) float64 {
	all := b.all - before.all
	return max(all-(b.idle-before.idle)-(b.ours-before.ours), 0) / all
}
