package presence_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/rookery-chat/rookery/internal/redistest"
	"github.com/rookery-chat/rookery/presence"
	"github.com/rookery-chat/rookery/presence/presencetest"
)

const patience = time.Minute

func eventually(t *testing.T, wrong func() error) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for {
		err := wrong()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func join(t *testing.T, p presence.Presence, topic string, users ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for _, u := range users {
		if err := p.Join(ctx, topic, u); err != nil {
			t.Fatal(err)
		}
	}
}

// roster waits until the roster has exactly these users, in order.
func roster(t *testing.T, p presence.Presence, topic string, users ...string) (r presence.Roster) {
	t.Helper()
	eventually(t, func() (err error) {
		r, err = p.Roster(context.Background(), topic, "", 1000)
		slices.Sort(r.Users)
		if err == nil && !slices.Equal(r.Users, users) {
			err = fmt.Errorf("roster of %s: %q, not %q", topic, r.Users, users)
		}
		return err
	})
	return r
}

// seen waits until the observer takes exactly these users to be there, in order.
func seen(t *testing.T, o *presencetest.Observer, users ...string) {
	t.Helper()
	eventually(t, func() error {
		t.Helper()
		if err := o.Look(); err != nil && !isNetwork(err) {
			t.Fatal(err)
		}
		if !slices.Equal(o.Users(), users) {
			return fmt.Errorf("observed %q, not %q", o.Users(), users)
		}
		return nil
	})
}

func isNetwork(err error) bool {
	var network net.Error
	return errors.As(err, &network)
}

// one checks that nodes are still in their first incarnation.
func one(t *testing.T, nodes ...presence.Presence) {
	t.Helper()
	for _, n := range nodes {
		if s := n.Stats(); s.Incarnations != 1 || s.Reaped != 0 {
			t.Errorf("a node is in trouble: %+v", s)
		}
	}
}

func reconciled(t *testing.T, nodes ...presence.Presence) {
	t.Helper()
	eventually(t, func() error {
		for _, n := range nodes {
			if n.Stats().Reconciled == 0 {
				return fmt.Errorf("a node has not compared what it knows with Redis: %+v", n.Stats())
			}
		}
		return nil
	})
}

func TestRestartedEmpty(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	c := newRedis(t, s.Addr)
	a, b := c.Attach(), c.Attach()
	join(t, a, "lobby", "alice", "bob")
	join(t, b, "lobby", "bob", "carol")
	join(t, b, "den", "dave")
	before := roster(t, a, "lobby", "alice", "bob", "carol")
	s.Kill()
	a.Leave("lobby", "bob", 0)
	b.Leave("den", "dave", 0)
	s.Restart()
	o := c.Observe("lobby")
	after := roster(t, a, "lobby", "alice", "bob", "carol")
	if before.Epoch == after.Epoch {
		t.Error("a roster that was lost is in the same epoch")
	}
	roster(t, a, "den")
	reconciled(t, a, b)
	one(t, a, b)
	join(t, a, "lobby", "erin") // so that there is something to observe
	seen(t, o, "alice", "bob", "carol", "erin")
	b.Crash() // whoever has lost the index is not reaped
	seen(t, o, "alice", "erin")
}

func TestRestartedWithOldData(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	c := newRedis(t, s.Addr)
	a, b := c.Attach(), c.Attach()
	join(t, a, "lobby", "alice", "bob", "carol")
	join(t, b, "lobby", "dave")
	join(t, a, "den", "alice")
	if err := c.rdb.Save(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	old := roster(t, b, "lobby", "alice", "bob", "carol", "dave")
	a.Leave("lobby", "carol", 0)
	a.Leave("den", "alice", 0)
	join(t, a, "lobby", "erin")
	join(t, a, "attic", "erin")
	gone := c.Attach()
	join(t, gone, "lobby", "frank")
	o := c.Observe("lobby")
	last := roster(t, b, "lobby", "alice", "bob", "dave", "erin", "frank")
	s.Kill()
	gone.Crash()
	b.Leave("lobby", "dave", 0)
	s.Restart()
	after := roster(t, b, "lobby", "alice", "bob", "erin")
	roster(t, b, "den")
	roster(t, b, "attic", "erin")
	if after.Epoch == old.Epoch || old.Epoch != last.Epoch {
		t.Errorf("versions went back from %d in epoch %s to %d in %s", last.Version, last.Epoch, after.Version, after.Epoch)
	}
	join(t, a, "lobby", "harry")
	seen(t, o, "alice", "bob", "erin", "harry")
	reconciled(t, a, b)
	one(t, a, b)
}

// A replica that lacks the last writes becomes the primary.
func TestFailover(t *testing.T) {
	t.Parallel()
	primary, replica := redistest.Start(t, "--repl-diskless-sync-delay", "0"), redistest.Start(t)
	var addr atomic.Value
	addr.Store(primary.Addr)
	c := newCluster(t, func() redis.UniversalClient {
		return redis.NewClient(&redis.Options{Addr: "sentinel:0", MaxRetries: -1, ContextTimeoutEnabled: true,
			Dialer: func(ctx context.Context, network, _ string) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, network, addr.Load().(string))
			}})
	})
	promoted := redis.NewClient(&redis.Options{Addr: replica.Addr})
	t.Cleanup(func() { promoted.Close() })
	host, port, _ := net.SplitHostPort(primary.Addr)
	if err := promoted.ReplicaOf(t.Context(), host, port).Err(); err != nil {
		t.Fatal(err)
	}
	a, b := c.Attach(), c.Attach()
	join(t, a, "lobby", "alice", "bob")
	join(t, b, "lobby", "carol")
	eventually(t, func() error {
		if n, err := c.rdb.Do(t.Context(), "WAIT", 1, 1000).Int(); n != 1 {
			return fmt.Errorf("%d replicas have it (%v)", n, err)
		}
		return nil
	})
	if err := promoted.ReplicaOf(t.Context(), "NO", "ONE").Err(); err != nil {
		t.Fatal(err)
	}
	a.Leave("lobby", "bob", 0)
	join(t, b, "lobby", "dave")
	before := roster(t, a, "lobby", "alice", "carol", "dave")
	addr.Store(replica.Addr)
	primary.Kill()
	after := roster(t, a, "lobby", "alice", "carol", "dave")
	if before.Epoch == after.Epoch {
		t.Error("a roster that lost versions is in the same epoch")
	}
	reconciled(t, a, b)
	one(t, a, b)
	b.Crash()
	roster(t, a, "lobby", "alice")
}

// A Redis that hangs is not the nodes' fault.
func TestServerPaused(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	c := newRedis(t, s.Addr)
	a, b := c.Attach(), c.Attach()
	o := c.Observe("lobby")
	join(t, a, "lobby", "alice", "bob")
	join(t, b, "lobby", "carol")
	time.Sleep(fast.Serving + fast.Renew)
	s.Pause()
	a.Leave("lobby", "bob", 0)
	time.Sleep(2 * (fast.Lease + fast.Margin))
	s.Continue()
	seen(t, o, "alice", "carol")
	time.Sleep(fast.Serving + fast.Renew) // until somebody could be condemned again
	seen(t, o, "alice", "carol")
	one(t, a, b)
	if o.Left("alice")+o.Left("carol") != 0 {
		t.Error("a user who was there all the time was told to have left")
	}
}

func TestOutOfMemory(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	c := newRedis(t, s.Addr)
	a, b := c.Attach(), c.Attach()
	o := c.Observe("lobby")
	join(t, a, "lobby", "alice", "bob")
	join(t, b, "lobby", "carol")
	full := func(bytes string) {
		t.Helper()
		if err := c.rdb.ConfigSet(t.Context(), "maxmemory", bytes).Err(); err != nil {
			t.Fatal(err)
		}
	}
	full("1")
	a.Leave("lobby", "bob", 0) // leaves get through
	seen(t, o, "alice", "carol")
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := b.Join(ctx, "lobby", "dave"); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "OOM") {
		t.Errorf("join when Redis is out of memory: %v", err)
	}
	time.Sleep(2*fast.Serving + fast.Lease) // so do renewals
	one(t, a, b)
	b.Leave("lobby", "carol", 0)
	seen(t, o, "alice")
	b.Crash() // and reaping
	roster(t, a, "lobby", "alice")
	join(t, a, "lobby", "alice") // is known already
	e := c.Attach()
	go e.Join(t.Context(), "lobby", "erin")
	full("0")
	seen(t, o, "alice", "erin")
}

func TestScriptsFlushed(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	c := newRedis(t, s.Addr)
	a := c.Attach()
	var want []string
	for i := range 50 {
		if err := c.rdb.ScriptFlush(t.Context()).Err(); err != nil {
			t.Fatal(err)
		}
		user := fmt.Sprint("u", 10+i)
		want = append(want, user)
		join(t, a, "lobby", user)
	}
	roster(t, a, "lobby", want...)
	one(t, a)
}

func TestConnectionsKilled(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	c := newRedis(t, s.Addr)
	a := c.Attach()
	for i := range 100 {
		if err := c.rdb.Do(t.Context(), "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes").Err(); err != nil {
			t.Fatal(err)
		}
		join(t, a, "lobby", "alice", "bob")
		a.Leave("lobby", "alice", 0)
		if i%2 == 1 {
			a.Leave("lobby", "bob", 0)
			a.Leave("lobby", "bob", 0)
		}
	}
	roster(t, a, "lobby")
}

// Who reaps a node cuts its pub/sub connections, and nobody else's.
func TestReaperCutsConnections(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	c := newRedis(t, s.Addr)
	a, _ := c.Attach(), c.Attach() // node1 and node2
	for _, name := range []string{"node1", "node2", "node11", ""} {
		rdb := redis.NewClient(&redis.Options{Addr: s.Addr, ClientName: name})
		t.Cleanup(func() { rdb.Close() })
		for range 2 {
			sub := rdb.Subscribe(t.Context(), "news")
			t.Cleanup(func() { sub.Close() })
			if _, err := sub.Receive(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	listeners := func() int {
		n, err := c.rdb.PubSubNumSub(t.Context(), "news").Result()
		if err != nil {
			t.Fatal(err)
		}
		return int(n["news"])
	}
	if got := listeners(); got != 8 {
		t.Fatalf("%d listen, not 8", got)
	}
	a.Crash()
	eventually(t, func() error {
		if got := listeners(); got != 6 {
			return fmt.Errorf("%d listen, not 6", got)
		}
		return nil
	})
	time.Sleep(fast.Lease)
	if got := listeners(); got != 6 {
		t.Errorf("%d listen, not 6", got)
	}
}

// When all nodes died, a later one leaves nothing of them that stays for ever.
func TestNothingLeaks(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	c := newRedis(t, s.Addr)
	nodes := []presencetest.Node{c.Attach(), c.Attach()}
	for i, n := range nodes {
		for j := range 20 {
			join(t, n, fmt.Sprint("room", j), fmt.Sprint("u", i), "both")
		}
	}
	for _, n := range nodes {
		n.Crash()
	}
	heir := c.Attach()
	eventually(t, func() error {
		if reaped := heir.Stats().Reaped; reaped != 2 {
			return fmt.Errorf("%d of 2 reaped", reaped)
		}
		return nil
	})
	keys, err := c.rdb.Keys(t.Context(), "*").Result()
	if err != nil || len(keys) < 20 {
		t.Fatalf("keys %q, %v", keys, err)
	}
	for _, key := range keys {
		ttl, err := c.rdb.TTL(t.Context(), key).Result()
		if err != nil {
			t.Fatal(err)
		}
		if ttl < 23*time.Hour && key != "rookery:{presence}:presence:nodes" {
			t.Errorf("%s: time to live %v", key, ttl)
		}
	}
}

// Two servers change places and back, and a change is lost on the way. The first one's process is
// the same as before; what it has lost is put right, and no version of a roster is told twice in its epoch.
func TestFailoverAndBack(t *testing.T) {
	t.Parallel()
	prompt := []string{"--repl-diskless-sync-delay", "0"} // no waiting for more replicas
	a, b := redistest.Start(t, prompt...), redistest.Start(t, prompt...)
	b.Replicate(a)
	c := newCluster(t, func() redis.UniversalClient {
		return redis.NewClient(&redis.Options{Addr: a.Addr, MaxRetries: -1, ContextTimeoutEnabled: true})
	})
	node := c.Attach()
	join(t, node, "lobby", "alice")
	ask := func(s *redistest.Server, words ...any) any {
		t.Helper()
		answer, err := s.Ask(words...)
		if err != nil {
			t.Fatal(err)
		}
		return answer
	}
	ask(a, "wait", 1, 0)
	ask(b, "replicaof", "no", "one")
	join(t, node, "lobby", "bob")
	lost := roster(t, node, "lobby", "alice", "bob")
	a.Replicate(b)
	ask(a, "replicaof", "no", "one")
	if now := roster(t, node, "lobby", "alice", "bob"); now.Epoch == lost.Epoch {
		t.Errorf("bob was lost in epoch %s, and put right in it", now.Epoch)
	}
	join(t, node, "lobby", "carol")
	if now := roster(t, node, "lobby", "alice", "bob", "carol"); now.Epoch == lost.Epoch {
		t.Errorf("version %d is told in the epoch of the lost %d", now.Version, lost.Version)
	}
}
