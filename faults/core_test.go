package faults_test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/rookery-chat/rookery/bus"
	"github.com/rookery-chat/rookery/client"
	"github.com/rookery-chat/rookery/internal/redistest"
	"github.com/rookery-chat/rookery/wire"
)

// Three nodes, one Redis: a message published on any of them reaches members on all three
// once, in one order; a user is reached wherever she is; * reaches everyone.
func TestThreeNodes(t *testing.T) {
	t.Parallel()
	redis := redistest.Start(t)
	var people []*member
	for i := range 3 {
		m := enter(t, serve(t, redis).URL(), fmt.Sprintf("user%d", i))
		m.join("lobby", nil)
		people = append(people, m)
	}
	const each = 100
	var wg sync.WaitGroup
	for i, m := range people {
		wg.Go(func() {
			for n := range each {
				m.say("lobby", fmt.Sprintf("%d:%d", i, n))
			}
		})
	}
	wg.Wait()
	var order []string
	for i, m := range people {
		m.await("all messages", func() bool { return len(m.messages["lobby"]) == 3*each })
		var got []string
		next := make([]int, 3)
		for n, msg := range m.messages["lobby"] {
			var text string
			json.Unmarshal(msg.Data, &text)
			got = append(got, text)
			var from, number int
			fmt.Sscanf(text, "%d:%d", &from, &number)
			if msg.Offset != uint64(n+1) || number != next[from] {
				t.Fatalf("%s: message %d is %q with offset %d", m.user, n, text, msg.Offset)
			}
			next[from]++
		}
		if i == 0 {
			order = got
		} else if !slices.Equal(got, order) {
			t.Errorf("%s saw another order than user0", m.user)
		}
	}
	if p := people[0].say("@user2", "psst"); p.Reached == nil || *p.Reached != 1 {
		t.Errorf("reached %v", p.Reached)
	}
	people[2].awaitTexts("@user2", []string{"psst"})
	if p := people[0].say("@nobody", "psst"); p.Reached == nil || *p.Reached != 0 {
		t.Errorf("reached %v of nobody", p.Reached)
	}

	backend := attach(t, redis)
	payload := wire.AppendPayload(nil, "backend", "", "", []byte(`"to all"`))
	if _, err := backend.Publish(context.Background(), wire.Everyone, bus.Draft{Payload: payload}); err != nil {
		t.Fatal(err)
	}
	for _, m := range people {
		m.awaitTexts(wire.Everyone, []string{"to all"})
	}
}

// attach gives a test the bus of a cluster.
func attach(t *testing.T, server *redistest.Server) *bus.Redis {
	t.Helper()
	opts, err := bus.ParseURLs([]string{server.URL()})
	if err != nil {
		t.Fatal(err)
	}
	c := redis.NewUniversalClient(opts)
	b := bus.NewRedis(c, nil)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); b.Run(ctx, deaf{}) }()
	t.Cleanup(func() { cancel(); <-done; c.Close() })
	return b
}

// deaf is the handler of a bus that only publishes.
type deaf struct{}

func (deaf) Subscribed(string, bus.Position)          {}
func (deaf) Message(string, bus.Entry)                {}
func (deaf) Signal(string, []byte)                    {}
func (deaf) Reset(string, bus.Position, string, bool) {}

// 1,000 sessions over two nodes, 100,000 deliveries: none missing, none twice, offsets
// contiguous at each.
func TestHundredThousandDeliveries(t *testing.T) {
	redis := redistest.Start(t)
	nodes := []*process{serve(t, redis), serve(t, redis)}
	const sessions, count = 1000, 100
	people := make([]*member, sessions)
	var wg sync.WaitGroup
	for i := range people {
		people[i] = enter(t, nodes[i%2].URL(), fmt.Sprintf("user%d", i))
		wg.Go(func() { people[i].join("lobby", nil) })
	}
	wg.Wait()
	texts := make([]string, count)
	for i := range texts {
		texts[i] = fmt.Sprint("message ", i)
		people[i*7%sessions].say("lobby", texts[i])
	}
	for _, m := range people {
		m.awaitTexts("lobby", texts)
		for i, msg := range m.messages["lobby"] {
			if msg.Offset != uint64(i+1) {
				t.Fatalf("%s: offset %d is number %d", m.user, msg.Offset, i+1)
			}
		}
	}
}

// kill -9 of a node: its users are gone from the others' rosters, each announced once; its
// clients go on elsewhere with every message.
func TestKillNode(t *testing.T) {
	t.Parallel()
	redis := redistest.Start(t)
	a, b := serve(t, redis), serve(t, redis)
	watch := enter(t, b.URL(), "watch")
	j := watch.join("lobby", &client.JoinOptions{Presence: true})
	door := newDoor(t, a.Addr) // the address that the clients know: it leads to another node later
	var people []*member
	const count = 20
	for i := range count {
		m := enter(t, "ws://"+door.addr+"/ws", fmt.Sprintf("mover%d", i))
		m.join("lobby", nil)
		people = append(people, m)
	}
	lost := enter(t, a.URL(), "lost")
	lost.join("lobby", nil)
	watch.await("everybody in", func() bool { return len(watch.people["lobby"])+len(j.Roster.Members) >= count+2 })

	var texts []string
	for i := range 50 {
		texts = append(texts, fmt.Sprint("before ", i))
		watch.say("lobby", texts[i])
	}
	killed := time.Now()
	a.Kill()
	until := grace(t, redis, a)
	for i := range 50 {
		texts = append(texts, fmt.Sprint("while ", i))
		watch.say("lobby", texts[50+i])
	}
	door.lead(b.Addr)
	for _, m := range people {
		m.awaitTexts("lobby", texts)
	}
	watch.await("the dead node's user is gone", func() bool { return watch.left["lobby lost"] > 0 })
	t.Logf("seen leaving %v after the kill", time.Since(killed).Round(10*time.Millisecond))
	inTime := 0
	for _, m := range people {
		if m.came().After(until) { // a slow machine's clients
			continue
		}
		inTime++
		watch.mu.Lock()
		n := watch.left["lobby "+m.user]
		watch.mu.Unlock()
		if n != 0 {
			t.Errorf("%s was seen leaving %d times, but came back in time", m.user, n)
		}
	}
	t.Logf("%d of %d came back in time", inTime, count)
	watch.say("lobby", "end")
	watch.awaitTexts("lobby", append(texts, "end"))
	watch.mu.Lock()
	defer watch.mu.Unlock()
	if n := watch.left["lobby lost"]; n != 1 {
		t.Errorf("lost was seen leaving %d times", n)
	}
}

// grace returns until when nobody is seen leaving whose node has died: its lease lasts for 4 s after its last
// renewal, as Redis has it, and others wait for 1.5 s more.
func grace(t *testing.T, redis *redistest.Server, dead *process) time.Time {
	t.Helper()
	leases, err := redis.Ask("zrange", "rookery:{presence}:presence:nodes", "0", "-1", "withscores")
	if err != nil {
		t.Fatal(err)
	}
	list := leases.([]any)
	for i := 0; i < len(list); i += 2 { // an incarnation and a node; milliseconds
		if strings.HasSuffix(list[i].(string), dead.ID) {
			ms, err := strconv.ParseFloat(fmt.Sprint(list[i+1]), 64)
			if err != nil {
				t.Fatal(err)
			}
			return time.UnixMilli(int64(ms)).Add(5500 * time.Millisecond)
		}
	}
	t.Fatalf("%s has no lease: %v", dead.ID, leases)
	return time.Time{}
}

// Redis killed and restarted: nodes say not ready, come back by themselves, rosters are right
// again, clients got everything or a reset.
func TestRedisRestart(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name string
		args []string
	}{{"empty", nil}, {"with its data", []string{"--appendonly", "yes", "--appendfsync", "always"}}} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			redis := redistest.Start(t, row.args...)
			a, b := serve(t, redis), serve(t, redis)
			alice, bob := enter(t, a.URL(), "alice"), enter(t, b.URL(), "bob")
			alice.join("lobby", &client.JoinOptions{Presence: true})
			bob.join("lobby", &client.JoinOptions{Presence: true})
			alice.say("lobby", "one")
			bob.say("lobby", "two")
			for _, m := range []*member{alice, bob} {
				m.awaitTexts("lobby", []string{"one", "two"})
			}
			redis.Kill()
			a.AwaitReady(false)
			b.AwaitReady(false)
			redis.Restart()
			a.AwaitReady(true)
			b.AwaitReady(true)
			alice.say("lobby", "three")
			for _, m := range []*member{alice, bob} {
				m.awaitTexts("lobby", []string{"one", "two", "three"})
				m.await("a reset", func() bool {
					return slices.ContainsFunc(m.resets, func(r *wire.Reset) bool { return r.Topic == "lobby" })
				})
			}
			await(t, "rosters are right", func() bool {
				for _, m := range []*member{alice, bob} {
					r, err := m.Members(context.Background(), "lobby")
					if err != nil || r.Online != 2 || len(r.Members) != 2 {
						return false
					}
				}
				return true
			})
			for _, m := range []*member{alice, bob} {
				for who, n := range m.left {
					t.Errorf("%s saw %q leaving %d times, but nobody left", m.user, who, n)
				}
			}
		})
	}
}
