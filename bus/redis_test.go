package bus_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/rookery-chat/rookery/bus"
	"github.com/rookery-chat/rookery/bus/bustest"
	"github.com/rookery-chat/rookery/internal/redistest"
)

// attach runs one more attachment, subscribed to topics, until the test ends.
func attach(t *testing.T, c redis.UniversalClient, opts *bus.Options, topics ...string) (*bus.Redis, *bustest.Recorder) {
	t.Helper()
	b, heard := bus.NewRedis(c, logged(t, opts)), bustest.NewRecorder()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- b.Run(ctx, heard) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run returned %v", err)
		}
		for _, f := range heard.Faults() {
			t.Error("promise broken: ", f)
		}
	})
	if err := b.Subscribe(t.Context(), topics...); err != nil {
		t.Fatal(err)
	}
	for _, topic := range topics {
		heard.WaitSubscribed(t, topic)
	}
	return b, heard
}

func mustPublish(t *testing.T, b bus.Bus, topic string, d bus.Draft) bus.Receipt {
	t.Helper()
	if d.Payload == nil {
		d.Payload = []byte(`{}`)
	}
	r, err := b.Publish(t.Context(), topic, d)
	if err != nil {
		t.Fatalf("Publish: %v", err)
	}
	return r
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("still waiting until %s", what)
		}
	}
}

// info returns a number out of INFO.
func info(t *testing.T, c redis.UniversalClient, pattern string) int {
	t.Helper()
	all := do(t, c, "info", "everything").(string)
	m := regexp.MustCompile(pattern).FindStringSubmatch(all)
	if m == nil {
		return 0
	}
	n, _ := strconv.Atoi(m[1])
	return n
}

func TestOneScriptOneRoundTrip(t *testing.T) {
	t.Parallel()
	const count = 50
	c := client(t, redistest.Start(t))
	b := bus.NewRedis(c, nil)
	mustPublish(t, b, "lobby", bus.Draft{}) // dials, and brings the script
	scripts, reads := `cmdstat_evalsha:calls=(\d+)`, `total_reads_processed:(\d+)`
	scripts0, reads0 := info(t, c, scripts), info(t, c, reads)
	for range count {
		mustPublish(t, b, "lobby", bus.Draft{})
	}
	if n := info(t, c, scripts) - scripts0; n != count {
		t.Errorf("%d publishes ran %d scripts", count, n)
	}
	if n := info(t, c, reads) - reads0; n != count+2 { // two INFOs
		t.Errorf("%d publishes made %d round trips", count, n-2)
	}

	// Publishes that come together travel together.
	reads0 = info(t, c, reads)
	var all sync.WaitGroup
	for range 2000 {
		all.Go(func() { mustPublish(t, b, "lobby", bus.Draft{}) })
	}
	all.Wait()
	if n := info(t, c, reads) - reads0; n > 1000 {
		t.Errorf("2000 publishes at once took %d reads", n)
	}
}

// After a reconnect the positions of all topics are compared, but only the logs of
// those that have moved are read.
func TestOnlyMovedLogsAreRead(t *testing.T) {
	t.Parallel()
	const topics, moved = 2000, 3
	cluster := redisCluster{redistest.Start(t), nil}
	c := client(t, cluster.Server)
	names := make([]string, topics)
	for i := range names {
		names[i] = fmt.Sprint("room ", i)
	}
	b, heard := attach(t, c, nil, names...)
	restore := cluster.Cut(t, b)
	for i := range moved {
		mustPublish(t, b, names[i], bus.Draft{})
	}
	scripts, reads := `cmdstat_evalsha:calls=(\d+)`, `cmdstat_xrange:calls=(\d+)`
	scripts0, reads0 := info(t, c, scripts), info(t, c, reads)
	restore()
	for _, topic := range names {
		heard.Wait(t, topic, "Subscribed again", func(h *bustest.Heard) bool { return len(h.Subscribed) >= 2 })
	}
	if n := info(t, c, reads) - reads0; n > 2*moved {
		t.Errorf("%d moved topics took %d XRANGEs", moved, n)
	}
	// 64 partitions, in as many goes as a busy machine makes of the confirmations, and the sweep's.
	if n := info(t, c, scripts) - scripts0; n > topics/4 {
		t.Errorf("%d topics, %d of them moved, took %d scripts", topics, moved, n)
	}
}

func TestLife(t *testing.T) {
	t.Parallel()
	const hour = 3600 * 1000
	c := client(t, redistest.Start(t))
	b := bus.NewRedis(c, nil)
	key := func(kind string) string {
		return "rookery:{" + bus.Tags[bus.PartitionOf("lobby")] + "}:" + kind + ":lobby"
	}
	check := func(when, kind string, least, most int64) {
		t.Helper()
		if ms := do(t, c, "pttl", key(kind)).(int64); ms < least || ms > most {
			t.Errorf("%s, %s lives %d ms, want %d to %d", when, kind, ms, least, most)
		}
	}
	for _, when := range []string{"first", "then"} {
		mustPublish(t, b, "lobby", bus.Draft{})
		check(when, "log", 24*hour, 25*hour)
		check(when, "meta", 7*24*hour, 15*24*hour)
	}
	keys := do(t, c, "keys", "*:key:*").([]any)
	if len(keys) != 2 {
		t.Errorf("two publishes left the keys %v", keys)
	}
	if ms := do(t, c, "pttl", keys[0]).(int64); ms <= 0 || ms > 30_000 {
		t.Errorf("a key of the bus lives %d ms", ms)
	}
	mustPublish(t, b, "lobby", bus.Draft{User: "alice", Key: "k"})
	if n := len(do(t, c, "keys", "*:key:*").([]any)); n != 3 {
		t.Errorf("three publishes left %d keys", n)
	}

	// A log that begins anew lives as long.
	if err := b.Clear(t.Context(), "lobby"); err != nil {
		t.Fatal(err)
	}
	mustPublish(t, b, "lobby", bus.Draft{})
	check("cleared", "log", 24*hour, 25*hour)

	// Whoever looks keeps the position alive.
	do(t, c, "pexpire", key("meta"), hour)
	if _, err := b.Read(t.Context(), "lobby", 0, 0); err != nil {
		t.Fatal(err)
	}
	check("read", "meta", 7*24*hour, 15*24*hour)

	// Without its position, what is left of a log is worth nothing.
	do(t, c, "del", key("meta"))
	if p, err := b.Read(t.Context(), "lobby", 0, 10); err != nil || p.Head != 0 || p.First != 1 || len(p.Entries) != 0 {
		t.Errorf("without a position: %+v, %v", p, err)
	}
	if n := do(t, c, "exists", key("log")); n != int64(0) {
		t.Error("the old log is still there")
	}
}

// Other scripts signal by themselves, as Live tells.
func TestLive(t *testing.T) {
	t.Parallel()
	c := client(t, redistest.Start(t))
	b, heard := attach(t, c, &bus.Options{Prefix: "test:"}, "lobby")
	channel, prefix := b.Live("lobby")
	if !regexp.MustCompile(`^test:\{\w+\}:live:lobby$`).MatchString(channel) {
		t.Errorf("the live channel is %s", channel)
	}
	script := `return redis.call('SPUBLISH', KEYS[1], ARGV[1] .. '{"a":1}')`
	if n := do(t, c, "eval", script, 1, channel, prefix); n != int64(1) {
		t.Errorf("%v heard the signal", n)
	}
	heard.Wait(t, "lobby", "a signal", func(h *bustest.Heard) bool { return len(h.Signals) == 1 })
	if got := heard.Topic("lobby").Signals[0]; got != `{"a":1}` {
		t.Errorf("heard %s", got)
	}
	// What is no message of ours makes the bus ask the log; unknown kinds are left alone.
	do(t, c, "spublish", channel, "x?")
	do(t, c, "spublish", channel, "mnonsense")
	heard.Wait(t, "lobby", "Subscribed again", func(h *bustest.Heard) bool { return len(h.Subscribed) >= 2 })
	mustPublish(t, b, "lobby", bus.Draft{})
	heard.WaitAt(t, "lobby", 1)
	for _, k := range do(t, c, "keys", "*").([]any) {
		if !strings.HasPrefix(k.(string), "test:{") {
			t.Errorf("the key %s has not the prefix", k)
		}
	}
}

// What is in a log but is no message of ours does not stop the others.
func TestForeignRecord(t *testing.T) {
	t.Parallel()
	c := client(t, redistest.Start(t))
	b := bus.NewRedis(c, nil)
	mustPublish(t, b, "lobby", bus.Draft{})
	channel, _ := b.Live("lobby")
	log := strings.Replace(channel, ":live:", ":log:", 1)
	do(t, c, "xadd", log, "1-7", "m", "1 0 {}")
	do(t, c, "xadd", log, "2-0", "x", "?")
	do(t, c, "hset", strings.Replace(channel, ":live:", ":meta:", 1), "offset", "2")
	mustPublish(t, b, "lobby", bus.Draft{})
	page, err := b.Read(t.Context(), "lobby", 0, 10)
	if err != nil || len(page.Entries) != 3 || page.Entries[1].Payload != nil || page.Entries[2].Offset != 3 {
		t.Errorf("the page is %+v, %v", page, err)
	}
}

func TestWarnings(t *testing.T) {
	t.Parallel()
	primary := redistest.Start(t)
	for name, test := range map[string]struct {
		args []string
		want string
	}{
		"eviction": {[]string{"--maxmemory-policy", "allkeys-lru"}, "noeviction"},
		"replica":  {[]string{"--replicaof", strings.Replace(primary.Addr, ":", " ", 1)}, "replica"},
		"cluster":  {[]string{"--cluster-enabled", "yes"}, "cluster mode"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var log buffer
			opts := &bus.Options{Logger: slog.New(slog.NewTextHandler(&log, nil))}
			b := bus.NewRedis(client(t, redistest.Start(t, test.args...)), opts)
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error)
			go func() { done <- b.Run(ctx, bustest.NewRecorder()) }()
			eventually(t, "a warning is logged", func() bool { return strings.Contains(log.String(), test.want) })
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
		})
	}
}

// A buffer may be written to and read by different goroutines.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func TestRefusedClients(t *testing.T) {
	t.Parallel()
	good := &redis.UniversalOptions{Addrs: []string{"127.0.0.1:1"}, MaxRetries: -1}
	for name, test := range map[string]struct {
		client redis.UniversalClient
		opts   *bus.Options
		want   string
	}{
		"retries":          {redis.NewClient(&redis.Options{}), nil, "MaxRetries: -1"},
		"cluster, retries": {redis.NewClusterClient(&redis.ClusterOptions{MaxRetries: 2}), nil, "MaxRetries: -1"},
		"ring":             {redis.NewRing(&redis.RingOptions{}), nil, "redis.NewUniversalClient"},
		"prefix":           {redis.NewUniversalClient(good), &bus.Options{Prefix: "{x}"}, "brace"},
	} {
		b := bus.NewRedis(test.client, test.opts)
		_, err1 := b.Publish(t.Context(), "lobby", bus.Draft{Payload: []byte(`{}`)})
		_, err2 := b.Read(t.Context(), "lobby", 0, 1)
		_, err3 := b.Signal(t.Context(), "lobby", nil)
		for i, err := range []error{
			b.Run(t.Context(), bustest.NewRecorder()), b.Subscribe(t.Context(), "lobby"), b.Unsubscribe(t.Context(), "lobby"),
			err1, err2, err3, b.Remove(t.Context(), "lobby", 1), b.Clear(t.Context(), "lobby"),
		} {
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%s: method %d answers %v", name, i, err)
			}
		}
		test.client.Close()
	}
}
