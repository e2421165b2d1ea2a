// A back end gets requests that it can verify by the standard's own rule, with what happened in
// the cluster: each event, in order, also when it was down, slow or rude for a while.
package hook_test

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/rookery-chat/rookery/hook"
	"github.com/rookery-chat/rookery/internal/processtest"
	"github.com/rookery-chat/rookery/presence"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds every wait. It is only reached when something is wrong.
const patience = time.Minute

// The standard's own example: https://github.com/standard-webhooks/standard-webhooks.
const exampleSecret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

const secret = "a secret for tests, not short"

// verify checks a request as the standard has a receiver do it.
func verify(key []byte, r *http.Request, body []byte) error {
	id, timestamp := r.Header.Get("webhook-id"), r.Header.Get("webhook-timestamp")
	seconds, err := strconv.ParseInt(timestamp, 10, 64)
	if err != nil || time.Since(time.Unix(seconds, 0)).Abs() > 5*time.Minute {
		return fmt.Errorf("timestamp %q", timestamp)
	}
	if id == "" || strings.Contains(id, ".") {
		return fmt.Errorf("id %q", id)
	}
	mac := hmac.New(sha256.New, key)
	fmt.Fprintf(mac, "%s.%s.%s", id, timestamp, body)
	want := "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
	if !slices.Contains(strings.Split(r.Header.Get("webhook-signature"), " "), want) {
		return fmt.Errorf("signature %q, not %q", r.Header.Get("webhook-signature"), want)
	}
	return nil
}

// A told is an event as a back end reads it.
type told struct {
	ID, Type, Topic, User, Epoch string
	Time                         int64
	Version                      uint64
	Online, Count                int
}

func (e told) String() string {
	return strings.TrimSpace(fmt.Sprintf("%s %s %s", e.Type, e.User, e.Topic))
}

// A backEnd takes requests, verifies them, and keeps the events that it took.
type backEnd struct {
	*httptest.Server
	mu     sync.Mutex
	answer func(w http.ResponseWriter, n int) bool // whether it takes the n-th request. Guarded by mu, as is all of this.
	bodies []string
	ids    []string // webhook-id
	taken  []told
}

func newBackEnd(t *testing.T, answer func(w http.ResponseWriter, n int) bool) *backEnd {
	b := &backEnd{answer: answer}
	b.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err == nil {
			err = verify([]byte(secret), r, body)
		}
		if err != nil || r.Method != "POST" || r.Header.Get("Content-Type") != "application/json" {
			t.Errorf("%s %s: %v", r.Method, r.URL, err)
		}
		b.mu.Lock()
		defer b.mu.Unlock()
		b.bodies, b.ids = append(b.bodies, string(body)), append(b.ids, r.Header.Get("webhook-id"))
		if b.answer != nil && !b.answer(w, len(b.bodies)) {
			return
		}
		var in struct{ Events []told }
		if err := json.Unmarshal(body, &in); err != nil {
			t.Errorf("%s: %v", body, err)
		}
		b.taken = append(b.taken, in.Events...)
	}))
	t.Cleanup(b.Close)
	return b
}

// await waits until the back end is as wanted.
func (b *backEnd) await(t *testing.T, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		b.mu.Lock()
		ok := done()
		b.mu.Unlock()
		if ok {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("in vain: %s; got %d requests, took %v", what, len(b.bodies), b.taken)
		}
	}
}

// takes waits until the back end took as many events, and checks them.
func (b *backEnd) takes(t *testing.T, want ...string) {
	t.Helper()
	b.await(t, fmt.Sprintf("%.200q", want), func() bool { return len(b.taken) >= len(want) })
	b.mu.Lock()
	defer b.mu.Unlock()
	var got []string
	for _, e := range b.taken {
		got = append(got, e.String())
	}
	if !slices.Equal(got, want) {
		t.Fatalf("took %.1000q, want %.1000q", got, want)
	}
}

// A cluster is presence in memory, and one node of it.
type cluster struct {
	t *testing.T
	m *presence.Memory
	presence.Presence
}

func newCluster(t *testing.T, keep int) *cluster {
	c := &cluster{t: t, m: presence.NewMemory()}
	c.m.Journal(keep)
	c.Presence = c.m.Attach("", func(string, []byte) {})
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { defer close(ended); c.Run(ctx) }()
	t.Cleanup(func() { stop(); <-ended })
	return c
}

// does has somebody join, or leave after a minus, and waits until the cluster knows.
func (c *cluster) does(topic, user string) {
	c.t.Helper()
	who, leaves := strings.CutPrefix(user, "-")
	if leaves {
		c.Leave(topic, who, 0)
	}
	for deadline := time.Now().Add(patience); ; {
		if !leaves {
			if err := c.Join(c.t.Context(), topic, user); err != nil {
				c.t.Fatal(err)
			}
			return
		}
		r, err := c.Roster(c.t.Context(), topic, "", 1000)
		if err == nil && !slices.Contains(r.Users, who) {
			return
		}
		if time.Now().After(deadline) {
			c.t.Fatalf("%s does not leave: %v, %v", who, r, err)
		}
	}
}

// tell runs a hook until the test ends, or the function that it returns is called.
func (c *cluster) tell(h *hook.Hook) (end func()) {
	h.Hurry(time.Millisecond, 10*time.Millisecond)
	done := make(chan struct{})
	go func() { defer close(done); h.Run(context.Background(), c.m.Journal(0)) }()
	end = func() { h.Finish(); <-done }
	c.t.Cleanup(end)
	return end
}

func newHook(t *testing.T, url string, opts *hook.Options) *hook.Hook {
	t.Helper()
	h, err := hook.New(url, []string{secret}, opts)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// What happens is told as it happened, with what a back end needs to know.
func TestEvents(t *testing.T) {
	t.Parallel()
	b := newBackEnd(t, nil)
	c := newCluster(t, 1000)
	c.tell(newHook(t, b.URL, nil))
	began := time.Now().UnixMilli()
	c.does("*", "alice")
	c.does("lobby", "alice")
	c.does("lobby", "bob")
	c.does("lobby", "-alice")
	c.does("*", "-alice")
	b.takes(t, "connect alice *", "join alice lobby", "join bob lobby", "leave alice lobby", "disconnect alice *")
	ids := map[string]bool{}
	for i, e := range b.taken {
		ids[e.ID] = true
		if e.Time < began || e.Time > time.Now().UnixMilli() || e.Epoch == "" || e.Version == 0 || e.Online != []int{1, 1, 2, 1, 0}[i] {
			t.Errorf("event %d: %+v", i, e)
		}
	}
	if len(ids) != 5 {
		t.Errorf("5 events have the ids %v", ids)
	}
}

// A back end that fails gets the same again, until it takes it, and nothing else before.
func TestTriedAgain(t *testing.T) {
	t.Parallel()
	for _, status := range []int{500, 503, 429, 404, 401, 302, 408} {
		t.Run(strconv.Itoa(status), func(t *testing.T) {
			t.Parallel()
			elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("a redirect was followed") }))
			defer elsewhere.Close()
			b := newBackEnd(t, func(w http.ResponseWriter, n int) bool {
				if n > 3 {
					return true
				}
				w.Header().Set("Location", elsewhere.URL)
				w.WriteHeader(status)
				return false
			})
			c := newCluster(t, 1000)
			c.does("*", "alice")
			c.tell(newHook(t, b.URL, nil))
			b.await(t, "a first attempt", func() bool { return len(b.bodies) > 0 })
			c.does("*", "bob")
			b.takes(t, "connect alice *", "connect bob *")
			for i, body := range b.bodies {
				if strings.Contains(body, "bob") && b.ids[i] == b.ids[0] || !strings.Contains(body, "bob") && b.ids[i] != b.ids[0] {
					t.Errorf("request %d has the id %s: %s", i, b.ids[i], body)
				}
			}
		})
	}
}

// What the back end says that it will not have is dropped, and counted; the next is told.
func TestRefusedEvents(t *testing.T) {
	t.Parallel()
	b := newBackEnd(t, func(w http.ResponseWriter, n int) bool {
		if n == 1 {
			w.WriteHeader(http.StatusUnprocessableEntity)
		}
		return n > 1
	})
	registry := prometheus.NewRegistry()
	c := newCluster(t, 1000)
	c.does("*", "alice")
	c.tell(newHook(t, b.URL, &hook.Options{Registerer: registry}))
	b.await(t, "a first attempt", func() bool { return len(b.bodies) > 0 })
	c.does("*", "bob")
	b.takes(t, "connect bob *")
	if n := count(t, registry, "rookery_hook_events_total", "refused"); n != 1 {
		t.Errorf("%v events are counted as refused", n)
	}
	await(t, "one is counted as told", func() bool { return count(t, registry, "rookery_hook_events_total", "told") == 1 })
}

// A back end that is down for long misses no more than the journal cannot keep, and is told how much.
func TestDownForLong(t *testing.T) {
	t.Parallel()
	b := newBackEnd(t, func(w http.ResponseWriter, n int) bool {
		io.WriteString(w, strings.Repeat("thank you ", 1<<20)) // which nobody wants to read
		return true
	})
	registry := prometheus.NewRegistry()
	c := newCluster(t, 250)
	var want []string
	for i := range 260 {
		user := fmt.Sprint("u", i)
		c.does("*", user)
		if i >= 10 {
			want = append(want, "connect "+user+" *")
		}
	}
	end := c.tell(newHook(t, b.URL, &hook.Options{Registerer: registry}))
	b.takes(t, append([]string{"lost"}, want...)...)
	end()
	if b.taken[0].Count != 10 || len(b.bodies) > 4 {
		t.Errorf("lost %d; %d requests", b.taken[0].Count, len(b.bodies))
	}
	if n := count(t, registry, "rookery_hook_lost_total", ""); n != 10 {
		t.Errorf("%v are counted as lost", n)
	}
	if n := count(t, registry, "rookery_hook_lag_seconds", ""); n != 0 {
		t.Errorf("%v s behind when all is told", n)
	}
}

// A node that ends tells what there is; what it cannot tell stays for another node, which
// need not wait for the first one's claim to lapse.
func TestFinish(t *testing.T) {
	t.Parallel()
	down := true
	b := newBackEnd(t, func(w http.ResponseWriter, n int) bool {
		if down {
			w.WriteHeader(http.StatusBadGateway)
		}
		return !down
	})
	c := newCluster(t, 1000)
	c.does("*", "alice")
	first := c.tell(newHook(t, b.URL, nil))
	b.await(t, "a first attempt", func() bool { return len(b.bodies) > 0 })
	first()
	b.mu.Lock()
	down = false
	b.mu.Unlock()
	second := newHook(t, b.URL, nil)
	second.Finish()
	c.tell(second)()
	b.takes(t, "connect alice *")
}

// Of several nodes one tells, and each event once.
func TestOneTells(t *testing.T) {
	t.Parallel()
	b := newBackEnd(t, nil)
	c := newCluster(t, 1000)
	var want []string
	for range 3 {
		c.tell(newHook(t, b.URL, nil))
	}
	for i := range 50 {
		c.does("*", fmt.Sprint("u", i))
		want = append(want, fmt.Sprintf("connect u%d *", i))
	}
	b.takes(t, want...)
}

// Each secret of two signs, and the standard's libraries take what they call a secret.
func TestSecrets(t *testing.T) {
	t.Parallel()
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(exampleSecret, "whsec_"))
	if err != nil {
		t.Fatal(err)
	}
	got := make(chan error, 3)
	b := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got <- verify(key, r, body)
		got <- verify([]byte(secret), r, body)
		got <- verify([]byte("another"), r, body)
		io.WriteString(w, "{}")
	}))
	defer b.Close()
	h, err := hook.New(b.URL, []string{exampleSecret, secret}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.Review(t.Context(), hook.Publish{Data: []byte("1")}); err != nil {
		t.Error(err)
	}
	end := newCluster(t, 1).tell(h) // closes its connections
	end()
	if err := <-got; err != nil {
		t.Error(err)
	}
	if err := <-got; err != nil {
		t.Error(err)
	}
	if <-got == nil {
		t.Error("any secret verifies")
	}
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for text, want := range map[string]time.Duration{
		"": 0, "soon": 0, "-1": 0, "0": 0, "7": 7 * time.Second, "86400": 5 * time.Minute,
		"Fri, 02 Jan 2026 03:04:15 GMT": 10 * time.Second, "Fri, 02 Jan 2025 03:04:15 GMT": 0,
	} {
		if got := hook.RetryAfter(text, now); got != want {
			t.Errorf("Retry-After %q is %v, not %v", text, got, want)
		}
	}
}

// A back end that asks for time gets it.
func TestRetryAfterIsKept(t *testing.T) {
	t.Parallel()
	var times []time.Time
	b := newBackEnd(t, func(w http.ResponseWriter, n int) bool {
		if times = append(times, time.Now()); n == 1 {
			w.Header().Set("Retry-After", "1")
			w.WriteHeader(http.StatusTooManyRequests)
		}
		return n > 1
	})
	c := newCluster(t, 10)
	c.does("*", "alice")
	c.tell(newHook(t, b.URL, nil))
	b.takes(t, "connect alice *")
	if wait := times[1].Sub(times[0]); wait < 900*time.Millisecond {
		t.Errorf("asked for a second, got %v", wait)
	}
}

// count is the value of a metric, of one outcome if it has outcomes.
func count(t *testing.T, r *prometheus.Registry, name, outcome string) float64 {
	t.Helper()
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == name && (outcome == "" || len(m.GetLabel()) == 1 && m.GetLabel()[0].GetValue() == outcome) {
				return m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
			}
		}
	}
	return 0
}

var await = processtest.Await
