package bus_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
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
		for end := time.Now().Add(time.Minute); b.Stats().Behind != 0; time.Sleep(10 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("all was heard, and yet: %+v", b.Stats())
			}
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
	if _, err := b.Signal(t.Context(), "lobby", []byte(`{}`)); !errors.Is(err, bus.ErrUnavailable) {
		t.Errorf("Signal without a server: %v", err)
	}
	patient := make(chan bus.Receipt)
	go func() { // while it is tried, the server comes back
		d := bus.Draft{Payload: []byte(`{"patient":1}`), Key: "p"}
		r, err := b.Publish(context.Background(), "lobby", d)
		for errors.Is(err, bus.ErrUnavailable) {
			r, err = b.Publish(context.Background(), "lobby", d)
		}
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
	heard.Wait(t, "lobby", "Subscribed again", func(h *bustest.Heard) bool { return len(h.Subscribed) >= 2 })
	page, err := b.Read(t.Context(), "lobby", 0, 10)
	if err != nil || page.Head != 2 {
		t.Errorf("the head is %d, %v", page.Head, err)
	}
	if s := b.Stats(); s.Reconnects == 0 {
		t.Errorf("the stats are %+v", s)
	}
}

// Publishes share calls of a script. What is wrong with one topic's keys is not the others' trouble, and
// takes nothing from those that were stored before.
func TestForeignLog(t *testing.T) {
	t.Parallel()
	c := client(t, redistest.Start(t))
	b, heard := attach(t, c, nil, "lobby")
	key := func(kind, name string) string {
		return "rookery:{" + bus.Tags[bus.PartitionOf("foreign")] + "}:" + kind + ":" + name
	}
	mustPublish(t, b, "foreign", bus.Draft{})
	do(t, c, "del", key("log", "foreign"))
	do(t, c, "set", key("log", "foreign"), "of another program")
	const each = 300
	var all sync.WaitGroup
	for _, topic := range []string{"lobby", "foreign"} {
		for i := range each {
			all.Go(func() {
				_, err := b.Publish(t.Context(), topic, bus.Draft{Payload: []byte(`{}`), User: "alice", Key: fmt.Sprint(i)})
				if foreign := topic == "foreign"; (err != nil) != foreign || foreign && (!strings.Contains(err.Error(), "WRONGTYPE") || errors.Is(err, bus.ErrUnavailable)) {
					t.Errorf("Publish to %s: %v", topic, err)
				}
			})
		}
	}
	all.Wait()
	heard.WaitAt(t, "lobby", each)
	do(t, c, "del", key("log", "foreign"))
	if r := mustPublish(t, b, "foreign", bus.Draft{Payload: []byte(`{}`), User: "alice", Key: "0"}); r.Duplicate || r.Offset != 2 {
		t.Errorf("the refused publish, repeated, got %+v", r)
	}
}

// What was stored is told to who asks again, also where nothing can be stored any more.
func TestRepeatWithoutMemory(t *testing.T) {
	t.Parallel()
	c := client(t, redistest.Start(t))
	b, _ := attach(t, c, nil)
	d := bus.Draft{Payload: []byte(`{}`), User: "alice", Key: "k"}
	first := mustPublish(t, b, "lobby", d)
	do(t, c, "config", "set", "maxmemory", "1")
	if again := mustPublish(t, b, "lobby", d); !again.Duplicate || again.Position != first.Position {
		t.Errorf("the publish %+v, repeated, got %+v", first, again)
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

// A server that takes no publishes is not held for one that serves: not while it is a replica, and
// neither while it loads its data.
func TestServesNot(t *testing.T) {
	t.Parallel()
	for name, begin := range map[string]func(*testing.T, redis.UniversalClient) (end func()){
		"replica": func(t *testing.T, c redis.UniversalClient) func() {
			do(t, c, "replicaof", "127.0.0.1", "1")
			return func() { do(t, c, "replicaof", "no", "one") }
		},
		"loading": func(t *testing.T, c redis.UniversalClient) func() {
			for i := range 200 {
				do(t, c, "set", fmt.Sprint("ballast", i), strings.Repeat("x", 1024))
			}
			do(t, c, "config", "set", "key-load-delay", "100000") // µs
			go c.Do(context.Background(), "debug", "reload")
			return func() { do(t, c, "config", "set", "key-load-delay", "0") }
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := client(t, redistest.Start(t, "--enable-debug-command", "yes", "--rdbcompression", "no", "--loading-process-events-interval-bytes", "1024"))
			b, heard := attach(t, c, nil, "lobby")
			mustPublish(t, b, "lobby", bus.Draft{})
			heard.WaitAt(t, "lobby", 1)
			end := begin(t, c)
			eventually(t, "the connection is given up", func() bool { return len(b.Connections()) == 0 })
			before := b.Stats().Heard
			end()
			eventually(t, "a probe comes back", func() bool { return b.Stats().Heard.After(before) })
			mustPublish(t, b, "lobby", bus.Draft{})
			heard.WaitAt(t, "lobby", 2)
		})
	}
}

// However many publishes Redis refuses, an operator reads of it once, and why.
func TestRefusalsAreLoggedOnce(t *testing.T) {
	t.Parallel()
	var log buffer
	c := client(t, redistest.Start(t))
	b := bus.NewRedis(c, &bus.Options{Logger: slog.New(slog.NewTextHandler(&log, nil))})
	d := bus.Draft{Payload: []byte(`{}`)}
	for range 10 {
		do(t, c, "config", "set", "maxmemory", "1")
		for range 10 {
			if _, err := b.Publish(t.Context(), "lobby", d); err == nil {
				t.Fatal("published, without memory")
			}
		}
		do(t, c, "config", "set", "maxmemory", "0")
		mustPublish(t, b, "lobby", d)
	}
	if n := strings.Count(log.String(), "OOM"); n != 1 {
		t.Errorf("%d lines say it:\n%s", n, log.String())
	}
	eventually(t, "it is over, as the log says", func() bool {
		mustPublish(t, b, "lobby", d)
		return strings.Contains(log.String(), "get through to Redis again")
	})
}

// A primary that too few replicas follow takes nothing, where an operator wants it so.
func TestTooFewReplicas(t *testing.T) {
	t.Parallel()
	c := client(t, redistest.Start(t, "--min-replicas-max-lag", "1"))
	b, heard := attach(t, c, nil, "lobby")
	mustPublish(t, b, "lobby", bus.Draft{})
	do(t, c, "config", "set", "min-replicas-to-write", 1)
	d := bus.Draft{Payload: []byte(`{}`), User: "alice", Key: "k"}
	if _, err := b.Publish(t.Context(), "lobby", d); !errors.Is(err, bus.ErrUnavailable) || !strings.Contains(err.Error(), "NOREPLICAS") {
		t.Errorf("Publish without a replica: %v", err)
	}
	do(t, c, "config", "set", "min-replicas-to-write", 0)
	if r := mustPublish(t, b, "lobby", d); r.Duplicate || r.Offset != 2 {
		t.Errorf("the refused publish, repeated, got %+v", r)
	}
	heard.WaitAt(t, "lobby", 2)
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
	if s := b.Stats(); s.Reconnects == 0 {
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
	group := redistest.StartGroup(t, 1, 1)
	a := group.Servers[0]
	onA, onB := client(t, a), client(t, group.Servers[1])
	opts, err := bus.ParseURLs([]string{group.URL()})
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
