package deploy_test

import (
	"context"
	"encoding/json"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rookery-chat/rookery/client"
	"github.com/rookery-chat/rookery/internal/processtest"
)

// A watcher is a Prometheus as deploy/prometheus.yml has it, but for the addresses, and with a look each second.
type watcher struct {
	t    *testing.T
	addr string
}

// watch runs a Prometheus with these nodes as its targets, haproxy and Redis, and these alerts.
func (c *cluster) watch(f front, nodes, alerts string) watcher {
	c.t.Helper()
	exporter := processtest.FreeAddr(c.t)
	run(c.t, []string{"REDIS_ADDR=" + c.redis.URL()}, "prometheus-redis-exporter", "-web.listen-address", exporter)
	w := watcher{c.t, processtest.FreeAddr(c.t)}
	config := read(c.t, "prometheus.yml")
	for _, change := range [][2]string{
		{"scrape_interval: 5s", "scrape_interval: 1s"}, {"evaluation_interval: 5s", "evaluation_interval: 1s"},
		{"dns_sd_configs: # one target for each node, as they come and go\n      - {names: [node], type: A, port: 9000, refresh_interval: 5s}", nodes},
		{"redis-exporter:9121", exporter}, {"haproxy:8404", f.inner}, {"localhost:9090", w.addr},
	} {
		if !strings.Contains(config, change[0]) {
			c.t.Fatalf("prometheus.yml has no %q any more", change[0])
		}
		config = strings.ReplaceAll(config, change[0], change[1])
	}
	dir := c.t.TempDir()
	for name, content := range map[string]string{"prometheus.yml": config, "alerts.yml": alerts} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			c.t.Fatal(err)
		}
	}
	run(c.t, nil, "prometheus", "--config.file="+dir+"/prometheus.yml", "--storage.tsdb.path="+dir+"/data", "--web.listen-address="+w.addr, "--log.level=warn")
	return w
}

// A sample is one series of an answer.
type sample struct {
	Metric map[string]string
	Value  [2]any
}

func (w watcher) ask(query string) []sample {
	w.t.Helper()
	_, body := get("http://" + w.addr + "/api/v1/query?query=" + url.QueryEscape(query))
	var answer struct {
		Error string
		Data  struct{ Result []sample }
	}
	json.Unmarshal([]byte(body), &answer)
	if answer.Error != "" {
		w.t.Errorf("%s: %s", query, answer.Error)
	}
	return answer.Data.Result
}

// values is how many values a query has.
func (w watcher) values(query string) (n int) {
	w.t.Helper()
	for _, s := range w.ask(query) {
		if s.Value[1] != "NaN" {
			n++
		}
	}
	return n
}

// talk has somebody say something ten times a second, so that there is something to see, until it is ended.
func (c *cluster) talk(f front) (end func()) {
	ctx, cancel := context.WithCancel(c.t.Context())
	var talking sync.WaitGroup
	alice := client.New("ws://"+f.public+"/ws", &client.Options{User: "alice"})
	talking.Go(func() { alice.Run(ctx) })
	talking.Go(func() {
		for range alice.Events(ctx) {
		}
	})
	talking.Go(func() {
		if _, err := alice.Join(ctx, "lobby", nil); err != nil {
			return
		}
		for ctx.Err() == nil {
			alice.Publish(ctx, "lobby", "hi", nil)
			time.Sleep(100 * time.Millisecond)
		}
	})
	return func() { cancel(); talking.Wait() }
}
