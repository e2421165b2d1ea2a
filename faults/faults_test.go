package faults_test

import (
	"context"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9"
)

// A fault is something that happens to a cluster. happen returns when it is over, as far as
// its cause goes; what it caused may go on.
type fault struct {
	kind   string
	happen func(s *storm, rng *rand.Rand)
}

func (s *storm) some(rng *rand.Rand) *seat { return s.seats[rng.IntN(len(s.seats))] }

func between(rng *rand.Rand, from, to time.Duration) time.Duration {
	return from + time.Duration(rng.Int64N(int64(to-from)))
}

var nodeFaults = []fault{
	{"kill -9 of a node", func(s *storm, rng *rand.Rand) {
		p := s.some(rng)
		p.node.Load().Kill()
		time.Sleep(between(rng, 0, time.Second))
		p.start()
	}},
	{"SIGTERM of a node", func(s *storm, rng *rand.Rand) {
		p := s.some(rng)
		n := p.node.Load()
		n.Signal(syscall.SIGTERM)
		<-n.Exited
		p.start()
	}},
	{"a node frozen past its lease", func(s *storm, rng *rand.Rand) {
		n := s.some(rng).node.Load()
		n.Signal(syscall.SIGSTOP)
		time.Sleep(between(rng, 6*time.Second, 9*time.Second))
		n.Signal(syscall.SIGCONT)
	}},
	{"a node frozen for a moment", func(s *storm, rng *rand.Rand) {
		n := s.some(rng).node.Load()
		n.Signal(syscall.SIGSTOP)
		time.Sleep(between(rng, 100*time.Millisecond, 3*time.Second))
		n.Signal(syscall.SIGCONT)
	}},
}

// Of a single server with all its data on disk.
var singleFaults = []fault{
	{"Redis killed, restarted with its data", func(s *storm, rng *rand.Rand) {
		b := s.redis.(*single)
		b.Kill()
		time.Sleep(between(rng, 0, 2*time.Second))
		b.Restart()
	}},
	{"Redis frozen", func(s *storm, rng *rand.Rand) {
		b := s.redis.(*single)
		b.Pause()
		time.Sleep(between(rng, 500*time.Millisecond, 6*time.Second))
		b.Continue()
	}},
	{"Redis is a replica for a while", func(s *storm, rng *rand.Rand) {
		s.ask("replicaof", "127.0.0.1", "1") // where nobody is
		time.Sleep(between(rng, 500*time.Millisecond, 5*time.Second))
		s.ask("replicaof", "no", "one")
	}},
	{"snapshots of Redis fail", func(s *storm, rng *rand.Rand) {
		s.ask("config", "set", "save", "3600 1000000")
		dump := filepath.Join(s.redis.(*single).Dir, "dump.rdb") // what is a folder cannot be replaced by a file
		os.Remove(dump)
		os.MkdirAll(filepath.Join(dump, "full"), 0o700)
		s.ask("bgsave")
		time.Sleep(between(rng, time.Second, 5*time.Second))
		os.RemoveAll(dump)
		s.ask("config", "set", "save", "")
	}},
	{"Redis takes no connections", func(s *storm, rng *rand.Rand) {
		c := redis.NewClient(&redis.Options{Addr: s.redis.(*single).Addr, MaxRetries: -1, PoolSize: 1})
		defer c.Close()
		do := func(words ...any) { c.Do(context.Background(), words...) } // always over the one connection that there is
		do("config", "set", "maxclients", "1")
		do("client", "kill", "type", "pubsub")
		do("client", "kill", "type", "normal")
		time.Sleep(between(rng, 500*time.Millisecond, 4*time.Second))
		do("config", "set", "maxclients", "10000")
	}},
}

// Of any Redis.
var redisFaults = []fault{
	{"Redis emptied", func(s *storm, rng *rand.Rand) { s.askPrimary(rng, "flushall") }},
	{"pub/sub connections killed", func(s *storm, rng *rand.Rand) {
		for range 3 {
			s.ask("client", "kill", "type", "pubsub")
			time.Sleep(time.Second)
		}
	}},
	{"all of Redis' connections killed", func(s *storm, rng *rand.Rand) { s.ask("client", "kill", "type", "normal") }},
	{"scripts flushed", func(s *storm, rng *rand.Rand) { s.ask("script", "flush") }},
	{"Redis out of memory", func(s *storm, rng *rand.Rand) {
		s.ask("config", "set", "maxmemory", "1mb")
		time.Sleep(between(rng, 500*time.Millisecond, 4*time.Second))
		s.ask("config", "set", "maxmemory", "0")
	}},
	{"Redis busy with a script", func(s *storm, rng *rand.Rand) {
		s.ask("config", "set", "busy-reply-threshold", "100")
		s.askPrimary(rng, "eval", "local stop = redis.call('time')[1] + 2 while tonumber(redis.call('time')[1]) < stop do end", "0")
	}},
	{"writes to Redis paused", func(s *storm, rng *rand.Rand) { s.pause(between(rng, time.Second, 6*time.Second), "write") }},
	{"Redis paused", func(s *storm, rng *rand.Rand) { s.pause(between(rng, time.Second, 4*time.Second), "all") }},
	{"pub/sub buffers overflow", func(s *storm, rng *rand.Rand) {
		s.ask("config", "set", "client-output-buffer-limit", "pubsub 1 1 1")
		time.Sleep(between(rng, time.Second, 3*time.Second))
		s.ask("config", "set", "client-output-buffer-limit", "pubsub 32mb 8mb 60")
	}},
}

// Between nodes and Redis: only where there is a door to it.
var linkFaults = []fault{
	{"packets between a node and Redis dropped", func(s *storm, rng *rand.Rand) {
		d := s.some(rng).link
		d.hold()
		time.Sleep(between(rng, time.Second, 8*time.Second))
		d.cut()
		d.release()
	}},
	{"packets between a node and Redis late", func(s *storm, rng *rand.Rand) {
		d := s.some(rng).link
		d.hold()
		time.Sleep(between(rng, time.Second, 4*time.Second))
		d.release()
	}},
	{"Redis slow for a node", func(s *storm, rng *rand.Rand) {
		d := s.some(rng).link
		d.slow(200 * time.Millisecond)
		time.Sleep(between(rng, time.Second, 4*time.Second))
		d.slow(0)
	}},
	{"connections between a node and Redis cut", func(s *storm, rng *rand.Rand) { s.some(rng).link.cut() }},
	{"Redis refuses a node", func(s *storm, rng *rand.Rand) {
		d := s.some(rng).link
		d.refuse(true)
		time.Sleep(between(rng, 500*time.Millisecond, 5*time.Second))
		d.refuse(false)
	}},
}

var clientFaults = []fault{
	{"connections of clients cut", func(s *storm, rng *rand.Rand) { s.some(rng).front.cut() }},
	{"clients half open", func(s *storm, rng *rand.Rand) {
		d := s.some(rng).front
		d.hold()
		time.Sleep(between(rng, time.Second, 8*time.Second))
		d.cut()
		d.release()
	}},
	{"clients slow", func(s *storm, rng *rand.Rand) {
		d := s.some(rng).front
		d.slow(300 * time.Millisecond)
		time.Sleep(between(rng, time.Second, 4*time.Second))
		d.slow(0)
	}},
}

// ask tells all servers of Redis something, past every fault of the network. What they answer matters to
// nobody: they may be under another fault.
func (s *storm) ask(words ...any) {
	var wg sync.WaitGroup
	for _, r := range s.redis.servers() {
		wg.Go(func() { r.Ask(words...) })
	}
	wg.Wait()
}

// pause has Redis make its clients wait.
func (s *storm) pause(d time.Duration, whom string) {
	s.ask("client", "pause", d.Milliseconds(), whom)
	time.Sleep(d)
}

// askPrimary is ask for one primary.
func (s *storm) askPrimary(rng *rand.Rand, words ...any) {
	if primaries := s.redis.primaries(); len(primaries) > 0 {
		primaries[rng.IntN(len(primaries))].Ask(words...)
	}
}
