package faults_test

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/rookery-chat/rookery/client"
	"github.com/rookery-chat/rookery/internal/processtest"
	"github.com/rookery-chat/rookery/internal/redistest"
	"github.com/rookery-chat/rookery/wire"
)

// patience bounds every wait. It is only reached when something is wrong.
const patience = processtest.Patience

func TestMain(m *testing.M) {
	flag.Parse()
	// Drills wait most of the time: as many at once as there are cores would leave these idle.
	if f := flag.Lookup("test.parallel"); f.Value.String() == f.DefValue {
		f.Value.Set(fmt.Sprint(2 * runtime.GOMAXPROCS(0)))
	}
	goleak.VerifyTestMain(m)
}

// A process is one `rookery serve`.
type process struct {
	*processtest.Node
	tb testing.TB
}

// serve starts a node on free ports and waits until it is ready.
func serve(tb testing.TB, redis *redistest.Server, flags ...string) *process {
	tb.Helper()
	p := launch(tb, redis, flags...)
	p.AwaitReady(true)
	return p
}

// launch is serve for a node that may not become ready.
func launch(tb testing.TB, redis *redistest.Server, flags ...string) *process {
	tb.Helper()
	flags = append([]string{"--drain-delay=100ms", "--handshakes=100000"}, flags...)
	if redis != nil {
		flags = append(flags, "--redis="+redis.URL())
	}
	return &process{processtest.Launch(tb, flags...), tb}
}

// freeze is SIGSTOP. It returns when nothing in the process runs any more.
func (p *process) freeze() {
	p.tb.Helper()
	p.Signal(syscall.SIGSTOP)
	await(p.tb, p.ID+" is frozen", func() bool {
		threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", p.Cmd.Process.Pid))
		for _, thread := range threads {
			if stat, err := os.ReadFile(thread); err == nil && !strings.Contains(string(stat), ") T ") {
				return false
			}
		}
		return len(threads) > 0
	})
}

// rss is the node's resident memory in bytes.
func (p *process) rss() int {
	p.tb.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", p.Cmd.Process.Pid))
	if err != nil {
		p.tb.Fatal(err)
	}
	var size, resident int
	fmt.Sscan(string(b), &size, &resident)
	return resident * os.Getpagesize()
}

// await polls until done returns true: for what no event tells.
var await = processtest.Await

// A member is a client that keeps everything it got.
type member struct {
	*client.Client
	tb   testing.TB
	user string
	done chan struct{}
	stop context.CancelFunc

	mu       sync.Mutex
	changed  chan struct{}              // Guarded by mu. Closed and replaced at each event.
	messages map[string][]*wire.Message // by topic. Guarded by mu.
	resets   []*wire.Reset              // Guarded by mu.
	people   map[string]map[string]bool // who is in a topic, by its presence frames. Guarded by mu.
	left     map[string]int             // how often a user was seen leaving, by topic and user. Guarded by mu.
	joined   map[string]int             // likewise. Guarded by mu.
	connects int                        // Guarded by mu.
	newest   time.Time                  // connection. Guarded by mu.
	faults   []string                   // what must not be. Guarded by mu.
}

// enter runs a client at url until the test ends.
func enter(tb testing.TB, url, user string) *member {
	tb.Helper()
	m := &member{
		Client: client.New(url, &client.Options{User: user}), tb: tb, user: user,
		done: make(chan struct{}), changed: make(chan struct{}),
		messages: make(map[string][]*wire.Message), people: make(map[string]map[string]bool),
		left: make(map[string]int), joined: make(map[string]int),
	}
	ctx, stop := context.WithCancel(context.Background())
	m.stop = stop
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := m.Run(ctx); err != nil {
			m.fault("Run: %v", err)
		}
	})
	wg.Go(func() {
		for ev := range m.Events(context.Background()) {
			m.take(ev)
		}
	})
	go func() { wg.Wait(); close(m.done) }()
	tb.Cleanup(m.leave)
	return m
}

// leave ends the client and reports what it found wrong. It is safe to repeat.
func (m *member) leave() {
	m.stop()
	<-m.done
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, f := range m.faults {
		m.tb.Errorf("%s: %s", m.user, f)
	}
	m.faults = nil
}

// came is when the member was in all of its rooms, by its newest connection.
func (m *member) came() time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.newest
}

func (m *member) fault(format string, args ...any) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.faults = append(m.faults, fmt.Sprintf(format, args...))
}

func (m *member) take(ev client.Event) {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch ev := ev.(type) {
	case *client.Connected:
		m.connects++
		m.newest = time.Now()
	case *wire.Message:
		m.messages[ev.Topic] = append(m.messages[ev.Topic], ev)
	case *wire.Reset:
		m.resets = append(m.resets, ev)
	case *wire.Presence:
		in := m.people[ev.Topic]
		if in == nil {
			in = make(map[string]bool)
			m.people[ev.Topic] = in
		}
		for _, u := range ev.Joined {
			in[u] = true
			m.joined[ev.Topic+" "+u]++
		}
		for _, u := range ev.Left {
			delete(in, u)
			m.left[ev.Topic+" "+u]++
		}
	}
	close(m.changed)
	m.changed = make(chan struct{})
}

// join joins a room, with its roster.
func (m *member) join(topic string, opts *client.JoinOptions) *wire.Joined {
	m.tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	j, err := m.Join(ctx, topic, opts)
	if err != nil {
		m.tb.Fatalf("%s joins %s: %v", m.user, topic, err)
	}
	return j
}

// say publishes until it is acknowledged.
func (m *member) say(topic, text string) *wire.Published {
	m.tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	p, err := m.Publish(ctx, topic, text, nil)
	if err != nil {
		m.tb.Fatalf("%s publishes to %s: %v", m.user, topic, err)
	}
	return p
}

// await waits until what the member got is as wanted.
func (m *member) await(what string, done func() bool) {
	m.tb.Helper()
	deadline := time.After(patience)
	for {
		m.mu.Lock()
		ok, changed := done(), m.changed
		m.mu.Unlock()
		if ok {
			return
		}
		select {
		case <-changed:
		case <-deadline:
			m.mu.Lock()
			defer m.mu.Unlock()
			got := ""
			for topic, list := range m.messages {
				got += fmt.Sprintf(" %s:%d", topic, len(list))
			}
			m.tb.Fatalf("%s waits in vain: %s; got%s, %d resets, %d connects", m.user, what, got, len(m.resets), m.connects)
		}
	}
}

// awaitTexts waits until the member got exactly texts in a topic, in order, each once.
func (m *member) awaitTexts(topic string, texts []string) {
	m.tb.Helper()
	m.await(fmt.Sprintf("%d messages in %s", len(texts), topic), func() bool { return len(m.messages[topic]) >= len(texts) })
	m.mu.Lock()
	defer m.mu.Unlock()
	if n := len(m.messages[topic]); n != len(texts) {
		m.tb.Fatalf("%s got %d messages in %s, want %d", m.user, n, topic, len(texts))
	}
	for i, msg := range m.messages[topic] {
		var got string
		json.Unmarshal(msg.Data, &got)
		if got != texts[i] {
			m.tb.Fatalf("%s got %q as message %d of %s, want %q", m.user, got, i, topic, texts[i])
		}
	}
}
