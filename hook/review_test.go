package hook_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/rookery-chat/rookery/hook"
	"github.com/rookery-chat/rookery/wire"
)

// asked runs a hook whose back end answers with status and text, and returns what it asks.
func asked(t *testing.T, opts *hook.Options, status int, text string) (*hook.Hook, chan string) {
	t.Helper()
	questions := make(chan string, 100)
	b := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if err := verify([]byte(secret), r, body); err != nil {
			t.Error(err)
		}
		questions <- string(body)
		w.WriteHeader(status)
		io.WriteString(w, text)
	}))
	t.Cleanup(b.Close)
	h := newHook(t, b.URL, opts)
	t.Cleanup(func() { newCluster(t, 1).tell(h)() }) // closes its connections
	return h, questions
}

var publish = hook.Publish{Topic: "lobby", User: "alice", Session: "n-1", Key: "k", Data: json.RawMessage(`{"text":"hi"}`)}

// The back end reads what is to be said, and decides.
func TestReview(t *testing.T) {
	t.Parallel()
	const own = `{"text":"hi"}`
	for _, row := range []struct {
		status       int
		answer       string
		data         string // what is stored
		code         wire.Code
		says, counts string
	}{
		{200, `{}`, own, "", "", "passed"},
		{200, " { }\n", own, "", "", "passed"},
		{200, `{"data":{ "text" : "***" }}`, `{"text":"***"}`, "", "", "rewritten"},
		{200, `{"data":null}`, `null`, "", "", "rewritten"},
		{200, `{"refuse":"mind your language"}`, "", wire.Forbidden, "mind your language", "refused"},
		{200, `{"refuse":""}`, "", wire.Forbidden, "refused", "refused"},
		{200, `{"refuse":"` + strings.Repeat("ü", 300) + `x"}`, "", wire.Forbidden, "üüü", "refused"},
		{200, ``, "", wire.Unavailable, "same key", "failed"},
		{204, ``, "", wire.Unavailable, "same key", "failed"},
		{200, `null`, "", wire.Unavailable, "same key", "failed"},
		{200, `ok`, "", wire.Unavailable, "same key", "failed"},
		{200, `{"refuse":true}`, "", wire.Unavailable, "same key", "failed"},
		{200, `{"refused":"x"}`, "", wire.Unavailable, "same key", "failed"},
		{200, `{"refuse":"x","data":1}`, "", wire.Unavailable, "same key", "failed"},
		{200, `{} {"refuse":"x"}`, "", wire.Unavailable, "same key", "failed"},
		{200, `{"data":"\ud83d"}`, "", wire.Unavailable, "same key", "failed"},
		{200, `{"data":"` + strings.Repeat("x", 101) + `"}`, "", wire.Unavailable, "same key", "failed"},
		{200, `{"data":"` + strings.Repeat("x", 1<<20) + `"}`, "", wire.Unavailable, "same key", "failed"},
		{302, `{}`, "", wire.Unavailable, "same key", "failed"},
		{403, `{}`, "", wire.Unavailable, "same key", "failed"},
		{500, `{}`, "", wire.Unavailable, "same key", "failed"},
	} {
		registry := prometheus.NewRegistry()
		h, questions := asked(t, &hook.Options{MaxData: 100, Registerer: registry}, row.status, row.answer)
		data, err := h.Review(t.Context(), publish)
		var e *wire.Error
		errors.As(err, &e)
		switch {
		case row.code == "" && (err != nil || string(data) != row.data):
			t.Errorf("%d %.50s: %s, %v; want %s", row.status, row.answer, data, err, row.data)
		case row.code != "" && (e == nil || e.Code != row.code || !strings.Contains(e.Message, row.says) || e.Retry != (row.code == wire.Unavailable)):
			t.Errorf("%d %.50s: %s, %v; want %s", row.status, row.answer, data, err, row.code)
		case e != nil && len(e.Message) > 500:
			t.Errorf("a reason of %d bytes is told", len(e.Message))
		}
		if q, want := <-questions, `{"type":"publish","topic":"lobby","user":"alice","session":"n-1","key":"k","data":{"text":"hi"}}`; q != want {
			t.Errorf("asked %s, want %s", q, want)
		}
		if count(t, registry, "rookery_hook_reviews_total", row.counts) != 1 || count(t, registry, "rookery_hook_review_seconds", "") != 1 {
			t.Errorf("%d %.50s is not counted as %s", row.status, row.answer, row.counts)
		}
		// Who wants publishes to pass when the back end fails has refusals all the same.
		open, _ := asked(t, &hook.Options{MaxData: 100, Open: true}, row.status, row.answer)
		data, err = open.Review(t.Context(), publish)
		if row.code == wire.Unavailable && (err != nil || string(data) != own) || row.code != wire.Unavailable && (string(data) != row.data || (err == nil) != (row.code == "")) {
			t.Errorf("open, %d %.50s: %s, %v", row.status, row.answer, data, err)
		}
	}
}

// Nobody listens, or nobody answers: it takes no longer than the deadline, and no more
// wait than there are places.
func TestReviewTakesNoForever(t *testing.T) {
	t.Parallel()
	stuck := make(chan struct{})
	var mu sync.Mutex
	under := 0
	b := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		under++
		mu.Unlock()
		<-stuck
	}))
	defer b.Close()
	defer close(stuck)
	registry := prometheus.NewRegistry()
	h := newHook(t, b.URL, &hook.Options{Registerer: registry})
	defer func() { newCluster(t, 1).tell(h)() }()
	const more = 100
	begin := time.Now()
	var wg sync.WaitGroup
	for range hook.MaxReviews + hook.MaxWaiting + more {
		wg.Go(func() {
			var e *wire.Error
			if _, err := h.Review(t.Context(), publish); !errors.As(err, &e) || e.Code != wire.Unavailable || !e.Retry {
				t.Errorf("no answer: %v", err)
			}
		})
	}
	await(t, "so many wait as may", func() bool { return count(t, registry, "rookery_hook_reviews_waiting", "") == hook.MaxWaiting })
	mu.Lock()
	if under > hook.MaxReviews {
		t.Errorf("%d are asked at a time", under)
	}
	mu.Unlock()
	wg.Wait()
	if took := time.Since(begin); took < hook.ReviewTime || took > hook.ReviewTime+patience {
		t.Errorf("it took %v", took)
	}
	if got := count(t, registry, "rookery_hook_reviews_total", "overflow"); got != more {
		t.Errorf("%v were too many, want %d", got, more)
	}
	if got := count(t, registry, "rookery_hook_reviews_total", "failed"); got != hook.MaxReviews+hook.MaxWaiting {
		t.Errorf("%v failed", got)
	}

	h = newHook(t, "http://127.0.0.1:1/path?token=verysecret", nil)
	if _, err := h.Review(t.Context(), publish); err == nil {
		t.Error("nobody listens, but the publish passes")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := h.Review(ctx, publish); err == nil {
		t.Error("a node that ends lets a publish pass")
	}
}

// What the log tells of a failure holds no part of the URL.
func TestErrorsKeepTheURL(t *testing.T) {
	for _, url := range []string{"http://user:verysecret@127.0.0.1:1/", "ftp://user:verysecret@host", "http://user:verysecret@ host"} {
		h, err := hook.New(url, []string{secret}, nil)
		if err == nil {
			_, err = h.Ask(t.Context())
		}
		if err == nil || strings.Contains(fmt.Sprint(err), "verysecret") {
			t.Errorf("%v", err)
		}
	}
}
