package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"text/tabwriter"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// A Report is what one run of a scenario found: named values, in order.
type Report struct {
	Scenario    string
	Values      []Value
	Faults      []string // what must not be
	Interrupted bool
	Latency     *hdrhistogram.Histogram // µs; nil where none was measured
}

// A Value is an integer or a float64. Its name ends with its unit, where it has one.
type Value struct {
	Name  string
	Value any
}

// report begins a scenario's report. cause is why the run ended before its end: nil, an interruption, or
// an error, which is a fault.
func (p *pool) report(name string, cause error) *Report {
	r := &Report{Scenario: name}
	r.add("sessions", p.opens)
	r.add("connections_refused", p.refused)
	r.add("sessions_lost", p.lost)
	switch {
	case errors.Is(cause, context.Canceled):
		r.Interrupted = true
	case cause != nil:
		r.fault("%v", cause)
	}
	if p.lost > 0 {
		r.fault("%d sessions were lost, the first because: %v", p.lost, p.lostReason)
	}
	if p.denials > 0 {
		r.fault("%d publishes were refused, the last with: %v", p.denials, p.denial)
	}
	if t := p.tally; t.doubled+t.disordered > 0 {
		r.fault("%d deliveries came twice, %d came after newer ones", t.doubled, t.disordered)
	}
	if p.tally.missing > 0 && !r.Interrupted {
		r.fault("%d deliveries are missing", p.tally.missing)
	}
	return r
}

func (r *Report) fault(format string, args ...any) {
	r.Faults = append(r.Faults, fmt.Sprintf(format, args...))
}

func (r *Report) add(name string, value any) {
	if f, ok := value.(float64); ok && (math.IsNaN(f) || math.IsInf(f, 0)) {
		value = 0.0 // nothing was measured
	}
	r.Values = append(r.Values, Value{name, value})
}

// set puts a setting of the run before what was found.
func (r *Report) set(name string, value any) {
	r.Values = append([]Value{{name, value}}, r.Values...)
}

// cpu adds what count of something cost.
func (r *Report) cpu(o *Options, u usage, count float64, of string) {
	const µs = 1e6
	if len(o.PIDs) > 0 {
		r.add("server_cpu_us_per_"+of, u.server*µs/count)
	}
	if len(o.RedisPIDs) > 0 {
		r.add("redis_cpu_us_per_"+of, u.redis*µs/count)
	}
	r.add("bench_cpu_us_per_"+of, u.own*µs/count)
}

// commands adds what Redis ran for count of something.
func (r *Report) commands(o *Options, u usage, count float64, of string) {
	if o.Redis != "" {
		r.add("redis_commands_per_"+of, float64(u.commands)/count)
		r.add("redis_scripts_per_"+of, float64(u.scripts)/count)
	}
}

// memory adds what each of some connections holds.
func (r *Report) memory(o *Options, u usage, connections int) {
	if len(o.PIDs) > 0 {
		r.add("server_rss_kib_per_connection", kib(u.serverRSS, connections))
	}
	if len(o.RedisPIDs) > 0 {
		r.add("redis_rss_kib_per_connection", kib(u.redisRSS, connections))
	}
}

// latency adds the percentiles of a histogram of µs, and keeps the histogram.
func (r *Report) latency(name string, h *hdrhistogram.Histogram) {
	const ms = 1e3
	r.add(name+"_p50_ms", float64(h.ValueAtQuantile(50))/ms)
	r.add(name+"_p99_ms", float64(h.ValueAtQuantile(99))/ms)
	r.add(name+"_max_ms", float64(h.Max())/ms)
	r.Latency = h
}

// round keeps as many digits as a measurement has.
func round(f float64) float64 {
	digits := math.Pow(10, max(0, 3-math.Floor(math.Log10(max(math.Abs(f), 1)))))
	return math.Round(f*digits) / digits
}

// MarshalJSON makes one object of the report, its values in order.
func (r *Report) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	field := func(name string, value any) error {
		if f, ok := value.(float64); ok {
			value = round(f)
		}
		text, err := json.Marshal(value)
		fmt.Fprintf(&b, ",%q:%s", name, text)
		return err
	}
	err := field("scenario", r.Scenario)
	for _, v := range r.Values {
		err = errors.Join(err, field(v.Name, v.Value))
	}
	if r.Interrupted {
		err = errors.Join(err, field("interrupted", true))
	}
	if len(r.Faults) > 0 {
		err = errors.Join(err, field("faults", r.Faults))
	}
	b.WriteByte('}')
	line := b.Bytes()
	line[0] = '{'
	return line, err
}

// WriteTable prints the report for people.
func (r *Report) WriteTable(w io.Writer) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	for _, v := range r.Values {
		value := v.Value
		if f, ok := value.(float64); ok {
			value = round(f)
		}
		fmt.Fprintf(table, "%s\t%v\t\n", strings.ReplaceAll(v.Name, "_", " "), value)
	}
	for _, fault := range r.Faults {
		fmt.Fprintf(table, "FAULT: %s\n", fault)
	}
	if r.Interrupted {
		fmt.Fprintln(table, "interrupted: this is what there was until then")
	}
	return table.Flush()
}

// Err is nil when every delivery came as it should.
func (r *Report) Err() error {
	if len(r.Faults) == 0 {
		return nil
	}
	return errors.New(strings.Join(r.Faults, "; "))
}
