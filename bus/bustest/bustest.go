// Package bustest is the conformance suite of bus.Bus: what every implementation promises.
package bustest

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rookery-chat/rookery/bus"
)

// A Cluster is an empty cluster of one implementation, for one test.
type Cluster interface {
	// Attach returns one more attachment, which is not running yet.
	Attach(t *testing.T) bus.Bus
	// Cut breaks the live path of b until restore is called.
	Cut(t *testing.T, b bus.Bus) (restore func())
	// Restart ends the service and begins it again, with all data or with none.
	Restart(t *testing.T, keep bool)
}

// Run tests the implementation whose clusters newCluster makes, in parallel with other tests.
func Run(t *testing.T, newCluster func(t *testing.T, opts *bus.Options) Cluster) {
	t.Parallel()
	test := func(name string, opts *bus.Options, f func(t *testing.T, c *cluster)) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f(t, &cluster{Cluster: newCluster(t, opts)})
		})
	}
	short := &bus.Options{LogLength: 10}
	test("one order everywhere", nil, testOrder)
	test("receipts", nil, testReceipts)
	test("keys", nil, testKeys)
	test("keys at once", nil, testKeysAtOnce)
	test("pages", nil, testPages)
	test("big pages", nil, testBigPages)
	test("trimming", short, testTrimming)
	test("age", &bus.Options{LogAge: 300 * time.Millisecond}, testAge)
	test("bounds by topic", &bus.Options{LogFor: func(topic string) (int, time.Duration) {
		if topic == "short" {
			return 10, 0
		}
		return 0, 0
	}}, testBounds)
	test("except", nil, testExcept)
	test("remove and clear", nil, testRemove)
	test("subscribe under load", nil, testSubscribe)
	test("subscribe before Run", nil, testBeforeRun)
	test("unsubscribe under load", nil, testUnsubscribe)
	test("signals", nil, testSignals)
	test("cut", nil, testCut)
	test("cut and trimmed", short, testCutTrimmed)
	test("cuts under load", &bus.Options{LogLength: 1_000_000}, testCuts)
	test("restart empty", nil, testRestartEmpty)
	test("restart with data", nil, testRestartKept)
	test("many topics", nil, testManyTopics)
	test("bad input", nil, testBadInput)
}

// A cluster adds to a Cluster what the tests need.
type cluster struct{ Cluster }

// A node is an attachment that runs, and what it hears.
type node struct {
	bus.Bus
	*Recorder
}

// Signal is the bus's; the Recorder has one too.
func (n node) Signal(ctx context.Context, topic string, payload []byte) error {
	return n.Bus.Signal(ctx, topic, payload)
}

// run runs b until the test ends, and then looks for broken promises.
func run(t *testing.T, b bus.Bus) node {
	n := node{b, NewRecorder()}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- b.Run(ctx, n.Recorder) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run returned %v", err)
		}
		for _, f := range n.Faults() {
			t.Error("promise broken: ", f)
		}
	})
	return n
}

// nodes returns running attachments that are subscribed to topics.
func (c *cluster) nodes(t *testing.T, n int, topics ...string) []node {
	all := make([]node, n)
	for i := range all {
		all[i] = run(t, c.Attach(t))
		subscribe(t, all[i], topics...)
	}
	for _, n := range all {
		for _, topic := range topics {
			n.WaitSubscribed(t, topic)
		}
	}
	return all
}

func subscribe(t *testing.T, b bus.Bus, topics ...string) {
	t.Helper()
	if err := b.Subscribe(t.Context(), topics...); err != nil {
		t.Fatalf("Subscribe: %v", err)
	}
}

func publish(t *testing.T, b bus.Bus, topic, payload string) bus.Receipt {
	t.Helper()
	return publishDraft(t, b, topic, bus.Draft{Payload: []byte(payload)})
}

func publishDraft(t *testing.T, b bus.Bus, topic string, d bus.Draft) bus.Receipt {
	t.Helper()
	r, err := b.Publish(t.Context(), topic, d)
	if err != nil {
		t.Errorf("Publish to %s: %v", topic, err)
	}
	return r
}

func read(t *testing.T, b bus.Bus, topic string, after uint64, limit int) bus.Page {
	t.Helper()
	p, err := b.Read(t.Context(), topic, after, limit)
	if err != nil {
		t.Fatalf("Read of %s after %d: %v", topic, after, err)
	}
	return p
}

// payloads returns what a page holds; "-" stands for a removed message.
func payloads(p bus.Page) string {
	var s []string
	for _, e := range p.Entries {
		if e.Payload == nil {
			s = append(s, "-")
		} else {
			s = append(s, string(e.Payload))
		}
	}
	return strings.Join(s, " ")
}

func testOrder(t *testing.T, c *cluster) {
	const publishers, each = 8, 50
	nodes := c.nodes(t, 3, "lobby", "quiet")
	var all sync.WaitGroup
	var mu sync.Mutex
	acked := make(map[uint64]string)
	for p := range publishers {
		all.Go(func() {
			last := uint64(0)
			for i := range each {
				payload := fmt.Sprintf(`{"from":%d,"n":%d}`, p, i)
				r := publish(t, nodes[p%len(nodes)], "lobby", payload)
				if r.Offset <= last {
					t.Errorf("offset %d was given out after %d", r.Offset, last)
				}
				last = r.Offset
				mu.Lock()
				acked[r.Offset] = payload
				mu.Unlock()
			}
		})
	}
	all.Wait()
	if len(acked) != publishers*each {
		t.Fatalf("%d publishes got %d offsets", publishers*each, len(acked))
	}
	for _, n := range nodes {
		n.WaitAt(t, "lobby", publishers*each)
		heard := n.Topic("lobby").Messages
		if len(heard) != publishers*each {
			t.Errorf("%d messages were heard of %d", len(heard), publishers*each)
		}
		for _, m := range heard {
			if string(m.Payload) != acked[m.Offset] {
				t.Errorf("offset %d is %s, but was acknowledged for %s", m.Offset, m.Payload, acked[m.Offset])
			}
		}
		if n.Topic("quiet").Messages != nil {
			t.Error("a topic without messages had some")
		}
	}
}

func testReceipts(t *testing.T, c *cluster) {
	nodes := c.nodes(t, 2)
	before := time.Now().Add(-time.Minute).UnixMilli()
	r := publish(t, nodes[0], "lobby", `{}`)
	if r.Offset != 1 || r.Epoch == "" || r.Receivers != 0 || r.Duplicate || r.Time < before {
		t.Errorf("the first receipt is %+v", r)
	}
	for i, n := range nodes {
		subscribe(t, n, "lobby")
		n.WaitSubscribed(t, "lobby")
		r2 := publish(t, n, "lobby", `{}`)
		if r2.Epoch != r.Epoch || r2.Offset != uint64(i+2) || r2.Receivers != i+1 {
			t.Errorf("with %d subscribed, receipt %d is %+v", i+1, i+2, r2)
		}
	}
	nodes[0].Unsubscribe(t.Context(), "lobby")
	eventually(t, "one receiver is left", func() bool {
		return publish(t, nodes[0], "lobby", `{}`).Receivers == 1
	})
	if other := publish(t, nodes[0], "other", `{}`); other.Epoch == r.Epoch || other.Offset != 1 {
		t.Errorf("another topic's position is %v, the first one's was %v", other.Position, r.Position)
	}
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("still waiting until %s", what)
		}
	}
}

func testKeys(t *testing.T, c *cluster) {
	nodes := c.nodes(t, 2, "lobby")
	d := bus.Draft{Payload: []byte(`{"n":1}`), User: "alice", Key: "a-1"}
	first := publishDraft(t, nodes[0], "lobby", d)
	publish(t, nodes[0], "lobby", `{"n":2}`)
	again := publishDraft(t, nodes[1], "lobby", d)
	if want := (bus.Receipt{Position: first.Position, Time: first.Time, Duplicate: true, Receivers: 2}); again != want {
		t.Errorf("the repeated publish got %+v, want %+v", again, want)
	}
	for _, other := range []struct {
		topic string
		draft bus.Draft
	}{
		{"other", d},
		{"lobby", bus.Draft{Payload: d.Payload, User: "bob", Key: "a-1"}},
		{"lobby", bus.Draft{Payload: d.Payload, User: "alice", Key: "a-2"}},
		{"lobby", bus.Draft{Payload: d.Payload, User: "alicea", Key: "-1"}},
		{"lobby", bus.Draft{Payload: d.Payload, User: "alice"}},
		{"lobby", bus.Draft{Payload: d.Payload, User: "alice"}},
	} {
		if r := publishDraft(t, nodes[0], other.topic, other.draft); r.Duplicate {
			t.Errorf("%s %s %q is taken for a repeat", other.topic, other.draft.User, other.draft.Key)
		}
	}
	if head := read(t, nodes[0], "lobby", 0, 0).Head; head != 7 {
		t.Errorf("the head is %d, want 7", head)
	}
	nodes[1].WaitAt(t, "lobby", 7)
}

func testKeysAtOnce(t *testing.T, c *cluster) {
	const repeats, keys = 6, 20
	nodes := c.nodes(t, 2, "lobby")
	var all sync.WaitGroup
	var mu sync.Mutex
	offsets := make(map[int]map[uint64]bool)
	firsts := 0
	for i := range repeats * keys {
		all.Go(func() {
			k := i % keys
			r := publishDraft(t, nodes[i%2], "lobby", bus.Draft{Payload: []byte(`{}`), User: "alice", Key: fmt.Sprint(k)})
			mu.Lock()
			defer mu.Unlock()
			if offsets[k] == nil {
				offsets[k] = make(map[uint64]bool)
			}
			offsets[k][r.Offset] = true
			if !r.Duplicate {
				firsts++
			}
		})
	}
	all.Wait()
	if firsts != keys {
		t.Errorf("%d publishes of %d keys were the first", firsts, keys)
	}
	for k, o := range offsets {
		if len(o) != 1 {
			t.Errorf("key %d got the offsets %v", k, o)
		}
	}
	if head := read(t, nodes[0], "lobby", 0, 0).Head; head != keys {
		t.Errorf("the head is %d, want %d", head, keys)
	}
}

func testPages(t *testing.T, c *cluster) {
	b := c.nodes(t, 1)[0]
	empty := read(t, b, "lobby", 0, 10)
	if empty.Epoch == "" || empty.Head != 0 || empty.First != 1 || len(empty.Entries) != 0 {
		t.Errorf("the page of an empty log is %+v", empty)
	}
	for i := range 40 {
		if r := publish(t, b, "lobby", fmt.Sprint(i+1)); r.Epoch != empty.Epoch {
			t.Fatalf("a publish changed the epoch from %s to %s", empty.Epoch, r.Epoch)
		}
	}
	for _, test := range []struct {
		after uint64
		limit int
		want  string
	}{
		{0, 3, "1 2 3"},
		{0, 1, "1"},
		{0, 0, ""},
		{37, 10, "38 39 40"},
		{38, 2, "39 40"},
		{39, 10, "40"},
		{40, 10, ""},
		{90, 10, ""},
	} {
		p := read(t, b, "lobby", test.after, test.limit)
		if got := payloads(p); got != test.want || p.Head != 40 || p.First != 1 || p.Epoch != empty.Epoch {
			t.Errorf("after %d, limit %d: got %q of %+v, want %q", test.after, test.limit, got, p, test.want)
		}
	}
	all := read(t, b, "lobby", 0, 1000)
	for i, e := range all.Entries {
		if e.Offset != uint64(i+1) || e.Time == 0 {
			t.Errorf("entry %d is %+v", i, e)
		}
	}
	if len(all.Entries) != 40 {
		t.Errorf("%d entries were read of 40", len(all.Entries))
	}
}

func testBigPages(t *testing.T, c *cluster) {
	const count, size, bound = 40, 20_000, 256 << 10
	b := c.nodes(t, 1)[0]
	for range count {
		publish(t, b, "lobby", strings.Repeat("x", size))
	}
	var after uint64
	pages := 0
	for after < count {
		p := read(t, b, "lobby", after, 1000)
		bytes := 0
		for _, e := range p.Entries {
			after++
			bytes += len(e.Payload)
			if e.Offset != after || len(e.Payload) != size {
				t.Fatalf("read %d bytes at %d, want %d at %d", len(e.Payload), e.Offset, size, after)
			}
		}
		if len(p.Entries) == 0 || bytes > bound {
			t.Fatalf("a page holds %d messages, %d bytes", len(p.Entries), bytes)
		}
		pages++
	}
	if least := (count*size + bound - 1) / bound; pages < least || pages > least+1 {
		t.Errorf("%d messages of %d bytes came in %d pages, want about %d", count, size, pages, least)
	}
	huge := publish(t, b, "huge", strings.Repeat("y", bound+1))
	publish(t, b, "huge", "z")
	if p := read(t, b, "huge", 0, 10); len(p.Entries) != 1 || p.Entries[0].Offset != huge.Offset || p.Head != 2 {
		t.Errorf("a message above the bound: page of %d entries, head %d", len(p.Entries), p.Head)
	}
}

func testTrimming(t *testing.T, c *cluster) {
	const length, slack, count = 10, 110, 500 // Redis trims whole nodes of a stream
	b := c.nodes(t, 1)[0]
	for i := range count {
		publish(t, b, "lobby", fmt.Sprint(i+1))
	}
	p := read(t, b, "lobby", 3, 1000)
	if p.Head != count || p.First < count-length-slack || p.First > count-length+1 {
		t.Fatalf("the log goes from %d to %d", p.First, p.Head)
	}
	if len(p.Entries) != int(p.Head-p.First+1) || p.Entries[0].Offset != p.First {
		t.Errorf("the page has %d entries from %d on", len(p.Entries), p.First)
	}
	after, reason, recovered := p.Judge(bus.Position{Epoch: p.Epoch, Offset: 3})
	if after != p.First-1 || reason != "trimmed" || recovered {
		t.Errorf("Judge says %d, %q, %v", after, reason, recovered)
	}
}

func testAge(t *testing.T, c *cluster) {
	b := c.nodes(t, 1)[0]
	r := publish(t, b, "lobby", `{}`)
	eventually(t, "the log expires", func() bool {
		p := read(t, b, "lobby", 0, 10)
		if p.Epoch != r.Epoch || p.Head != 1 {
			t.Fatalf("the position %v became %s %d", r.Position, p.Epoch, p.Head)
		}
		return len(p.Entries) == 0 && p.First == 2
	})
	if next := publish(t, b, "lobby", `{}`); next.Epoch != r.Epoch || next.Offset != 2 {
		t.Errorf("after %v follows %v", r.Position, next.Position)
	}
}

func testBounds(t *testing.T, c *cluster) {
	const count = 300
	b := c.nodes(t, 1)[0]
	for range count {
		publish(t, b, "short", `{}`)
		publish(t, b, "long", `{}`)
	}
	if p := read(t, b, "short", 0, 0); p.First == 1 {
		t.Error("the short log holds all messages")
	}
	if p := read(t, b, "long", 0, 0); p.First != 1 {
		t.Errorf("the long log begins at %d", p.First)
	}
}

func testExcept(t *testing.T, c *cluster) {
	nodes := c.nodes(t, 2, "lobby")
	for _, except := range [][]string{nil, {"n1-1"}, {"n1-1", "n2 2", ""}} {
		r := publishDraft(t, nodes[0], "lobby", bus.Draft{Payload: []byte(`{"a":"b c"}`), Except: except})
		nodes[1].WaitAt(t, "lobby", r.Offset)
		heard := nodes[1].Topic("lobby").Messages
		stored := read(t, nodes[1], "lobby", r.Offset-1, 1).Entries
		for _, e := range []bus.Entry{heard[len(heard)-1].Entry, stored[0]} {
			if !slices.Equal(e.Except, except) || string(e.Payload) != `{"a":"b c"}` || e.Time != r.Time || e.Offset != r.Offset {
				t.Errorf("published except %q at %d, got %+v", except, r.Offset, e)
			}
		}
	}
}

func testRemove(t *testing.T, c *cluster) {
	b := c.nodes(t, 1, "lobby")[0]
	for i := range 6 {
		publish(t, b, "lobby", fmt.Sprint(i+1))
	}
	for _, offset := range []uint64{3, 4, 6, 99} {
		if err := b.Remove(t.Context(), "lobby", offset); err != nil {
			t.Fatal(err)
		}
	}
	if got := payloads(read(t, b, "lobby", 0, 10)); got != "1 2 - - 5 -" {
		t.Errorf("after removing 3, 4 and 6 the log reads %s", got)
	}
	if got := payloads(read(t, b, "lobby", 2, 10)); got != "- - 5 -" {
		t.Errorf("after 2 it reads %s", got)
	}
	publish(t, b, "lobby", "7")
	if got := payloads(read(t, b, "lobby", 4, 10)); got != "5 - 7" {
		t.Errorf("with one more message, after 4, it reads %s", got)
	}
	if err := b.Clear(t.Context(), "lobby"); err != nil {
		t.Fatal(err)
	}
	if p := read(t, b, "lobby", 0, 10); p.Head != 7 || p.First != 8 || len(p.Entries) != 0 {
		t.Errorf("cleared, the page is %+v", p)
	}
	publish(t, b, "lobby", "8")
	if p := read(t, b, "lobby", 0, 10); payloads(p) != "8" || p.First != 8 {
		t.Errorf("the next message makes it %+v", p)
	}
	b.WaitAt(t, "lobby", 8)
}

// publishing publishes to topic until stop is called, which returns the last position.
func publishing(t *testing.T, b bus.Bus, topic string) (stop func() bus.Position) {
	quit := make(chan struct{})
	last := make(chan bus.Position, 1)
	go func() {
		var at bus.Position
		for i := 0; ; i++ {
			select {
			case <-quit:
				last <- at
				return
			default:
			}
			r, err := b.Publish(context.Background(), topic, bus.Draft{Payload: fmt.Appendf(nil, `{"n":%d}`, i)})
			if err == nil {
				at = r.Position
			}
			time.Sleep(100 * time.Microsecond)
		}
	}()
	once := sync.OnceValue(func() bus.Position { close(quit); return <-last })
	t.Cleanup(func() { once() })
	return once
}

func testSubscribe(t *testing.T, c *cluster) {
	nodes := c.nodes(t, 2)
	stop := publishing(t, nodes[0], "lobby")
	b := nodes[1]
	for range 20 {
		b.Opened("lobby")
		subscribe(t, b, "lobby")
		subscribe(t, b, "lobby")
		b.Wait(t, "lobby", "a message", func(h *Heard) bool { return len(h.Messages) > 2 })
		h := b.Topic("lobby")
		if len(h.Subscribed) != 1 || h.Messages[0].Offset != h.Subscribed[0].Offset+1 {
			t.Fatalf("subscribed at %v, then heard %d", h.Subscribed, h.Messages[0].Offset)
		}
		b.Unsubscribe(t.Context(), "lobby")
		b.Closed("lobby")
	}
	b.Opened("lobby")
	subscribe(t, b, "lobby")
	b.WaitSubscribed(t, "lobby")
	b.WaitAt(t, "lobby", stop().Offset)
}

func testBeforeRun(t *testing.T, c *cluster) {
	b := c.Attach(t)
	subscribe(t, b, "lobby", "gone")
	b.Unsubscribe(t.Context(), "gone")
	r := publish(t, b, "lobby", "1")
	if r.Receivers != 0 {
		t.Errorf("%d receivers before Run", r.Receivers)
	}
	if got := payloads(read(t, b, "lobby", 0, 10)); got != "1" {
		t.Errorf("before Run the log reads %q", got)
	}
	n := run(t, b)
	n.WaitSubscribed(t, "lobby")
	if r := publish(t, b, "lobby", "2"); r.Receivers != 1 {
		t.Errorf("%d receivers after Run has begun", r.Receivers)
	}
	n.WaitAt(t, "lobby", 2)
	if h := n.Topic("lobby"); h.Subscribed[0] != r.Position || len(h.Messages) != 1 {
		t.Errorf("subscribed at %v and heard %d messages", h.Subscribed[0], len(h.Messages))
	}
	if h := n.Topic("gone"); h.Subscribed != nil {
		t.Error("an unsubscribed topic went live")
	}
}

func testUnsubscribe(t *testing.T, c *cluster) {
	nodes := c.nodes(t, 2)
	b := nodes[1]
	var topics []string
	for i := range 8 {
		topics = append(topics, fmt.Sprintf("room %d", i))
	}
	subscribe(t, b, topics...)
	var all sync.WaitGroup
	for _, topic := range topics {
		stop := publishing(t, nodes[0], topic)
		all.Go(func() {
			b.WaitAt(t, topic, 5)
			if err := b.Unsubscribe(context.Background(), topic, "never subscribed"); err != nil {
				t.Error(err)
			}
			b.Closed(topic) // from here on the Recorder takes a call for a fault
		})
		t.Cleanup(func() { stop() })
	}
	all.Wait()
	eventually(t, "no receiver is left", func() bool {
		return publish(t, nodes[0], topics[0], `{}`).Receivers == 0
	})
}

func testSignals(t *testing.T, c *cluster) {
	nodes := c.nodes(t, 3, "lobby")
	nodes[2].Unsubscribe(t.Context(), "lobby")
	nodes[2].Closed("lobby")
	publish(t, nodes[0], "lobby", `{}`)
	for i := range 3 {
		if err := nodes[i%2].Signal(t.Context(), "lobby", fmt.Appendf(nil, "signal %d", i)); err != nil {
			t.Fatal(err)
		}
	}
	for _, n := range nodes[:2] {
		n.Wait(t, "lobby", "three signals", func(h *Heard) bool { return len(h.Signals) == 3 })
		if got := n.Topic("lobby").Signals; !slices.Equal(got, []string{"signal 0", "signal 1", "signal 2"}) {
			t.Errorf("heard %q", got)
		}
	}
	if p := read(t, nodes[0], "lobby", 0, 10); p.Head != 1 {
		t.Errorf("signals moved the head to %d", p.Head)
	}
}

func testCut(t *testing.T, c *cluster) {
	nodes := c.nodes(t, 2, "lobby", "quiet")
	publish(t, nodes[0], "lobby", `{}`)
	nodes[1].WaitAt(t, "lobby", 1)
	restore := c.Cut(t, nodes[1].Bus)
	for range 300 {
		publish(t, nodes[0], "lobby", `{}`)
	}
	nodes[0].WaitAt(t, "lobby", 301)
	subscribe(t, nodes[1], "new")
	if at := nodes[1].Topic("lobby").At.Offset; at != 1 {
		t.Errorf("a cut attachment heard up to %d", at)
	}
	restore()
	nodes[1].WaitAt(t, "lobby", 301)
	nodes[1].WaitSubscribed(t, "new")
	for _, topic := range []string{"lobby", "quiet"} {
		nodes[1].Wait(t, topic, "Subscribed again", func(h *Heard) bool { return len(h.Subscribed) == 2 })
	}
	h := nodes[1].Topic("lobby")
	if len(h.Messages) != 301 || len(h.Resets) != 0 || h.Subscribed[1].Offset != 301 {
		t.Errorf("heard %d messages and %d resets, live again at %v", len(h.Messages), len(h.Resets), h.Subscribed[1])
	}
	s := nodes[1].Stats()
	if s.Gaps == 0 || s.Reconnects == 0 || s.Resets != 0 {
		t.Errorf("the stats are %+v", s)
	}
	publish(t, nodes[0], "lobby", `{}`)
	nodes[1].WaitAt(t, "lobby", 302)
	eventually(t, "a probe is heard", func() bool { return time.Since(nodes[1].Stats().Heard) < patience })
}

func testCutTrimmed(t *testing.T, c *cluster) {
	const count = 300
	nodes := c.nodes(t, 2, "lobby")
	publish(t, nodes[0], "lobby", `{}`)
	nodes[1].WaitAt(t, "lobby", 1)
	restore := c.Cut(t, nodes[1].Bus)
	for range count - 1 {
		publish(t, nodes[0], "lobby", `{}`)
	}
	first := read(t, nodes[0], "lobby", 0, 0).First
	restore()
	nodes[1].WaitAt(t, "lobby", count)
	h := nodes[1].Topic("lobby")
	if len(h.Resets) != 1 || h.Resets[0].Reason != "trimmed" || h.Resets[0].At.Offset != first-1 {
		t.Errorf("the log begins at %d, and the resets are %+v", first, h.Resets)
	}
	if want := 1 + count - int(first) + 1; len(h.Messages) != want {
		t.Errorf("heard %d messages, want %d", len(h.Messages), want)
	}
	if s := nodes[1].Stats(); s.Resets != 1 {
		t.Errorf("the stats count %d resets", s.Resets)
	}
}

func testCuts(t *testing.T, c *cluster) {
	nodes := c.nodes(t, 3, "lobby", "other")
	stops := []func() bus.Position{
		publishing(t, nodes[0], "lobby"), publishing(t, nodes[1], "lobby"), publishing(t, nodes[2], "other"),
	}
	for i := range 10 {
		n := nodes[i%3]
		at := n.Topic("lobby").At.Offset
		restore := c.Cut(t, n.Bus)
		n.Signal(t.Context(), "lobby", []byte("x"))
		restore()
		n.WaitAt(t, "lobby", at+20)
	}
	var lobby, other uint64
	lobby = max(stops[0]().Offset, stops[1]().Offset)
	other = stops[2]().Offset
	for _, n := range nodes {
		n.WaitAt(t, "lobby", lobby)
		n.WaitAt(t, "other", other)
		if h := n.Topic("lobby"); len(h.Messages) != int(h.At.Offset-h.Subscribed[0].Offset) || len(h.Resets) > 0 {
			t.Errorf("heard %d messages up to %d, and the resets %v", len(h.Messages), h.At.Offset, h.Resets)
		}
	}
}

func testRestartEmpty(t *testing.T, c *cluster) {
	nodes := c.nodes(t, 2, "lobby", "quiet")
	var last bus.Receipt
	for range 5 {
		last = publishDraft(t, nodes[0], "lobby", bus.Draft{Payload: []byte(`{}`)})
	}
	keyed := bus.Draft{Payload: []byte(`{}`), User: "alice", Key: "k"}
	publishDraft(t, nodes[0], "other", keyed)
	for _, n := range nodes {
		n.WaitAt(t, "lobby", 5)
	}
	c.Restart(t, false)
	for _, n := range nodes {
		for _, topic := range []string{"lobby", "quiet"} {
			n.Wait(t, topic, "a reset", func(h *Heard) bool { return len(h.Resets) == 1 })
			if r := n.Topic(topic).Resets[0]; r.Reason != "epoch" || r.At.Offset != 0 || r.Recovered {
				t.Errorf("%s: the reset is %+v", topic, r)
			}
		}
	}
	p := read(t, nodes[0], "lobby", 0, 10)
	if p.Epoch == last.Epoch || p.Head != 0 || p.First != 1 {
		t.Errorf("the new log is %+v", p)
	}
	r := publish(t, nodes[0], "lobby", `{"new":true}`)
	if r.Offset != 1 || r.Epoch != p.Epoch {
		t.Errorf("the first publish got %v in %s", r.Position, p.Epoch)
	}
	for _, n := range nodes {
		n.Wait(t, "lobby", "the new message", func(h *Heard) bool { return h.At == r.Position })
	}
	if r := publishDraft(t, nodes[0], "other", keyed); r.Duplicate {
		t.Error("a key was remembered that went with its message")
	}
}

func testRestartKept(t *testing.T, c *cluster) {
	nodes := c.nodes(t, 2, "lobby", "quiet")
	var last bus.Receipt
	keyed := bus.Draft{Payload: []byte(`{}`), User: "alice", Key: "k"}
	for range 5 {
		last = publish(t, nodes[0], "lobby", `{}`)
	}
	first := publishDraft(t, nodes[0], "other", keyed)
	for _, n := range nodes {
		n.WaitAt(t, "lobby", 5)
	}
	c.Restart(t, true)
	for _, n := range nodes {
		for _, topic := range []string{"lobby", "quiet"} {
			n.Wait(t, topic, "a reset", func(h *Heard) bool { return len(h.Resets) == 1 })
			h := n.Topic(topic)
			if r := h.Resets[0]; r.Reason != "epoch" || !r.Recovered {
				t.Errorf("%s: the reset is %+v", topic, r)
			}
		}
	}
	p := read(t, nodes[0], "lobby", 0, 10)
	if p.Epoch == last.Epoch || p.Head != 5 || p.Previous != last.Position || len(p.Entries) != 5 {
		t.Errorf("the log, last at %v, is %+v now", last.Position, p)
	}
	if after, reason, recovered := p.Judge(bus.Position{Epoch: last.Epoch, Offset: 2}); after != 2 || reason != "epoch" || !recovered {
		t.Errorf("Judge says %d, %q, %v", after, reason, recovered)
	}
	if r := publish(t, nodes[1], "lobby", `{}`); r.Offset != 6 || r.Epoch != p.Epoch {
		t.Errorf("the next publish got %v in %s", r.Position, p.Epoch)
	}
	for _, n := range nodes {
		n.WaitAt(t, "lobby", 6)
	}
	if r := publishDraft(t, nodes[0], "other", keyed); !r.Duplicate || r.Position != first.Position {
		t.Errorf("the repeated publish got %+v, the first one %+v", r, first)
	}
}

func testManyTopics(t *testing.T, c *cluster) {
	const count, published = 5000, 200
	nodes := c.nodes(t, 2)
	topics := make([]string, count)
	for i := range topics {
		topics[i] = fmt.Sprintf("@user%d", i)
	}
	var all sync.WaitGroup
	for part := range slices.Chunk(topics, 500) {
		all.Go(func() { subscribe(t, nodes[1], part...) })
	}
	all.Wait()
	for _, topic := range topics {
		nodes[1].WaitSubscribed(t, topic)
	}
	for i := range published {
		topic := topics[i*count/published]
		if r := publish(t, nodes[0], topic, `{}`); r.Receivers != 1 {
			t.Errorf("%s has %d receivers", topic, r.Receivers)
		}
		nodes[1].WaitAt(t, topic, 1)
	}
	c.Cut(t, nodes[1].Bus)()
	for i, topic := range topics {
		nodes[1].Wait(t, topic, "Subscribed again", func(h *Heard) bool { return len(h.Subscribed) == 2 })
		if h := nodes[1].Topic(topic); len(h.Resets) != 0 || len(h.Messages) > 1 {
			t.Fatalf("topic %d had the resets %v and %d messages", i, h.Resets, len(h.Messages))
		}
	}
}

func testBadInput(t *testing.T, c *cluster) {
	b := c.nodes(t, 1, "lobby")[0]
	if _, err := b.Publish(t.Context(), "lobby", bus.Draft{}); err == nil {
		t.Error("a message without payload was stored")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := b.Publish(ctx, "lobby", bus.Draft{Payload: []byte(`{}`)}); err == nil {
		t.Error("a publish without time succeeded")
	}
	if err := b.Run(t.Context(), NewRecorder()); err == nil {
		t.Error("Run could be called twice")
	}
}
