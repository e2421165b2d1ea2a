package faults_test

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/prometheus/procfs"

	"github.com/rookery-chat/rookery/faults/judge"
	"github.com/rookery-chat/rookery/internal/redistest"
)

var clients = flag.Int("clients", 300, "how many clients TestRollingRestart and TestReconnectStorm move")

// A fleet is a cluster behind haproxy as docker-compose.yml has it, and a crowd on it.
type fleet struct {
	*crowd
	redis   *redistest.Server
	haproxy *haproxy
	posts   [3]post
	seats   [3]*process // who is at each post; nil while nobody is
}

func newFleet(t *testing.T, name string, rooms int) *fleet {
	t.Helper()
	f := &fleet{crowd: newCrowd(t, name, 1, rooms), redis: redistest.Start(t)}
	var addr string
	f.haproxy, addr, f.posts = balanceFleet(t)
	f.way = func(int) func() string { return func() string { return "ws://" + addr + "/ws" } }
	return f
}

// man puts a new node at a post, and waits until haproxy sends it clients.
func (f *fleet) man(i int, flags ...string) {
	f.t.Helper()
	flags = append([]string{"--listen=" + f.posts[i].addr, "--admin=" + f.posts[i].admin}, flags...)
	f.seats[i] = serve(f.t, f.redis, flags...)
	manned := slices.DeleteFunc(slices.Clone(f.seats[:]), func(p *process) bool { return p == nil })
	f.haproxy.awaitServers(len(manned)) // it takes servers for ready until it has looked
	f.measure(f.seats[i], "before")
}

// gather brings in n members, each in two rooms, waits until all are in, and seen to be in, and
// returns since when.
func (f *fleet) gather(n int) (since time.Time) {
	f.t.Helper()
	rooms := len(f.rooms)
	for i := range n {
		f.enter(i < 2*rooms, nil, f.rooms[i%rooms], f.rooms[(i+1+i/rooms%(rooms-1))%rooms])
	}
	for _, room := range f.rooms {
		users := f.inRoom(room)
		slices.Sort(users)
		for _, m := range f.members {
			if !slices.Contains(m.rooms, room) {
				continue
			}
			await(f.t, m.user+" is in "+room, func() bool {
				return m.position(room).Epoch != "" && m.level(room, *m.position(room), users)
			})
		}
	}
	return time.Now()
}

// stay tells the judge that members are in their rooms without a break, whatever happens to their nodes.
func (f *fleet) stay(since time.Time, members []*witness) {
	for _, m := range members {
		for _, room := range m.rooms {
			f.log.Add(judge.Record{T: since.UnixMicro(), Act: judge.Stay, Topic: room, Users: []string{m.user}})
		}
	}
}

// at are the members whose newest stay is on a node.
func (f *fleet) at(node string) (members []*witness) {
	for _, m := range f.members {
		if s, ok := m.newest(); ok && s.node == node {
			members = append(members, m)
		}
	}
	return members
}

func (w *witness) newest() (stay, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.stays) == 0 {
		return stay{}, false
	}
	return w.stays[len(w.stays)-1], true
}

// A move is how one member went from one node to another.
type move struct {
	member   *witness
	from, to stay
}

// moved waits until members that were on a node are on another one, and returns how each went.
func (f *fleet) moved(members []*witness, node string) (moves []move) {
	f.t.Helper()
	for _, m := range members {
		await(f.t, m.user+" is back", func() bool { s, _ := m.newest(); return s.node != node })
		m.mu.Lock()
		for i := len(m.stays) - 1; i > 0; i-- {
			if m.stays[i-1].node == node {
				moves = append(moves, move{m, m.stays[i-1], m.stays[i]})
				break
			}
		}
		m.mu.Unlock()
	}
	return moves
}

// sum judges, and counts what must not be at all.
func (f *fleet) sum() judge.Verdict {
	f.t.Helper()
	live := slices.DeleteFunc(slices.Clone(f.seats[:]), func(p *process) bool { return p == nil })
	verdict := f.hear(live, func() {
		for _, n := range live {
			n.shrink()
		}
	})
	f.t.Logf("%v", verdict)
	if verdict.Violated > 0 {
		f.t.Errorf("%d violations; their logs are in %s", verdict.Violated, f.keepLogs())
	}
	if verdict.Resets > 0 {
		f.t.Errorf("%d resets: nothing happened to Redis", verdict.Resets)
	}
	if verdict.Deliveries < len(f.members) {
		f.t.Errorf("%d deliveries are no traffic to judge by", verdict.Deliveries)
	}
	return verdict
}

// A spread is how times lie.
type spread struct {
	times []time.Duration // sorted
}

func newSpread(times []time.Duration) spread {
	slices.Sort(times)
	return spread{times}
}

// busiest is the largest share of the times that lies within one window.
func (s spread) busiest(window time.Duration) float64 {
	most, first := 0, 0
	for i, t := range s.times {
		for t-s.times[first] >= window {
			first++
		}
		most = max(most, i-first+1)
	}
	return float64(most) / float64(max(len(s.times), 1))
}

func (s spread) quantile(q float64) time.Duration {
	if len(s.times) == 0 {
		return 0
	}
	return s.times[int(q*float64(len(s.times)-1))].Round(time.Millisecond)
}

func (s spread) String() string {
	return fmt.Sprintf("p50 %v, p90 %v, p99 %v, max %v", s.quantile(.5), s.quantile(.9), s.quantile(.99), s.quantile(1))
}

// steps counts the times by half seconds.
func (s spread) steps() (counts []int) {
	for _, t := range s.times {
		for int(t/(time.Second/2)) >= len(counts) {
			counts = append(counts, 0)
		}
		counts[t/(time.Second/2)]++
	}
	return counts
}

// sum adds up a metric of nodes.
func sum(nodes []*process, name string) (total float64) {
	for _, n := range nodes {
		total += n.Metric(name)
	}
	return total
}

// cpu is the CPU time that everybody has used so far.
func (f *fleet) cpu() map[string]time.Duration {
	f.t.Helper()
	used := make(map[string]time.Duration)
	of := func(who string, pid int) {
		p, err := procfs.NewProc(pid)
		if err != nil {
			f.t.Fatal(err)
		}
		s, err := p.Stat()
		if err != nil {
			f.t.Fatal(err)
		}
		used[who] += time.Duration(s.CPUTime() * float64(time.Second))
	}
	for _, n := range f.seats {
		if n != nil {
			of("nodes", n.Cmd.Process.Pid)
		}
	}
	of("clients", os.Getpid())
	of("haproxy", f.haproxy.Cmd.Process.Pid)
	of("redis", f.redis.Pid())
	return used
}

// shrink waits until the node has given back the memory that thousands of handshakes took: the Go
// runtime does that slowly.
func (p *process) shrink() {
	for before := p.rss(); ; {
		collect(p.tb, p)
		time.Sleep(time.Second / 2)
		now := p.rss()
		if now > before-(1<<20) {
			return
		}
		before = now
	}
}

// inTime is how soon after a goodbye somebody has to be back so as not to be seen leaving: 5 s, less what
// this test's own notes may be late.
const inTime = 3500 * time.Millisecond
