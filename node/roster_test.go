package node_test

import (
	"context"
	"fmt"
	"maps"
	"math"
	"net"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/coder/websocket"

	"github.com/rookery-chat/rookery/node"
	"github.com/rookery-chat/rookery/wire"
)

// Who joins a small room is told everybody in it; in a large one the first hundred, and how many there
// are; in a huge one how many. Whoever is told names is told of each who came or went, or the roster anew.

// A crowd is users of a node elsewhere, without sessions here.
type crowd struct {
	t     *testing.T
	join  func(user string)
	leave func(user string)
	in    map[string]bool
}

// crowds runs a node elsewhere until the test ends.
func crowds(t *testing.T, c *cluster) *crowd {
	signals := c.memory.Attach()
	other := c.people.Attach("", func(topic string, change []byte) { signals.Signal(context.Background(), topic, change) })
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { other.Run(ctx); close(done) }()
	t.Cleanup(func() { cancel(); <-done })
	return &crowd{
		t: t,
		join: func(user string) {
			if err := other.Join(ctx, "lobby", user); err != nil {
				t.Error(err)
			}
		},
		leave: func(user string) { other.Leave("lobby", user, 0) },
		in:    make(map[string]bool),
	}
}

// be makes the crowd so many
func (c *crowd) be(count int) {
	var wg sync.WaitGroup
	for i := len(c.in); i < count; i++ {
		user := name(i)
		c.in[user] = true
		wg.Go(func() { c.join(user) })
	}
	wg.Wait()
	for i := len(c.in) - 1; i >= count; i-- {
		user := name(i)
		delete(c.in, user)
		c.leave(user)
	}
}

func name(i int) string { return fmt.Sprintf("somebody-of-a-crowd-%05d", i) }

// A view is what one peer knows of a roster.
type view struct {
	*peer
	online int
	names  map[string]bool
	part   bool
	frames int // that told of changes
	told   int // names in them
}

func watch(p *peer) *view {
	v := &view{peer: p}
	v.take(p.join(wire.Command{Topic: "lobby", Presence: true}).Roster)
	return v
}

func (v *view) take(r *wire.Roster) {
	v.online, v.names, v.part = r.Online, make(map[string]bool), r.More
	for _, name := range r.Members {
		v.names[name] = true
	}
}

// sees waits until the peer counts so many, and is at rest.
func (v *view) sees(online int) {
	v.t.Helper()
	for v.online != online || !v.part && len(v.names) != online {
		f := want[*wire.Presence](v.peer)
		v.frames++
		v.told += len(f.Joined) + len(f.Left)
		if f.Roster != nil {
			v.told += len(f.Roster.Members)
			v.take(f.Roster)
			continue
		}
		v.online = f.Online
		for _, name := range f.Joined {
			v.names[name] = true
		}
		for _, name := range f.Left {
			delete(v.names, name)
		}
	}
}

// pages reads all names.
func (p *peer) pages() []string {
	p.t.Helper()
	names := make(map[string]bool)
	for cursor, more := "", true; more; {
		p.send(wire.Command{Type: "members", ID: 9, Topic: "lobby", Cursor: cursor})
		page := want[*wire.Members](p)
		for _, name := range page.Members {
			names[name] = true
		}
		if cursor, more = page.Next, page.More; more && cursor == "" {
			p.t.Fatalf("a page of %d names has more, and no next", len(page.Members))
		}
	}
	return slices.Sorted(maps.Keys(names))
}

func TestRosterGrowsAndShrinks(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 1, nil)
	others := crowds(t, c)
	everybody := func(with ...string) []string {
		return slices.Sorted(slices.Values(append(with, slices.Collect(maps.Keys(others.in))...)))
	}
	others.be(950)
	alice := watch(enter(t, c.nodes[0], "alice"))
	alice.sees(951)
	if got := slices.Sorted(maps.Keys(alice.names)); !slices.Equal(got, everybody("alice")) || alice.part {
		t.Errorf("of 951 users a member knows %d, a part: %v", len(got), alice.part)
	}
	others.be(1500)
	alice.sees(1501)
	bob := watch(enter(t, c.nodes[0], "bob"))
	bob.sees(1502)
	alice.sees(1502)
	// A page and the two of them; and of the 550 who came while alice was there, those who did not come by the hundred.
	most := map[string]int{"alice": 102 + 550, "bob": 102}
	for who, v := range map[string]*view{"alice": alice, "bob": bob} {
		if !v.part || len(v.names) < 100 || len(v.names) > most[who] {
			t.Errorf("%s knows %d names of 1,502, a part: %v", who, len(v.names), v.part)
		}
		for name := range v.names {
			if !others.in[name] && name != "alice" && name != "bob" {
				t.Errorf("%s sees %s, who is not there", who, name)
			}
		}
	}
	if got := bob.pages(); !slices.Equal(got, everybody("alice", "bob")) {
		t.Errorf("the pages have %d names of 1,502", len(got))
	}
	others.be(500)
	for who, v := range map[string]*view{"alice": alice, "bob": bob} {
		v.sees(502)
		if got := slices.Sorted(maps.Keys(v.names)); v.part || !slices.Equal(got, everybody("alice", "bob")) {
			t.Errorf("%s knows %d names of 502, a part: %v", who, len(got), v.part)
		}
	}
}

// When thousands leave at the same time, as with their node, who stays is told in few frames, not of each of them.
func TestRosterLosesThousands(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 1, nil)
	others := crowds(t, c)
	others.be(5000)
	alice := watch(enter(t, c.nodes[0], "alice"))
	alice.sees(5001)
	alice.frames, alice.told = 0, 0
	others.be(0)
	alice.sees(1)
	if alice.frames > 20 || alice.told > 2000 || !alice.names["alice"] || alice.part {
		t.Errorf("%d frames with %d names tell that 5,000 left; known are %.100v, a part: %v", alice.frames, alice.told, alice.names, alice.part)
	}
}

// A huge room is counted, and its names are paged from the cluster.
func TestRosterOfHugeRoom(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 1, nil)
	others := crowds(t, c)
	others.be(10_500)
	alice := enter(t, c.nodes[0], "alice")
	roster := alice.join(wire.Command{Topic: "lobby", Presence: true}).Roster
	if roster.Online != 10_501 || len(roster.Members) > 0 || !roster.More || roster.Next == "" {
		t.Errorf("a join is answered by %d names of %d, more: %v, next %q", len(roster.Members), roster.Online, roster.More, roster.Next)
	}
	if got := alice.pages(); len(got) != 10_501 {
		t.Errorf("the pages have %d names of 10,501", len(got))
	}
}

// Who fell behind while others came gets the roster anew once it is level.
func TestRosterForWhoWasBehind(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 1, nil)
	e, others := c.nodes[0], crowds(t, c)
	slow, quick := watch(dialSmall(t, e, "slow")), watch(enter(t, e, "quick"))
	messages := func(f any) bool { _, ok := f.(*wire.Message); return ok }
	slow.skip, quick.skip = messages, messages
	for range 10 {
		if _, err := e.Publish(t.Context(), "lobby", node.Publication{Data: quote(strings.Repeat("x", 20_000))}); err != nil {
			t.Fatal(err)
		}
	}
	others.be(900) // whose names in frames are more than may wait for slow
	quick.sees(902)
	slow.sees(902)
	if !maps.Equal(slow.names, quick.names) {
		t.Errorf("%d names: %.100v", len(slow.names), slow.names)
	}
}

// dialSmall enters by a connection that holds little.
func dialSmall(t *testing.T, e *edge, user string) *peer {
	t.Helper()
	small := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := new(net.Dialer).DialContext(ctx, network, addr)
		if err == nil {
			c.(*net.TCPConn).SetReadBuffer(8 << 10)
		}
		return c, err
	}}}
	conn, _, err := websocket.Dial(t.Context(), e.url("/ws"), &websocket.DialOptions{HTTPClient: small})
	if err != nil {
		t.Fatal(err)
	}
	conn.SetReadLimit(1 << 20)
	t.Cleanup(func() { conn.CloseNow() })
	p := &peer{t: t, conn: conn}
	p.send(wire.Command{Type: "hello", ID: 1, User: user})
	want[*wire.Welcome](p)
	return p
}

// Joins share one encoded page, also while others come: what one costs does not depend on how many are there. So a
// room that N join at the same time costs O(N) in all.
func TestJoinOfLargeRoomCostsTheSame(t *testing.T) {
	const few, many, joins = 1100, 9000, 300
	cost := func(online int) (bytes int, allocated float64) {
		c := newCluster(t, 1, nil)
		others := crowds(t, c)
		others.be(online)
		p := enter(t, c.nodes[0], "alice")
		join := wire.Command{Type: "join", ID: 2, Topic: "lobby", Presence: true}
		ask := func() int {
			p.send(join)
			for {
				b, err := p.read()
				if err != nil {
					t.Fatal(err)
				}
				if strings.HasPrefix(string(b), `{"type":"ok"`) {
					return len(b)
				}
			}
		}
		ask()
		least := uint64(math.MaxUint64) // what else goes on is in some joins, and not in others
		for range joins {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			others.be(len(others.in) + 1)
			bytes = max(bytes, ask())
			runtime.ReadMemStats(&after)
			least = min(least, after.TotalAlloc-before.TotalAlloc)
		}
		return bytes, float64(least)
	}
	bytes, allocated := cost(few)
	manyBytes, manyAllocated := cost(many)
	t.Logf("an answer has %d bytes before %d, %d before %d; a join allocates %.0f and %.0f", bytes, few, manyBytes, many, allocated, manyAllocated)
	const digits, kibi = 8, 1 << 10
	if manyBytes > bytes+digits {
		t.Errorf("the answer to a join has %d bytes in a room of %d, %d in one of %d", bytes, few, manyBytes, many)
	}
	if manyAllocated > allocated+4*kibi {
		t.Errorf("a join allocates %.0f bytes in a room of %d, %.0f in one of %d", allocated, few, manyAllocated, many)
	}
}
