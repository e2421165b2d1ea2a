package api_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/rookery-chat/rookery/api"
	"github.com/rookery-chat/rookery/wire"
)

type result struct {
	Receipt *struct{ Offset uint64 }
	Problem *struct {
		Status int
		Code   wire.Code
		Detail string
		Retry  bool
	}
}

func batchResults(t *testing.T, c *caller, items []string) []result {
	t.Helper()
	status, answer := c.call(t, "POST /v1/messages", "/v1/messages", "["+strings.Join(items, ",")+"]")
	var out struct{ Results []result }
	if err := json.Unmarshal([]byte(answer), &out); err != nil || status != 200 || len(out.Results) != len(items) {
		t.Fatalf("%d %.300s, want %d results", status, answer, len(items))
	}
	return out.Results
}

// A full batch keeps each topic's order, and gives each message its own result.
func TestBatch(t *testing.T) {
	t.Parallel()
	const topics = 40
	h := newHall()
	c := newCaller(t, h)
	var items []string
	for i := range 1000 {
		items = append(items, fmt.Sprintf(`{"topic":"room%d","data":%d}`, i%topics, i))
	}
	for i, r := range batchResults(t, c, items) {
		if r.Receipt == nil || r.Problem != nil || r.Receipt.Offset != uint64(i/topics+1) {
			t.Fatalf("message %d: %+v, want offset %d", i, r, i/topics+1)
		}
	}
	for k := range topics {
		var want []string
		for i := k; i < 1000; i += topics {
			want = append(want, fmt.Sprint(i))
		}
		if got, want := h.log(fmt.Sprintf("room%d", k)), strings.Join(want, ", "); got != want {
			t.Errorf("room%d has %s, want %s", k, got, want)
		}
	}
}

// A message that is refused does not keep the others back.
func TestBatchRefusals(t *testing.T) {
	t.Parallel()
	h := newHall()
	w := newCaller(t, h)
	items := []string{
		`{"topic":"lobby","data":1}`, `{"data":2}`, `{"topic":"a b","data":3}`, `{"topic":"lobby"}`, `7`, `null`,
		`{"topic":"lobby","data":4,"x":1}`, `{"topic":"\ud800","data":5}`, `{"topic":null,"data":6}`,
		`{"topic":"lobby","data":"` + strings.Repeat("x", api.MaxData) + `"}`, `{"topic":"lobby","data":7}`,
	}
	// Not through call: openapi.yaml does not allow such items.
	r := request("POST", "/v1/messages", "["+strings.Join(items, ",")+"]")
	var out struct{ Results []result }
	if err := json.Unmarshal(serve(w.handler, r), &out); err != nil || len(out.Results) != len(items) {
		t.Fatalf("%v: %+v", err, out)
	}
	for i, want := range []string{"", "topic is missing", "white space", "data is missing", "JSON object", "JSON object",
		`unknown field "x"`, "not UTF-8", "topic is missing", "larger than", ""} {
		switch r := out.Results[i]; {
		case want == "" && r.Receipt == nil, want != "" && (r.Problem == nil || !strings.Contains(r.Problem.Detail, want)):
			t.Errorf("%.60s: %+v, want %q", items[i], r, want)
		case want != "" && (r.Problem.Retry || r.Receipt != nil):
			t.Errorf("%.60s: %+v", items[i], r)
		}
	}
	if got, want := h.log("lobby"), "1, 7"; got != want {
		t.Errorf("lobby has %s, want %s", got, want)
	}
}

// counting counts what it is asked to publish.
type counting struct {
	*hall
	publishes atomic.Int32
}

func (c *counting) Publish(ctx context.Context, topic string, m api.Message) (api.Receipt, error) {
	c.publishes.Add(1)
	return c.hall.Publish(ctx, topic, m)
}

// Once the cluster does not answer, the rest of a batch is not tried.
func TestBatchUnavailable(t *testing.T) {
	t.Parallel()
	h := newHall()
	h.fail(fmt.Errorf("bus: %w", api.ErrUnavailable), 2)
	var items []string
	for i := range 10 {
		items = append(items, fmt.Sprintf(`{"topic":"lobby","data":%d,"key":"k%d"}`, i, i))
	}
	asked := &counting{hall: h}
	c := newCaller(t, asked)
	for i, r := range batchResults(t, c, items) {
		if stored := r.Receipt != nil; stored != (i < 2) {
			t.Errorf("message %d: %+v", i, r)
		}
		if i >= 2 && (r.Problem == nil || r.Problem.Status != 503 || r.Problem.Code != wire.Unavailable || !r.Problem.Retry) {
			t.Errorf("message %d: %+v, want unavailable", i, r)
		}
	}
	if n := asked.publishes.Load(); n != 3 {
		t.Errorf("the cluster was asked %d times, want 3: two that it took, and the one that found out", n)
	}
	// To repeat it under the same keys completes it.
	h.fail(nil, 0)
	for i, r := range batchResults(t, c, items) {
		if r.Receipt == nil || r.Receipt.Offset != uint64(i+1) {
			t.Errorf("message %d, repeated: %+v", i, r)
		}
	}
}
