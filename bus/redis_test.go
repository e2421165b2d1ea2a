package bus_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
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
	for end := time.Now().Add(30 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
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
		heard.Wait(t, topic, "Subscribed again", func(h *bustest.Heard) bool { return len(h.Subscribed) == 2 })
	}
	if n := info(t, c, reads) - reads0; n > 2*moved {
		t.Errorf("%d moved topics took %d XRANGEs", moved, n)
	}
	// 64 partitions, perhaps in two goes, and the sweep's.
	if n := info(t, c, scripts) - scripts0; n > 3*64+moved {
		t.Errorf("%d topics, %d of them moved, took %d scripts", topics, moved, n)
	}
}

// storm publishes from every bus at once while trouble happens again and again, and
// then checks that everyone has heard the same, everything acknowledged, and nothing twice.
func storm(t *testing.T, buses []*bus.Redis, heard []*bustest.Recorder, topic string, lasts time.Duration, trouble func()) {
	const each = 4
	quit := make(chan struct{})
	var mu sync.Mutex
	acked := make(map[string]uint64)
	var failed atomic.Int64
	var all sync.WaitGroup
	for i, b := range buses {
		for j := range each {
			all.Go(func() {
				for n := 0; ; n++ {
					select {
					case <-quit:
						return
					default:
					}
					payload := fmt.Sprintf(`{"by":"%d-%d","n":%d}`, i, j, n)
					d := bus.Draft{Payload: []byte(payload)}
					if n%2 == 0 {
						d.User, d.Key = "alice", payload
					}
					r, err := b.Publish(context.Background(), topic, d)
					switch {
					case errors.Is(err, bus.ErrUnavailable):
						failed.Add(1)
					case err != nil:
						t.Errorf("Publish: %v", err)
					default:
						if r.Duplicate {
							t.Errorf("a first publish is called a repeat: %+v", r)
						}
						mu.Lock()
						acked[payload] = r.Offset
						mu.Unlock()
					}
				}
			})
		}
	}
	for end := time.Now().Add(lasts); time.Now().Before(end); {
		trouble()
	}
	close(quit)
	all.Wait()

	page, err := buses[0].Read(t.Context(), topic, 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range heard {
		h.WaitAt(t, topic, page.Head)
		topic := h.Topic(topic)
		if len(topic.Resets) != 0 || len(topic.Messages) != int(page.Head) {
			t.Errorf("heard %d messages of %d, and %d resets", len(topic.Messages), page.Head, len(topic.Resets))
		}
		at := make(map[string]uint64)
		for _, m := range topic.Messages {
			if at[string(m.Payload)] != 0 {
				t.Errorf("%s is stored at %d and at %d", m.Payload, at[string(m.Payload)], m.Offset)
			}
			at[string(m.Payload)] = m.Offset
		}
		for payload, offset := range acked {
			if at[payload] != offset {
				t.Errorf("%s was acknowledged at %d and heard at %d", payload, offset, at[payload])
			}
		}
	}
	if len(acked) == 0 {
		t.Error("nothing was published")
	}
	t.Logf("%d messages, %d publishes without an answer, stats of one: %+v", page.Head, failed.Load(), buses[0].Stats())
}

func TestKilledConnections(t *testing.T) {
	t.Parallel()
	srv := redistest.Start(t)
	admin := client(t, srv)
	long := &bus.Options{LogLength: 1_000_000}
	var buses []*bus.Redis
	var heard []*bustest.Recorder
	for range 3 {
		b, h := attach(t, client(t, srv), long, "lobby")
		buses, heard = append(buses, b), append(heard, h)
	}
	kinds := []string{"pubsub", "normal"}
	i := 0
	storm(t, buses, heard, "lobby", 3*time.Second, func() {
		do(t, admin, "client", "kill", "type", kinds[i%2], "skipme", "yes")
		i++
		time.Sleep(30 * time.Millisecond)
	})
	for _, b := range buses {
		if s := b.Stats(); s.Reconnects == 0 || s.Gaps == 0 {
			t.Errorf("nothing was cut: %+v", s)
		}
	}
}

func TestScriptFlush(t *testing.T) {
	t.Parallel()
	srv := redistest.Start(t)
	admin := client(t, srv)
	b, h := attach(t, client(t, srv), &bus.Options{LogLength: 1_000_000}, "lobby")
	storm(t, []*bus.Redis{b}, []*bustest.Recorder{h}, "lobby", time.Second, func() {
		do(t, admin, "script", "flush")
		if _, err := b.Read(t.Context(), "lobby", 0, 1); err != nil {
			t.Errorf("Read: %v", err)
		}
	})
	if n := info(t, admin, `cmdstat_eval:calls=(\d+)`); n < 5 {
		t.Errorf("only %d scripts had to be sent again", n)
	}
}

func TestServerKilled(t *testing.T) {
	t.Parallel()
	srv := redistest.Start(t, "--appendonly", "yes", "--appendfsync", "no")
	b, heard := attach(t, client(t, srv), nil, "lobby")
	first := mustPublish(t, b, "lobby", bus.Draft{})
	heard.WaitAt(t, "lobby", 1)

	srv.Kill()
	d := bus.Draft{Payload: []byte(`{"kept":1}`), User: "alice", Key: "k"}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if _, err := b.Publish(ctx, "lobby", d); !errors.Is(err, bus.ErrUnavailable) {
		t.Errorf("Publish without a server: %v", err)
	}
	if _, err := b.Read(ctx, "lobby", 0, 1); err == nil {
		t.Error("Read without a server succeeded")
	}
	if err := b.Signal(t.Context(), "lobby", []byte(`{}`)); !errors.Is(err, bus.ErrUnavailable) {
		t.Errorf("Signal without a server: %v", err)
	}
	patient := make(chan bus.Receipt)
	go func() { // within its 5 s the server comes back
		r, _ := b.Publish(context.Background(), "lobby", bus.Draft{Payload: []byte(`{"patient":1}`)})
		patient <- r
	}()
	time.Sleep(100 * time.Millisecond)
	srv.Restart()
	if r := <-patient; r.Offset != 2 || r.Epoch == first.Epoch {
		t.Errorf("the publish that waited got %+v, the one before %+v", r, first)
	}
	if r := mustPublish(t, b, "lobby", d); r.Duplicate || r.Offset != 3 {
		t.Errorf("the refused publish, repeated, got %+v", r)
	}
	if r := mustPublish(t, b, "lobby", d); !r.Duplicate || r.Offset != 3 {
		t.Errorf("repeated once more, it got %+v", r)
	}
	heard.WaitAt(t, "lobby", 3)
	if h := heard.Topic("lobby"); len(h.Messages) != 3 || len(h.Resets) != 1 || !h.Resets[0].Recovered {
		t.Errorf("heard %d messages and the resets %+v", len(h.Messages), h.Resets)
	}
}

// A server that stands still keeps its connections, and swallows what is sent to it.
func TestServerPaused(t *testing.T) {
	t.Parallel()
	srv := redistest.Start(t)
	b, heard := attach(t, client(t, srv), nil, "lobby")
	mustPublish(t, b, "lobby", bus.Draft{})
	heard.WaitAt(t, "lobby", 1)

	srv.Pause()
	defer srv.Continue()
	d := bus.Draft{Payload: []byte(`{}`), User: "alice", Key: "k"}
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	if _, err := b.Publish(ctx, "lobby", d); !errors.Is(err, bus.ErrUnavailable) {
		t.Errorf("Publish to a paused server: %v", err)
	}
	eventually(t, "the watchdog cuts the connection", func() bool { return len(b.Connections()) == 0 })
	srv.Continue()
	r := mustPublish(t, b, "lobby", d)
	if r.Offset != 2 {
		t.Errorf("the publish without answer, repeated, got %+v", r)
	}
	heard.WaitAt(t, "lobby", 2)
	heard.Wait(t, "lobby", "Subscribed again", func(h *bustest.Heard) bool { return len(h.Subscribed) == 2 })
	page, err := b.Read(t.Context(), "lobby", 0, 10)
	if err != nil || page.Head != 2 {
		t.Errorf("the head is %d, %v", page.Head, err)
	}
	if s := b.Stats(); s.Reconnects != 1 {
		t.Errorf("the stats are %+v", s)
	}
}

func TestOutOfMemory(t *testing.T) {
	t.Parallel()
	c := client(t, redistest.Start(t))
	b, heard := attach(t, c, nil, "lobby")
	mustPublish(t, b, "lobby", bus.Draft{})
	do(t, c, "config", "set", "maxmemory", "1")
	d := bus.Draft{Payload: []byte(`{}`), User: "alice", Key: "k"}
	for _, topic := range []string{"lobby", "new"} {
		_, err := b.Publish(t.Context(), topic, d)
		if !errors.Is(err, bus.ErrUnavailable) || !strings.Contains(err.Error(), "OOM") {
			t.Errorf("Publish to %s without memory: %v", topic, err)
		}
	}
	eventually(t, "the history's cache is gone", func() bool {
		return do(t, c, "exists", "rookery:{"+bus.Tags[bus.PartitionOf("lobby")]+"}:history:id") == int64(0)
	})
	if page, err := b.Read(t.Context(), "lobby", 0, 10); err != nil || page.Head != 1 || len(page.Entries) != 1 {
		t.Errorf("Read without memory: %+v, %v", page, err)
	}
	do(t, c, "config", "set", "maxmemory", "0")
	if r := mustPublish(t, b, "lobby", d); r.Duplicate || r.Offset != 2 {
		t.Errorf("the refused publish, repeated, got %+v", r)
	}
	heard.WaitAt(t, "lobby", 2)
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
	heard.Wait(t, "lobby", "Subscribed again", func(h *bustest.Heard) bool { return len(h.Subscribed) == 2 })
	mustPublish(t, b, "lobby", bus.Draft{})
	heard.WaitAt(t, "lobby", 1)
	for _, k := range do(t, c, "keys", "*").([]any) {
		if !strings.HasPrefix(k.(string), "test:{") {
			t.Errorf("the key %s has not the prefix", k)
		}
	}
}

// A message that nobody heard, with none after it to show the gap, is found all the same.
func TestSweep(t *testing.T) {
	t.Parallel()
	c := client(t, redistest.Start(t))
	topic := ""
	for i := 0; bus.PartitionOf(topic) != 1; i++ {
		topic = fmt.Sprint("room ", i)
	}
	b, heard := attach(t, c, nil, topic)
	mustPublish(t, b, topic, bus.Draft{})
	heard.WaitAt(t, topic, 1)
	// A message is stored as publish.lua does it, but for the last step.
	channel, _ := b.Live(topic)
	meta, log := strings.Replace(channel, ":live:", ":meta:", 1), strings.Replace(channel, ":live:", ":log:", 1)
	do(t, c, "eval", `redis.call('XADD', KEYS[2], '2-0', 'm', '1 0 {}') return redis.call('HSET', KEYS[1], 'offset', '2')`, 2, meta, log)
	heard.WaitAt(t, topic, 2)
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

// Publishes go to another server than the one that the live connection leads to.
func TestElsewhere(t *testing.T) {
	t.Parallel()
	old, current := redistest.Start(t), redistest.Start(t)
	var addr atomic.Value
	addr.Store(old.Addr)
	b, heard := attach(t, follow(t, &addr), nil, "lobby")
	mustPublish(t, b, "lobby", bus.Draft{})
	heard.WaitAt(t, "lobby", 1)
	addr.Store(current.Addr)
	do(t, client(t, old), "client", "kill", "type", "normal", "skipme", "yes")
	heard.Wait(t, "lobby", "a reset", func(h *bustest.Heard) bool { return len(h.Resets) == 1 })
	if s := b.Stats(); s.Reconnects != 1 {
		t.Errorf("the stats are %+v", s)
	}
	mustPublish(t, b, "lobby", bus.Draft{})
	heard.Wait(t, "lobby", "a message", func(h *bustest.Heard) bool { return len(h.Messages) == 2 })
}

// follow returns a client that dials whatever server addr names.
func follow(t *testing.T, addr *atomic.Value) redis.UniversalClient {
	opts, err := bus.ParseURLs([]string{"redis://localhost"})
	if err != nil {
		t.Fatal(err)
	}
	dial := opts.Dialer
	opts.Dialer = func(ctx context.Context, network, _ string) (net.Conn, error) {
		return dial(ctx, network, addr.Load().(string))
	}
	c := redis.NewUniversalClient(opts)
	t.Cleanup(func() { c.Close() })
	return c
}

// prompt makes a server send its data to a replica without waiting for others.
var prompt = []string{"--repl-diskless-sync-delay", "0"}

// A replica takes over that lacks the newest messages: their offsets are handed out
// again, in a new epoch.
func TestFailover(t *testing.T) {
	t.Parallel()
	a, b := redistest.Start(t, prompt...), redistest.Start(t, prompt...)
	onA, onB := client(t, a), client(t, b)
	replicate(t, onB, a)

	var addr atomic.Value
	addr.Store(a.Addr)
	node, heard := attach(t, follow(t, &addr), nil, "lobby")
	var last bus.Receipt
	for range 5 {
		last = mustPublish(t, node, "lobby", bus.Draft{})
	}
	inStep(t, onA, onB)
	do(t, onB, "replicaof", "no", "one")
	lost := bus.Draft{Payload: []byte(`{"lost":true}`), User: "alice", Key: "k"}
	for range 2 {
		last = mustPublish(t, node, "lobby", lost)
		lost.Key += "'"
	}
	heard.WaitAt(t, "lobby", 7)
	addr.Store(b.Addr)
	a.Kill()

	heard.Wait(t, "lobby", "a reset", func(h *bustest.Heard) bool { return len(h.Resets) == 1 })
	if r := heard.Topic("lobby").Resets[0]; r.At.Offset != 5 || r.Recovered || r.Reason != "epoch" {
		t.Errorf("the reset is %+v", r)
	}
	next := mustPublish(t, node, "lobby", bus.Draft{User: "alice", Key: "k"})
	if next.Offset != 6 || next.Epoch == last.Epoch || next.Duplicate {
		t.Errorf("the next publish got %+v; the last one before got %+v", next, last)
	}
	page, err := node.Read(t.Context(), "lobby", 0, 10)
	if err != nil || page.Previous != (bus.Position{Epoch: last.Epoch, Offset: 5}) || page.Head != 6 {
		t.Errorf("the page is %+v, %v", page, err)
	}
	heard.WaitAt(t, "lobby", 6)
}

// Two servers change places and back, with a loss, before anybody asks for the topic:
// the first one's process is the same as before, its history is not.
func TestFailoverAndBack(t *testing.T) {
	t.Parallel()
	a, b := redistest.Start(t, prompt...), redistest.Start(t, prompt...)
	onA, onB := client(t, a), client(t, b)
	node := bus.NewRedis(onA, nil)
	replicate(t, onB, a)
	kept := mustPublish(t, node, "lobby", bus.Draft{})
	inStep(t, onA, onB)
	do(t, onB, "replicaof", "no", "one")
	lost := mustPublish(t, node, "lobby", bus.Draft{})
	replicate(t, onA, b)
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if _, err := node.Publish(ctx, "lobby", bus.Draft{Payload: []byte(`{}`)}); !errors.Is(err, bus.ErrUnavailable) {
		t.Errorf("Publish to a replica: %v", err)
	}
	do(t, onA, "replicaof", "no", "one")
	next := mustPublish(t, node, "lobby", bus.Draft{})
	if next.Offset != lost.Offset || next.Epoch == lost.Epoch || lost.Epoch != kept.Epoch {
		t.Errorf("%v was kept, %v was lost, and then came %v", kept.Position, lost.Position, next.Position)
	}
}

// Sentinel makes the replica the primary when that one dies.
func TestSentinel(t *testing.T) {
	t.Parallel()
	a, b := redistest.Start(t, prompt...), redistest.Start(t, prompt...)
	onA, onB := client(t, a), client(t, b)
	replicate(t, onB, a)
	sentinel := redistest.StartSentinel(t, a)
	eventually(t, "the Sentinel knows the replica", func() bool {
		c := client(t, sentinel)
		return strings.Contains(fmt.Sprint(do(t, c, "sentinel", "replicas", "main")), strings.TrimPrefix(b.Addr, "127.0.0.1:"))
	})
	opts, err := bus.ParseURLs([]string{"redis+sentinel://" + sentinel.Addr + "/main"})
	if err != nil {
		t.Fatal(err)
	}
	c := redis.NewUniversalClient(opts)
	t.Cleanup(func() { c.Close() })
	node, heard := attach(t, c, nil, "lobby")
	for range 3 {
		mustPublish(t, node, "lobby", bus.Draft{})
	}
	inStep(t, onA, onB)
	heard.WaitAt(t, "lobby", 3)
	a.Kill()
	heard.Wait(t, "lobby", "a reset", func(h *bustest.Heard) bool { return len(h.Resets) == 1 })
	if r := heard.Topic("lobby").Resets[0]; r.At.Offset != 3 || !r.Recovered {
		t.Errorf("the reset is %+v", r)
	}
	if r := mustPublish(t, node, "lobby", bus.Draft{}); r.Offset != 4 || r.Receivers != 1 {
		t.Errorf("the next publish got %+v", r)
	}
	heard.WaitAt(t, "lobby", 4)
}

// replicate makes c's server a replica of s, and waits until it is one.
func replicate(t *testing.T, c redis.UniversalClient, s *redistest.Server) {
	t.Helper()
	host, port, _ := net.SplitHostPort(s.Addr)
	do(t, c, "replicaof", host, port)
	eventually(t, "the replica is in step", func() bool {
		return strings.Contains(do(t, c, "info", "replication").(string), "master_link_status:up")
	})
}

func inStep(t *testing.T, master, replica redis.UniversalClient) {
	t.Helper()
	offset := `master_repl_offset:(\d+)`
	eventually(t, "the replica has everything", func() bool { return info(t, master, offset) == info(t, replica, offset) })
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
		for i, err := range []error{
			b.Run(t.Context(), bustest.NewRecorder()), b.Subscribe(t.Context(), "lobby"), b.Unsubscribe(t.Context(), "lobby"),
			err1, err2, b.Signal(t.Context(), "lobby", nil), b.Remove(t.Context(), "lobby", 1), b.Clear(t.Context(), "lobby"),
		} {
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%s: method %d answers %v", name, i, err)
			}
		}
		test.client.Close()
	}
}
