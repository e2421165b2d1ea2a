package bustest

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/rookery-chat/rookery/bus"
)

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
	var last bus.Receipt
	eventually(t, "two receivers are left", func() bool {
		last = publish(t, nodes[0], "lobby", `{}`)
		return last.Receivers == 2
	})
	for i := range 3 {
		receivers, err := nodes[i%2].Signal(t.Context(), "lobby", fmt.Appendf(nil, "signal %d", i))
		if err != nil {
			t.Fatal(err)
		}
		if receivers != 2 {
			t.Errorf("signal %d had %d receivers, want 2", i, receivers)
		}
	}
	for _, n := range nodes[:2] {
		n.Wait(t, "lobby", "three signals", func(h *Heard) bool { return len(h.Signals) == 3 })
		if got := n.Topic("lobby").Signals; !slices.Equal(got, []string{"signal 0", "signal 1", "signal 2"}) {
			t.Errorf("heard %q", got)
		}
	}
	if p := read(t, nodes[0], "lobby", 0, 10); p.Head != last.Offset {
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
		nodes[1].Wait(t, topic, "Subscribed again", func(h *Heard) bool { return len(h.Subscribed) >= 2 })
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
		nodes[1].Wait(t, topic, "Subscribed again", func(h *Heard) bool { return len(h.Subscribed) >= 2 })
		if h := nodes[1].Topic(topic); len(h.Resets) != 0 || len(h.Messages) > 1 {
			t.Fatalf("topic %d had the resets %v and %d messages", i, h.Resets, len(h.Messages))
		}
	}
}
