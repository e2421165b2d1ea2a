package client_test

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rookery-chat/rookery/client"
	"github.com/rookery-chat/rookery/wire"
)

// until takes events until a T for which want is true.
func until[T client.Event](r *run, want func(T) bool) T {
	r.t.Helper()
	for {
		event, ok := r.pull()
		if !ok {
			r.t.Fatal("the events ended")
		}
		if e, fits := event.(T); fits && want(e) {
			return e
		}
	}
}

func says(text string) func(*wire.Message) bool {
	return func(m *wire.Message) bool { return string(m.Data) == text }
}

func TestRoundTrip(t *testing.T) {
	t.Parallel()
	alice := dialClient(t, url(startNodes(t, 1)[0]), "alice")
	if _, err := alice.Publish(alice.ctx, "lobby", 1, nil); err == nil {
		t.Error("published to a room that was not joined")
	}
	joined, err := alice.Join(alice.ctx, "lobby", &client.JoinOptions{Presence: true})
	if err != nil {
		t.Fatal(err)
	}
	if joined.Roster == nil || !slices.Equal(joined.Roster.Members, []string{"alice"}) {
		t.Errorf("the roster is %+v, want alice", joined.Roster)
	}
	if _, user := alice.Session(); user != "alice" {
		t.Errorf("the session is %q's", user)
	}
	got, err := alice.Publish(alice.ctx, "lobby", map[string]string{"text": "hi"}, &client.PublishOptions{Key: "k"})
	if err != nil || got.Offset != 1 || got.Epoch != joined.Epoch {
		t.Fatalf("Publish: %+v, %v", got, err)
	}
	again, err := alice.Publish(alice.ctx, "lobby", map[string]string{"text": "hi"}, &client.PublishOptions{Key: "k"})
	if err != nil || again.Offset != 1 || !again.Duplicate {
		t.Errorf("the same key once more: %+v, %v", again, err)
	}
	if _, err := alice.Publish(alice.ctx, "lobby", "quiet", &client.PublishOptions{NoEcho: true}); err != nil {
		t.Fatal(err)
	}
	if _, err := alice.Publish(alice.ctx, "lobby", "end", nil); err != nil {
		t.Fatal(err)
	}
	first := until(alice, func(*wire.Message) bool { return true })
	if first.From != "alice" || string(first.Data) != `{"text":"hi"}` || first.Offset != 1 {
		t.Errorf("got %+v", first)
	}
	if second := until(alice, func(*wire.Message) bool { return true }); second.Offset != 3 {
		t.Errorf("got %d, want 3: the publish without echo came back", second.Offset)
	}
	history, err := alice.History(alice.ctx, "lobby", &client.HistoryOptions{Before: 2})
	if err != nil || len(history.Messages) != 1 || history.More {
		t.Errorf("History: %+v, %v", history, err)
	}
	if err := alice.Read(alice.ctx, "lobby", 2); err != nil {
		t.Errorf("Read: %v", err)
	}
	if reads, err := alice.Reads(alice.ctx, "lobby"); err != nil || !maps.Equal(reads, map[string]uint64{"alice": 2}) {
		t.Errorf("Reads: %v, %v", reads, err)
	}
	if err := alice.Signal(alice.ctx, "lobby", map[string]bool{"typing": true}); err != nil {
		t.Errorf("Signal: %v", err)
	}
	until(alice, func(*wire.Signal) bool { return true })
	if roster, err := alice.Members(alice.ctx, "lobby"); err != nil || !slices.Equal(roster.Members, []string{"alice"}) {
		t.Errorf("Members: %+v, %v", roster, err)
	}
	if err := alice.Ping(alice.ctx); err != nil {
		t.Errorf("Ping: %v", err)
	}
	if err := alice.Leave(alice.ctx, "lobby"); err != nil {
		t.Errorf("Leave: %v", err)
	}
	if _, err := alice.Publish(alice.ctx, "lobby", 1, nil); err == nil {
		t.Error("published to a room that was left")
	}
}

func TestTwoClientsOnTwoNodes(t *testing.T) {
	t.Parallel()
	nodes := startNodes(t, 2)
	alice, bob := dialClient(t, url(nodes[0]), "alice"), dialClient(t, url(nodes[1]), "bob")
	if _, err := alice.Join(alice.ctx, "lobby", &client.JoinOptions{Presence: true}); err != nil {
		t.Fatal(err)
	}
	if _, err := bob.Join(bob.ctx, "lobby", nil); err != nil {
		t.Fatal(err)
	}
	until(alice, func(p *wire.Presence) bool { return slices.Contains(p.Joined, "bob") })
	if roster, ok := alice.Roster("lobby"); !ok || !slices.Equal(roster.Members, []string{"alice", "bob"}) {
		t.Errorf("alice's roster is %+v", roster)
	}
	if _, err := alice.Publish(alice.ctx, "lobby", "hello", nil); err != nil {
		t.Fatal(err)
	}
	if got := until(bob, says(`"hello"`)); got.From != "alice" {
		t.Errorf("bob got %+v", got)
	}
	direct, err := bob.Publish(bob.ctx, "@alice", "psst", nil)
	if err != nil || direct.Reached == nil || *direct.Reached != 1 {
		t.Errorf("a direct message: %+v, %v", direct, err)
	}
	if got := until(alice, says(`"psst"`)); got.From != "bob" || got.Topic != "@alice" {
		t.Errorf("alice got %+v", got)
	}
	if got := until(bob, says(`"psst"`)); got.To != "alice" || got.Topic != "@bob" {
		t.Errorf("bob's copy is %+v", got)
	}
	bob.cancel()
	until(alice, func(p *wire.Presence) bool { return slices.Contains(p.Left, "bob") })
}

// A line is one message as a test follows it: the n-th of a publisher.
type line struct {
	offset uint64
	text   string // "publisher n"
}

// verify checks what one subscriber got of a topic against what was published: each message
// once, those of one publisher in their order, and the offsets without a hole.
func verify(published map[string]int, got []line) error {
	var wrong []error
	seen := make(map[string]int)
	for i, l := range got {
		if want := got[0].offset + uint64(i); l.offset != want {
			wrong = append(wrong, fmt.Errorf("offset %d where %d was due", l.offset, want))
		}
		var publisher string
		var n int
		fmt.Sscanf(strings.Trim(l.text, `"`), "%s %d", &publisher, &n)
		if want := seen[publisher] + 1; n != want {
			wrong = append(wrong, fmt.Errorf("%s where %s %d was due", l.text, publisher, want))
		}
		seen[publisher] = n
	}
	if !maps.Equal(seen, published) {
		wrong = append(wrong, fmt.Errorf("got %v, and %v were published", seen, published))
	}
	return errors.Join(wrong...)
}

func TestVerify(t *testing.T) {
	t.Parallel()
	good := []line{{5, "a 1"}, {6, "b 1"}, {7, "a 2"}, {8, "a 3"}}
	published := map[string]int{"a": 3, "b": 1}
	if err := verify(published, good); err != nil {
		t.Errorf("what is right is held for wrong: %v", err)
	}
	for name, bad := range map[string][]line{
		"dropped":         {{5, "a 1"}, {7, "a 2"}, {8, "a 3"}},
		"dropped, hidden": {{5, "a 1"}, {6, "a 2"}, {7, "a 3"}},
		"last dropped":    good[:3],
		"doubled":         {{5, "a 1"}, {6, "b 1"}, {6, "b 1"}, {7, "a 2"}, {8, "a 3"}},
		"stored twice":    {{5, "a 1"}, {6, "b 1"}, {7, "b 1"}, {8, "a 2"}, {9, "a 3"}},
		"swapped":         {{5, "a 1"}, {6, "b 1"}, {7, "a 3"}, {8, "a 2"}},
	} {
		if verify(published, bad) == nil {
			t.Errorf("%s: not noticed", name)
		}
	}
}

// Publishers and subscribers lose their connections again and again, land on another node
// each time, and nothing is lost or doubled.
func TestCuts(t *testing.T) {
	t.Parallel()
	const cuts, publishers, subscribers = 25, 2, 2
	p := newProxy(t, startNodes(t, 3)...)

	type subscriber struct {
		*run
		count atomic.Int64 // messages
		lines []line       // Owned by its goroutine until that ends.
	}
	var listening sync.WaitGroup
	subs := make([]*subscriber, subscribers)
	for i := range subs {
		sub := &subscriber{run: dialClient(t, p.url(), fmt.Sprint("reader-", i))}
		subs[i] = sub
		if _, err := sub.Join(sub.ctx, "lobby", nil); err != nil {
			t.Fatal(err)
		}
		listening.Go(func() {
			for event := range sub.Events(sub.ctx) {
				switch e := event.(type) {
				case *wire.Message:
					if string(e.Data) == `"end"` {
						return
					}
					sub.lines = append(sub.lines, line{e.Offset, string(e.Data)})
					sub.count.Add(1)
				case *wire.Reset:
					t.Errorf("%+v", e)
				}
			}
		})
	}

	var publishing sync.WaitGroup
	var stop atomic.Bool
	published := make(map[string]int)
	var mu sync.Mutex
	for i := range publishers {
		name := fmt.Sprint("writer-", i)
		pub := dialClient(t, p.url(), name)
		go func() {
			for range pub.Events(pub.ctx) {
			}
		}()
		if _, err := pub.Join(pub.ctx, "lobby", nil); err != nil {
			t.Fatal(err)
		}
		publishing.Go(func() {
			n := 0
			for !stop.Load() {
				if _, err := pub.Publish(pub.ctx, "lobby", fmt.Sprint(name, " ", n+1), nil); err != nil {
					t.Errorf("%s: Publish: %v", name, err)
					break
				}
				n++
			}
			mu.Lock()
			defer mu.Unlock()
			published[name] = n
		})
	}

	for range cuts {
		for _, sub := range subs { // each has come on since the last cut
			for target := sub.count.Load() + 20; sub.count.Load() < target; {
				if sub.ctx.Err() != nil {
					t.Fatal("no progress")
				}
				time.Sleep(time.Millisecond)
			}
		}
		p.cut()
	}
	stop.Store(true)
	publishing.Wait()
	if _, err := subs[0].Publish(subs[0].ctx, "lobby", "end", nil); err != nil {
		t.Fatal(err)
	}
	listening.Wait()

	if p.connections() < cuts {
		t.Errorf("only %d connections: the cuts did not work", p.connections())
	}
	total := 0
	for _, n := range published {
		total += n
	}
	t.Logf("%d messages, %d connections", total, p.connections())
	for i, sub := range subs {
		if err := verify(published, sub.lines); err != nil {
			t.Errorf("reader-%d: %v", i, err)
		}
	}
	// The log itself holds each publish once.
	var stored []line
	for before := uint64(0); ; {
		page, err := subs[0].History(subs[0].ctx, "lobby", &client.HistoryOptions{Before: before, Limit: 256})
		if err != nil {
			t.Fatal(err)
		}
		var lines []line
		for _, m := range page.Messages {
			if string(m.Data) != `"end"` {
				lines = append(lines, line{m.Offset, string(m.Data)})
			}
		}
		stored = append(lines, stored...)
		if !page.More {
			break
		}
		before = page.Messages[0].Offset
	}
	if err := verify(published, stored); err != nil {
		t.Errorf("the log: %v", err)
	}
}

// A program that ends and starts again goes on where it was.
func TestResumeOverRuns(t *testing.T) {
	t.Parallel()
	nodes := startNodes(t, 2)
	alice, bob := dialClient(t, url(nodes[0]), "alice"), dialClient(t, url(nodes[0]), "bob")
	for _, r := range []*run{alice, bob} {
		if _, err := r.Join(r.ctx, "lobby", nil); err != nil {
			t.Fatal(err)
		}
	}
	publish := func(topic string, text string) {
		t.Helper()
		if _, err := bob.Publish(bob.ctx, topic, text, nil); err != nil {
			t.Fatal(err)
		}
	}
	publish("lobby", "one")
	publish("lobby", "two")
	until(alice, says(`"one"`))
	alice.cancel()
	<-alice.result
	cursors := alice.Cursors()
	publish("@alice", "psst")
	publish("lobby", "three")

	c := client.New(url(nodes[1]), &client.Options{User: "alice", Resume: cursors})
	later := start(t, c)
	got := make(map[string]bool)
	for range 3 {
		m := until(later, func(*wire.Message) bool { return true })
		got[m.Topic+" "+string(m.Data)] = true
	}
	for _, want := range []string{`lobby "two"`, `lobby "three"`, `@alice "psst"`} {
		if !got[want] {
			t.Errorf("missed %s: got %v", want, got)
		}
	}
}
