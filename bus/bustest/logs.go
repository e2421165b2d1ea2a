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

// What is published together is stored one after the other, and nobody else's between.
func testTogether(t *testing.T, c *cluster) {
	const senders, rounds, size = 4, 25, 5
	nodes := c.nodes(t, 2, "lobby")
	together := func(b bus.Bus, drafts ...bus.Draft) []bus.Receipt {
		t.Helper()
		receipts, err := b.PublishAll(t.Context(), "lobby", drafts)
		if err != nil || len(receipts) != len(drafts) {
			t.Errorf("PublishAll: %d receipts of %d, %v", len(receipts), len(drafts), err)
			return make([]bus.Receipt, len(drafts))
		}
		return receipts
	}
	group := func(sender, round int) (drafts []bus.Draft) {
		for i := range size {
			text := fmt.Sprintf(`{"n":"%d %d %d"}`, sender, round, i)
			drafts = append(drafts, bus.Draft{Payload: []byte(text), User: "alice", Key: text})
		}
		return drafts
	}
	var all sync.WaitGroup
	for sender := range senders {
		all.Go(func() {
			for round := range rounds {
				receipts := together(nodes[sender%2], group(sender, round)...)
				for i, r := range receipts {
					if r.Offset != receipts[0].Offset+uint64(i) || r.Duplicate || r.Receivers != 2 {
						t.Errorf("message %d of a group that begins with %d got %+v", i, receipts[0].Offset, r)
					}
				}
			}
		})
	}
	all.Wait()
	for _, n := range nodes {
		n.WaitAt(t, "lobby", senders*rounds*size)
		for i, m := range n.Topic("lobby").Messages {
			var sender, round, at int
			if fmt.Sscanf(string(m.Payload), `{"n":"%d %d %d"}`, &sender, &round, &at); at != i%size {
				t.Fatalf("offset %d is %s", m.Offset, m.Payload)
			}
		}
	}

	const head = senders * rounds * size
	again := group(0, 0)
	twice := bus.Draft{Payload: []byte(`{}`), User: "alice", Key: "twice"}
	for i, r := range together(nodes[1], append(again, twice, twice)...) {
		if fresh := i == size; r.Duplicate == fresh || fresh != (r.Offset == head+1) && i < size || r.Offset != head+1 && i >= size {
			t.Errorf("message %d of a repeated group and two more got %+v", i, r)
		}
	}
	if _, err := nodes[0].PublishAll(t.Context(), "lobby", []bus.Draft{twice, {}}); err == nil {
		t.Error("a message without payload was stored")
	}
	if receipts, err := nodes[0].PublishAll(t.Context(), "lobby", nil); err != nil || len(receipts) != 0 {
		t.Errorf("nothing, published, got %v, %v", receipts, err)
	}
	if n := read(t, nodes[0], "lobby", 0, 0).Head; n != head+1 {
		t.Errorf("the head is %d, want %d", n, head+1)
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
