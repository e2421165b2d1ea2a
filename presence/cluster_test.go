package presence_test

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/rookery-chat/rookery/internal/redistest"
	"github.com/rookery-chat/rookery/presence"
)

// awaitSlots waits until a server of a cluster serves, and knows who has which slots.
func awaitSlots(t *testing.T, s *redistest.Server) {
	t.Helper()
	rdb := redis.NewClient(&redis.Options{Addr: s.Addr})
	defer rdb.Close()
	eventually(t, func() error {
		info, err := rdb.ClusterInfo(context.Background()).Result()
		if !strings.Contains(info, "cluster_state:ok") || !strings.Contains(info, "cluster_slots_ok:16384") {
			return fmt.Errorf("cluster: %s, %v", info, err)
		}
		return nil
	})
}

func newRedisCluster(t *testing.T, servers []*redistest.Server) *cluster {
	var addrs []string
	for _, s := range servers {
		addrs = append(addrs, s.Addr)
	}
	return newCluster(t, func() redis.UniversalClient {
		return redis.NewClusterClient(&redis.ClusterOptions{Addrs: addrs, MaxRetries: -1, ContextTimeoutEnabled: true})
	})
}

// home finds the server that has the slot of a key.
func home(t *testing.T, c *cluster, servers []*redistest.Server, key string) *redistest.Server {
	t.Helper()
	rdb, err := c.rdb.(*redis.ClusterClient).MasterForKey(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range servers {
		if s.Addr == rdb.Options().Addr {
			return s
		}
	}
	t.Fatalf("%s is at %s, which is none of ours", key, rdb.Options().Addr)
	return nil
}

func TestRedisCluster(t *testing.T) {
	t.Parallel()
	servers := redistest.StartCluster(t, 3, false, "--cluster-node-timeout", "2000").Servers
	c := newRedisCluster(t, servers)
	a, b, journal := c.Attach(), c.Attach(), c.Journal()
	o := c.Observe("room0")
	var wg sync.WaitGroup
	room := func(i int) string { return fmt.Sprint("room", i) }
	const rooms = 40
	for i := range rooms { // all partitions have some
		wg.Go(func() { join(t, a, room(i), "alice", "bob") })
		wg.Go(func() { join(t, b, room(i), "bob", "carol") })
	}
	wg.Wait()
	check := func(users ...string) {
		t.Helper()
		for i := range rooms {
			roster(t, a, room(i), users...)
		}
	}
	check("alice", "bob", "carol")
	seen(t, o, "alice", "bob", "carol")
	if nodes, err := a.Nodes(t.Context()); err != nil || len(nodes) != 2 {
		t.Errorf("nodes %q, %v", nodes, err)
	}

	// A primary that has rooms, but not the leases, is restarted empty.
	leases := home(t, c, servers, "rookery:{presence}:presence:nodes")
	var lost *redistest.Server
	var there, elsewhere string
	for i := range rooms {
		channel, _ := live(room(i))
		switch s := home(t, c, servers, channel); {
		case s != leases:
			lost, there = s, room(i)
		default:
			elsewhere = room(i)
		}
	}
	if lost == nil || elsewhere == "" {
		t.Fatal("all partitions of this test are at one primary")
	}
	before := roster(t, a, there, "alice", "bob", "carol")
	lost.Kill()
	// The others go on meanwhile.
	join(t, a, elsewhere, "dave")
	roster(t, b, elsewhere, "alice", "bob", "carol", "dave")
	records, err := journal.Pending(t.Context())
	if !slices.ContainsFunc(records, func(r presence.Record) bool { return r.Topic == elsewhere && slices.Contains(r.Change.Joined, "dave") }) ||
		slices.ContainsFunc(records, func(r presence.Record) bool { return r.Topic == there }) || err == nil {
		t.Errorf("the journal, with one primary away, has %d records, err %v", len(records), err)
	}
	if err := journal.Told(t.Context(), records); err != nil {
		t.Errorf("what the others told was not taken out: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := a.Join(ctx, there, "dave"); err == nil {
		t.Error("a room that is away was joined")
	}
	a.Leave(there, "dave", 0)
	a.Leave(elsewhere, "dave", 0)
	lost.Restart()
	awaitSlots(t, lost)
	check("alice", "bob", "carol")
	reconciled(t, a, b)
	if after := roster(t, a, there, "alice", "bob", "carol"); after.Epoch == before.Epoch {
		t.Error("a roster that was lost is in the same epoch")
	}
	one(t, a, b)

	b.Crash()
	check("alice", "bob")
	seen(t, o, "alice", "bob")
	a.Leave("room0", "bob", 0)
	seen(t, o, "alice")
}

// A slot that moves to another primary takes its roster along.
func TestRedisClusterSlotMoves(t *testing.T) {
	t.Parallel()
	servers := redistest.StartCluster(t, 3, false, "--cluster-node-timeout", "2000").Servers
	c := newRedisCluster(t, servers)
	a, b := c.Attach(), c.Attach()
	join(t, a, "lobby", "alice")
	join(t, b, "lobby", "bob")
	channel, _ := live("lobby")
	from := home(t, c, servers, channel)
	to := servers[0]
	if to == from {
		to = servers[1]
	}
	source, target := redis.NewClient(&redis.Options{Addr: from.Addr}), redis.NewClient(&redis.Options{Addr: to.Addr})
	defer source.Close()
	defer target.Close()
	ctx := t.Context()
	do := func(rdb *redis.Client, args ...any) string {
		t.Helper()
		reply, err := rdb.Do(ctx, args...).Result()
		if err != nil {
			t.Fatalf("%q: %v", args, err)
		}
		return fmt.Sprint(reply)
	}
	slot := do(source, "CLUSTER", "KEYSLOT", channel)
	sourceID, targetID := do(source, "CLUSTER", "MYID"), do(target, "CLUSTER", "MYID")
	do(target, "CLUSTER", "SETSLOT", slot, "IMPORTING", sourceID)
	do(source, "CLUSTER", "SETSLOT", slot, "MIGRATING", targetID)
	join(t, a, "lobby", "carol")
	host, port, _ := net.SplitHostPort(to.Addr)
	keys, err := source.Keys(ctx, "*"+strings.Split(channel, ":")[1]+"*").Result()
	if err != nil || len(keys) == 0 {
		t.Fatal(keys, err)
	}
	for _, key := range keys {
		do(source, "MIGRATE", host, port, key, 0, 5000)
	}
	for _, rdb := range []*redis.Client{target, source} {
		do(rdb, "CLUSTER", "SETSLOT", slot, "NODE", targetID)
	}
	b.Leave("lobby", "bob", 0)
	join(t, a, "lobby", "dave")
	roster(t, b, "lobby", "alice", "carol", "dave")
	one(t, a, b)
	b.Crash()
	a.Leave("lobby", "alice", 0)
	roster(t, a, "lobby", "carol", "dave")
}
