package node_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/rookery-chat/rookery/node"
	"github.com/rookery-chat/rookery/store"
	"github.com/rookery-chat/rookery/wire"
)

// flood sends one command again and again without reading, until the node takes no more
// or most were sent.
func (p *peer) flood(command string, most int) (sent int) {
	for ; sent < most; sent++ {
		ctx, cancel := context.WithTimeout(p.t.Context(), time.Second)
		err := p.conn.Write(ctx, websocket.MessageText, []byte(command))
		cancel()
		if err != nil {
			break
		}
	}
	return sent
}

// A peer that asks for much, reads nothing and goes is forgotten, and leaves its rooms.
func TestGreedyPeerLeaves(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 1, &node.Options{Heartbeat: 3 * time.Second, Drain: time.Second})
	e := c.nodes[0]
	watch := enter(t, e, "watch")
	j := watch.join(wire.Command{Topic: "lobby", Presence: true})
	go func() { // watch is watched too: it has to show life while it waits
		for t.Context().Err() == nil {
			time.Sleep(200 * time.Millisecond)
			watch.conn.Write(t.Context(), websocket.MessageText, []byte(`{"type":"ping"}`))
		}
	}()
	greedy := enter(t, e, "greedy")
	greedy.join(wire.Command{Topic: "big"})
	greedy.join(wire.Command{Topic: "lobby"})
	publish(t, e, "big", 1, 200)
	greedy.flood(`{"type":"history","id":1,"topic":"big","limit":200}`, 100_000)
	greedy.conn.CloseNow()
	if !slices.Contains(j.Roster.Members, "greedy") {
		watch.until(j.Roster.Members, "greedy", "watch")
	}
	watch.until([]string{"greedy", "watch"}, "watch")
}

// What a peer that reads nothing can make a node keep is bounded, whatever it asks for.
func TestJoinFlood(t *testing.T) {
	c := newCluster(t, 1, nil)
	other := c.people.Attach("", func(string, []byte) {})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { other.Run(ctx); close(done) }()
	defer func() { cancel(); <-done }()
	var wg sync.WaitGroup
	for i := range 900 {
		wg.Go(func() { other.Join(ctx, "lobby", fmt.Sprintf("user-%0100d", i)) })
	}
	wg.Wait()
	p := enter(t, c.nodes[0], "greedy")
	before := liveHeap()
	p.flood(`{"type":"join","id":1,"topic":"lobby","presence":true}`, 5_000)
	if grown := liveHeap() - before; grown > 20<<20 {
		t.Errorf("the heap grew by %d MiB", grown>>20)
	}
}

func liveHeap() int {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}

// A page of history has the newest messages that fit, also where they are large, and where
// before lies beyond the head.
func TestHistoryOfLargeMessages(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 1, nil)
	e := c.nodes[0]
	p := enter(t, e, "alice")
	p.join(wire.Command{Topic: "lobby"})
	for i := 1; i <= 100; i++ {
		if _, err := e.Publish(t.Context(), "lobby", node.Publication{Data: quote(fmt.Sprint(i, strings.Repeat(".", 10_000)))}); err != nil {
			t.Fatal(err)
		}
	}
	p.skip = func(f any) bool { _, ok := f.(*wire.Message); return ok }
	next := uint64(1_000_000)
	seen := uint64(101)
	for more := true; more; {
		p.send(wire.Command{Type: "history", ID: 9, Topic: "lobby", Before: next})
		h := want[*wire.History](p)
		for _, m := range slices.Backward(h.Messages) {
			if seen--; m.Offset != seen {
				t.Fatalf("message %d comes before %d", m.Offset, seen+1)
			}
		}
		next, more = seen, h.More
	}
	if seen != 1 {
		t.Errorf("history ended at message %d", seen)
	}
}

// A room that grows beyond what a node keeps by name, while joins are pending and the
// bus is cut, is counted from then on.
func TestRosterOutgrowsItsNames(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 1, nil)
	e := c.nodes[0]
	other := c.people.Attach("", func(topic string, change []byte) { e.bus.Signal(context.Background(), topic, change) })
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { other.Run(ctx); close(done) }()
	defer func() { cancel(); <-done }()
	join := func(from, to int) {
		var wg sync.WaitGroup
		for i := from; i < to; i++ {
			wg.Go(func() { other.Join(ctx, "lobby", fmt.Sprint("u", i)) })
		}
		wg.Wait()
	}
	join(0, 9_900)
	p := enter(t, e, "alice")
	p.join(wire.Command{Topic: "lobby", Presence: true})
	join(9_900, 9_920)
	join(9_920, 9_950) // pending: the interval of so large a room is long
	restore := c.memory.Cut(e.bus)
	join(9_950, 10_100)
	restore()
	for {
		if f := want[*wire.Presence](p); f.Online == 10_101 {
			if f.Roster == nil || !f.Roster.More || len(f.Roster.Members) > 0 {
				t.Errorf("names are missing, and the frame does not say so: %+v", f)
			}
			break
		}
	}
}

// A store that is down at times.
type moody struct {
	store.Store
	down atomic.Bool
}

func (m *moody) ReadOffsets(ctx context.Context, user string, epochs map[string]string) (map[string]uint64, error) {
	if m.down.Load() {
		return nil, errors.New("down")
	}
	return m.Store.ReadOffsets(ctx, user, epochs)
}

// A rejoin that fails leaves the session where it was.
func TestFailedRejoin(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 1, nil)
	st := &moody{Store: c.facts}
	e := c.addWith(t, nil, st)
	alice, bob := enter(t, e, "alice"), enter(t, e, "bob")
	st.down.Store(true)
	alice.send(wire.Command{Type: "join", ID: 2, Topic: "@alice", Recent: 5})
	if e := want[*wire.Error](alice); e.Code != wire.Unavailable || !e.Retry {
		t.Errorf("answered %+v", e)
	}
	st.down.Store(false)
	if got := bob.say("@alice", "hi"); *got.Reached != 1 {
		t.Errorf("reached %d", *got.Reached)
	}
	if m := want[*wire.Message](alice); text(m) != "hi" {
		t.Errorf("got %+v", m)
	}
}

// A reader that lags in a busy room still gets its inbox.
func TestBusyRoomDoesNotStarveInbox(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 1, nil)
	e := c.nodes[0]
	p := dialSmall(t, e, "alice")
	p.join(wire.Command{Topic: "busy"})
	say := func(topic string) {
		if _, err := e.Publish(t.Context(), topic, node.Publication{Data: quote(strings.Repeat("x", 900))}); err != nil {
			t.Fatal(err)
		}
	}
	for range 200 {
		say("busy")
	}
	say("@alice")
	for n := 0; want[*wire.Message](p).Topic != "@alice"; n++ {
		if n > 2000 {
			t.Fatal("after 2,000 messages of the room, the inbox has not come")
		}
		say("busy")
	}
}
