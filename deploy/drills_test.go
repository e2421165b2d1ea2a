package deploy_test

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/rookery-chat/rookery/internal/processtest"
)

// hurry is how many times faster than in earnest the drills' Prometheus takes alerts.yml: its durations, and what it
// counts in them, are so many times less. It looks five times as often as in earnest, each second, and what has to last
// lasts for three looks at least, as there: one that took too long makes no alert.
const hurry = 15

func hurried(t *testing.T, alerts string) string {
	t.Helper()
	shorter := regexp.MustCompile(`\b\d+[sm]\b`).ReplaceAllStringFunc(alerts, func(s string) string {
		d, err := time.ParseDuration(s)
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprint((d / hurry).Milliseconds(), "ms")
	})
	shorter = regexp.MustCompile(`for: \d{4}ms`).ReplaceAllStringFunc(shorter, func(s string) string { return max(s, "for: 3000ms") })
	// The amounts become less too, and half an hour ago is a minute ago: a drill does not last for two.
	for _, change := range [][2]string{
		{"(rookery_handshakes_total[4000ms])) > 500 ", fmt.Sprintf("(rookery_handshakes_total[4000ms])) > %d ", 500/hurry)},
		{"(rookery_catchups_total{cause=\"slow\"}[20000ms])) > 50\n", fmt.Sprintf("(rookery_catchups_total{cause=\"slow\"}[20000ms])) > %d\n", 50/hurry)},
		{"offset 120000ms", "offset 60000ms"},
	} {
		if !strings.Contains(shorter, change[0]) {
			t.Fatalf("alerts.yml has no %q any more", change[0])
		}
		shorter = strings.ReplaceAll(shorter, change[0], change[1])
	}
	return shorter
}

// starved are the alerts that a machine with too much to do raises by itself: a drill may wait for them, and none minds them.
var starved = []string{"RookeryPublishSlow", "RookeryShardQueueHigh"}

// A drill is something that happens, for real, and the alerts that come of it.
type drill struct {
	what  string
	do    func() (undo func())
	fires []string // wait for them
	may   []string // what comes of the same, or not, by how long it takes
}

// What alerts are about happens to a cluster: to its nodes, to its Redis, and in the crowd. Each alert fires, no
// other one does, and it ends when its cause does.
func TestAlertDrills(t *testing.T) {
	t.Parallel()
	alerts := read(t, "alerts.yml")
	c := newCluster(t)
	c.env = []string{"GOMAXPROCS=1"} // one shard has all the sessions of a node
	c.start("127.0.1.1")
	c.start("127.0.1.2")
	f := c.haproxy()
	targets := filepath.Join(t.TempDir(), "nodes.json")
	discover := func(hosts ...string) {
		for i, host := range hosts {
			hosts[i] = strconv.Quote(net.JoinHostPort(host, c.admin))
		}
		content := fmt.Sprintf(`[{"targets": [%s]}]`, strings.Join(hosts, ","))
		if err := os.WriteFile(targets+".new", []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(targets+".new", targets); err != nil {
			t.Fatal(err)
		}
	}
	discover("127.0.1.1", "127.0.1.2")
	w := c.watch(f, fmt.Sprintf("file_sd_configs: [{files: [%q], refresh_interval: 1s}]", targets), hurried(t, alerts))
	defer c.talk(f)()
	ask := func(words ...any) {
		t.Helper()
		if _, err := c.redis.Ask(words...); err != nil {
			t.Fatal(err)
		}
	}

	drills := []drill{
		{"all is well", func() func() { time.Sleep(5 * time.Second); return func() {} }, nil, nil},
		{"a node is killed", func() func() {
			c.remove("127.0.1.2").Kill()
			return func() { c.start("127.0.1.2") }
		}, []string{"RookeryNodeGone"}, []string{"RookeryFewerNodes"}},
		{"a node is taken away", func() func() {
			discover("127.0.1.1")
			await(t, "it is no target", func() bool { return w.values(`up{job="rookery"}`) == 1 })
			c.remove("127.0.1.2").Kill()
			return func() { c.start("127.0.1.2"); discover("127.0.1.1", "127.0.1.2") }
		}, []string{"RookeryFewerNodes"}, nil},
		{"Redis fills up", func() func() {
			ask("config", "set", "maxmemory", used(t, c)*10/9)
			return func() { ask("config", "set", "maxmemory", "256mb") }
		}, []string{"RookeryRedisMemory"}, nil},
		{"Redis is full", func() func() {
			ask("config", "set", "maxmemory", "1mb")
			return func() { ask("config", "set", "maxmemory", "256mb") }
		}, []string{"RookeryPublishFailing"}, []string{"RookeryRedisMemory"}},
		{"logs cannot be read", func() func() {
			ask("acl", "setuser", "default", "-xrange")
			end := repeat(time.Second/2, func() { ask("client", "kill", "type", "pubsub") }) // until something was missed
			return func() { end(); ask("acl", "setuser", "default", "+xrange") }
		}, []string{"RookeryGapsNotHealed"}, nil},
		{"Redis is slow", func() func() {
			return repeat(time.Second/2, func() { ask("client", "pause", 400, "write") })
		}, []string{"RookeryPublishSlow"}, nil},
		{"people connect all the time, and others read rarely", func() func() {
			endReading := c.readRarely(f, "127.0.1.1")
			endConnecting := repeat(50*time.Millisecond, func() {
				if conn, _, err := websocket.Dial(t.Context(), "ws://"+f.public+"/plain?as=guest&topic=door", nil); err == nil {
					conn.CloseNow()
				}
			})
			return func() { endConnecting(); endReading() }
		}, []string{"RookeryReconnectStorm", "RookeryCatchupsRising"}, nil},
		{"a node with many sessions gets too little CPU time", func() func() {
			node := c.node("127.0.1.2")
			bench := run(t, nil, processtest.Rookery(t), "bench", "fanout", "--url=ws://"+c.at("127.0.1.2")+"/ws", "--subscribers=3000", "--rate=50", "--duration=1h")
			delivered := node.Metric("rookery_deliveries_total")
			await(t, "they get messages", func() bool { return node.Metric("rookery_deliveries_total") > delivered+10000 })
			end := slowDown(node.Cmd.Process, "http://"+node.Admin+"/metrics")
			return func() { end(); bench.Kill() }
		}, []string{"RookeryShardQueueHigh"}, []string{"RookeryReconnectStorm", "RookeryNodeGone", "RookeryFewerNodes", "RookeryCatchupsRising"}},
		{"Redis hangs", func() func() {
			c.redis.Pause()
			return c.redis.Continue
		}, []string{"RookeryRedisGone", "RookeryNodeNotReady"}, []string{"RookeryPublishFailing", "RookeryGapsNotHealed"}},
	}
	for _, alert := range regexp.MustCompile(`(?m)- alert: (\w+)`).FindAllStringSubmatch(alerts, -1) {
		if !slices.ContainsFunc(drills, func(d drill) bool { return slices.Contains(d.fires, alert[1]) }) {
			t.Errorf("no drill for %s", alert[1])
		}
	}

	await(t, "all five targets are up, and somebody talks", func() bool {
		return w.values("up == 1") == 5 && w.values("sum(rate(rookery_bus_publish_seconds_count[5s])) > 1") == 1
	})
	for _, d := range drills {
		t.Log(d.what)
		begun := time.Now()
		undo := d.do()
		await(t, fmt.Sprintf("%s: %v", d.what, d.fires), func() bool {
			now := w.firing("ALERTS")
			return !slices.ContainsFunc(d.fires, func(alert string) bool { return !slices.Contains(now, alert) })
		})
		fired := time.Since(begun)
		undo()
		await(t, d.what+": it ends", func() bool {
			return len(slices.DeleteFunc(w.firing("ALERTS"), func(alert string) bool { return slices.Contains(starved, alert) })) == 0
		})
		took := time.Since(begun)
		for _, alert := range w.firing(fmt.Sprintf("count_over_time(ALERTS[%ds])", int(took.Seconds()))) {
			if slices.Contains(starved, alert) || slices.Contains(d.fires, alert) || slices.Contains(d.may, alert) {
				continue
			}
			if breathless(w, took) {
				t.Logf("  %s fired, while not even Prometheus answered itself in time", alert)
			} else {
				t.Errorf("%s: %s fired", d.what, alert)
			}
		}
		t.Logf("  %v after %.1f s, quiet after %.1f s", d.fires, fired.Seconds(), took.Seconds())
	}
}

// breathless tells whether the machine itself was too slow to judge by: those answered late to whom no drill does anything.
func breathless(w watcher, took time.Duration) bool {
	w.t.Helper()
	return w.values(fmt.Sprintf(`max_over_time(scrape_duration_seconds{job=~"prometheus|haproxy"}[%ds]) > 0.5`, int(took.Seconds()))) > 0
}

// firing are the alerts of a query about ALERTS that fire, each once.
func (w watcher) firing(query string) (names []string) {
	w.t.Helper()
	query = strings.Replace(query, "ALERTS", `ALERTS{alertstate="firing"}`, 1)
	for _, s := range w.ask("count by (alertname) (" + query + ")") {
		names = append(names, s.Metric["alertname"])
	}
	return names
}

// slowDown lets a node run for a few milliseconds at a time, between pauses so long that it barely tells of itself in time.
func slowDown(node *os.Process, metrics string) (end func()) {
	const first, longest = 50 * time.Millisecond, 500 * time.Millisecond
	var pause atomic.Int64
	pause.Store(int64(first))
	endPauses := repeat(5*time.Millisecond, func() {
		node.Signal(syscall.SIGSTOP)
		time.Sleep(time.Duration(pause.Load()))
		node.Signal(syscall.SIGCONT)
	})
	endLooks := repeat(200*time.Millisecond, func() {
		begun := time.Now()
		get(metrics)
		if time.Since(begun) < 400*time.Millisecond {
			pause.Store(min(pause.Load()*6/5, int64(longest)))
		} else {
			pause.Store(pause.Load() * 3 / 5)
		}
	})
	return func() { endLooks(); endPauses() }
}

// used is how much memory Redis has in use.
func used(t *testing.T, c *cluster) (bytes int) {
	t.Helper()
	info, err := c.redis.Ask("info", "memory")
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(fmt.Sprintf("%s", info), "used_memory:")
	if n, _ := fmt.Sscan(after, &bytes); n != 1 {
		t.Fatalf("info memory: %s", info)
	}
	return bytes
}

// repeat does something again and again until it is ended.
func repeat(pause time.Duration, do func()) (end func()) {
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			select {
			case <-done:
				return
			case <-time.After(pause):
				do()
			}
		}
	}()
	return func() { close(done); <-ended }
}
