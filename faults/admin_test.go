package faults_test

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/rookery-chat/rookery/internal/processtest"
	"github.com/rookery-chat/rookery/internal/redistest"
)

// What an operator watches is there, and moves when something happens.
func TestMetrics(t *testing.T) {
	t.Parallel()
	node := serve(t, redistest.Start(t))
	alice, bob := enter(t, node.URL(), "alice"), enter(t, node.URL(), "bob")
	for _, m := range []*member{alice, bob} {
		m.join("lobby", nil)
	}
	alice.say("lobby", "hi")
	bob.awaitTexts("lobby", []string{"hi"})
	bob.leave()
	await(t, "one session is left, with its inbox, * and the room", func() bool {
		return node.Metric("rookery_sessions") == 1 && node.Metric("rookery_topics") == 3
	})

	c := processtest.HTTP
	r, err := c.Get("http://" + node.Admin + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	b, _ := io.ReadAll(r.Body)
	r.Body.Close()
	text := string(b)
	for _, line := range []string{
		"rookery_sessions 1", "rookery_connections 1", "rookery_users 1", "rookery_topics 3", "rookery_ready 1",
		"rookery_messages_received_total 1", "rookery_bus_publish_seconds_count 1", `rookery_closes_total{code="1000"} 1`,
		"rookery_bus_reconnects_total 0", "rookery_bus_gaps_healed_total 0", "rookery_resets_total 0",
	} {
		if !strings.Contains(text, line+"\n") {
			t.Errorf("no line %q", line)
		}
	}
	for _, name := range []string{
		"rookery_frames_received_total", "rookery_received_bytes_total", "rookery_sent_bytes_total", "rookery_deliveries_total",
		"rookery_presence_scripts_total", "rookery_shard_queue_high_water", "go_goroutines", "process_resident_memory_bytes",
	} {
		if node.Metric(name) <= 0 {
			t.Errorf("%s has not moved", name)
		}
	}
	for _, path := range []string{"/healthz", "/readyz", "/debug/pprof/"} {
		r, err := c.Get("http://" + node.Admin + path)
		if err != nil {
			t.Fatal(err)
		}
		r.Body.Close()
		if r.StatusCode != http.StatusOK {
			t.Errorf("%s: %s", path, r.Status)
		}
	}
	// The public listener shows nothing of it.
	for _, path := range []string{"/healthz", "/metrics", "/debug/pprof/", "/v1/nodes"} {
		r, err := c.Get("http://" + node.Addr + path)
		if err != nil {
			t.Fatal(err)
		}
		r.Body.Close()
		if r.StatusCode != http.StatusNotFound {
			t.Errorf("public %s: %s", path, r.Status)
		}
	}
}

// Where callers of the server API need a key, so does whoever wants to know how a node is
// doing inside, but not who asks whether it is alive and ready. Metrics can be opened; profiles
// cannot, and the command line, with the secrets in it, is not among them.
func TestAdminNeedsTheKey(t *testing.T) {
	t.Parallel()
	const key = "api-key-0123456789"
	closed, open := serve(t, nil, "--api-key="+key), serve(t, nil, "--api-key="+key, "--open-metrics")
	alone := serve(t, nil)
	for _, row := range []struct {
		node  *process
		path  string
		key   string
		site  string // Sec-Fetch-Site, of a browser
		wants int
	}{
		{closed, "/healthz", "", "", 200},
		{closed, "/readyz", "", "cross-site", 200},
		{closed, "/metrics", "", "", 401},
		{closed, "/metrics", key + "x", "", 401},
		{closed, "/metrics", key, "", 200},
		{closed, "/debug/pprof/", "", "", 401},
		{closed, "/debug/pprof/goroutine", "", "", 401},
		{closed, "/debug/pprof/symbol", "", "", 401},
		{closed, "/debug/pprof/heap", key, "", 200},
		{closed, "/debug/pprof/cmdline", key, "", 404},
		{closed, "/v1/nodes", "", "", 401},
		{open, "/metrics", "", "", 200},
		{open, "/debug/pprof/heap", "", "", 401},
		{open, "/v1/nodes", "", "", 401},
		{alone, "/metrics", "", "", 200},
		{alone, "/metrics", "", "cross-site", 403},
		{alone, "/debug/pprof/heap", "", "", 200},
		{alone, "/debug/pprof/heap", "", "cross-site", 403},
		{alone, "/debug/pprof/cmdline", "", "", 404},
	} {
		r, err := http.NewRequestWithContext(t.Context(), "GET", "http://"+row.node.Admin+row.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if row.key != "" {
			r.Header.Set("Authorization", "Bearer "+row.key)
		}
		if row.site != "" {
			r.Header.Set("Sec-Fetch-Site", row.site)
		}
		c := processtest.HTTP
		w, err := c.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(w.Body)
		w.Body.Close()
		if w.StatusCode != row.wants || w.StatusCode != 200 && strings.Contains(string(body), key) {
			t.Errorf("%s with key %q, site %q: %s %.200s, want %d", row.path, row.key, row.site, w.Status, body, row.wants)
		}
	}
}
