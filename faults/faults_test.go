package faults_test

import (
	"math/rand/v2"
	"sync"
	"syscall"
	"time"
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
		p.node.Load().kill()
		time.Sleep(between(rng, 0, time.Second))
		p.start()
	}},
	{"SIGTERM of a node", func(s *storm, rng *rand.Rand) {
		p := s.some(rng)
		n := p.node.Load()
		n.cmd.Process.Signal(syscall.SIGTERM)
		<-n.exited
		p.start()
	}},
	{"a node frozen past its lease", func(s *storm, rng *rand.Rand) {
		n := s.some(rng).node.Load()
		n.cmd.Process.Signal(syscall.SIGSTOP)
		time.Sleep(between(rng, 6*time.Second, 9*time.Second))
		n.cmd.Process.Signal(syscall.SIGCONT)
	}},
	{"a node frozen for a moment", func(s *storm, rng *rand.Rand) {
		n := s.some(rng).node.Load()
		n.cmd.Process.Signal(syscall.SIGSTOP)
		time.Sleep(between(rng, 100*time.Millisecond, 3*time.Second))
		n.cmd.Process.Signal(syscall.SIGCONT)
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

// askPrimary is ask for one primary.
func (s *storm) askPrimary(rng *rand.Rand, words ...any) {
	if primaries := s.redis.primaries(); len(primaries) > 0 {
		primaries[rng.IntN(len(primaries))].Ask(words...)
	}
}
