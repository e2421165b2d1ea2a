package bench_test

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"math"
	"strings"
	"testing"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/rookery-chat/rookery/bench"
)

func sample() *bench.Report {
	h := hdrhistogram.New(1, 60_000_000, 3)
	for i := range 10_000 {
		h.RecordValue(int64(1000 + i))
	}
	return &bench.Report{
		Scenario: "fanout",
		Values: []bench.Value{
			{"rate", 50.0}, {"deliveries_received", uint64(1234567)}, {"server_cpu_us_per_delivery", 5.98765},
			{"latency_p99_ms", 12345.678}, {"sessions", 1001},
		},
		Faults:  []string{"3 deliveries are missing"},
		Latency: h,
	}
}

// One line of JSON, with the values in order and no more digits than were measured.
func TestJSON(t *testing.T) {
	t.Parallel()
	b, err := json.Marshal(sample())
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"scenario":"fanout","rate":50,"deliveries_received":1234567,"server_cpu_us_per_delivery":5.988,` +
		`"latency_p99_ms":12346,"sessions":1001,"faults":["3 deliveries are missing"]}`
	if string(b) != want {
		t.Errorf("got  %s\nwant %s", b, want)
	}
	if b, err := json.Marshal(&bench.Report{Scenario: "idle", Interrupted: true}); err != nil || string(b) != `{"scenario":"idle","interrupted":true}` {
		t.Errorf("empty: %s, %v", b, err)
	}
}

func TestTable(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	if err := sample().WriteTable(&b); err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"  server cpu us per delivery    5.988\n", "FAULT: 3 deliveries are missing\n"} {
		if !strings.Contains(b.String(), line) {
			t.Errorf("the table lacks %q:\n%s", line, &b)
		}
	}
}

// The plot is well-formed, and all of its curve lies within.
func TestSVG(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	if err := sample().WriteSVG(&b); err != nil {
		t.Fatal(err)
	}
	text := b.String()
	for d := xml.NewDecoder(&b); ; {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	if !strings.Contains(text, "10000 latencies") || strings.Contains(text, "NaN") || strings.Contains(text, " -") {
		t.Errorf("got %s", text)
	}
	var none bytes.Buffer
	if err := (&bench.Report{}).WriteSVG(&none); err == nil || none.Len() > 0 {
		t.Errorf("a report without latencies was drawn: %v", err)
	}
}

// Bars are as high as their figures.
func TestPlot(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	if err := (&bench.Plot{Title: "cost", Names: []string{"one", "two"}, Bars: []float64{2, 8}}).WriteSVG(&b); err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{`height="45.0" fill="#1f6feb"`, `height="180.0" fill="#1f6feb"`, ">one</text>", ">two</text>", "</svg>"} {
		if !strings.Contains(b.String(), part) {
			t.Errorf("the plot lacks %s: %s", part, &b)
		}
	}
}

// What is read off a frame's bytes is what JSON says.
func FuzzField(f *testing.F) {
	f.Add(uint64(0), "x")
	f.Add(uint64(math.MaxInt64), `"offset":`)
	f.Fuzz(func(t *testing.T, n uint64, data string) {
		frame, err := json.Marshal(struct {
			Offset uint64 `json:"offset"`
			Data   string `json:"data"`
		}{n, data})
		if err != nil {
			t.Fatal(err)
		}
		if got, ok := bench.Field(frame, `"offset":`); !ok || got != n {
			t.Fatalf("%s: read %d, %v", frame, got, ok)
		}
	})
}
