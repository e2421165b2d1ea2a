package faults_test

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rookery-chat/rookery/internal/processtest"
)

var attackTime = flag.Duration("attack", 0, "how long each turn of TestAttackDelays takes; 0: it takes none")

const attackTurns = 40 // with each attack, and as many without

// What attackers that run as a process of their own have to know, as words of their environment.
const theAttack = "ROOKERY_ATTACK"

const atWork = "at work" // what such a process prints when it has begun

// TestAttackers is not a test: it is the attackers of TestAttackDelays, until they are killed.
func TestAttackers(t *testing.T) {
	words := strings.Fields(os.Getenv(theAttack))
	if len(words) == 1 {
		tellStalls()
	}
	if len(words) != 4 {
		return
	}
	r := &healthyRoom{t: t, node: &process{&processtest.Node{Addr: words[1]}, t}, tcp: words[2], from: words[3]}
	if i, _ := strconv.Atoi(words[0]); i >= 0 {
		attacks[i].do(t, r)
	}
	fmt.Println(atWork)
	select {}
}

// stall is how late something that comes first on every processor has to be, so that the machine has stood still.
const stall = 3 * time.Millisecond

// tellStalls prints when the machine stood still.
func tellStalls() {
	fmt.Println(atWork)
	for before := time.Now(); ; {
		time.Sleep(time.Millisecond)
		now := time.Now()
		if now.Sub(before) > time.Millisecond+stall {
			fmt.Println("stall", now.UnixNano())
		}
		before = now
	}
}

// How much later do the healthy get what they are to get, while others attack? Real attackers have
// processors of their own: so these are a process that runs only where nobody else wants to, and the
// rest is to be run ahead of all else that the machine does. They come from an address that is not this
// machine's, as a load balancer tells, and that has the limits of one. Turns with and without alternate; pairs of them in
// which the machine itself stood still are left out, which a process tells that comes before all others. Delays are
// pooled, and an interval for the ratio of the two p99 comes from drawing pairs anew. The first row is attackers that do nothing: what it shows is noise.
// Turns should be long enough for what a flood does when it has used up what may come at once, and for
// what comes each second: a second or more.
//
//	go test -c ./faults && cd faults && chrt --rr 1 ../faults.test -test.run TestAttackDelays -test.timeout 1h -test.v -attack 1s
func TestAttackDelays(t *testing.T) {
	if *attackTime == 0 {
		return
	}
	// More messages than TestUnderAttack has, for more delays; smaller, for the limit of bytes.
	r := newHealthyRoom(t, 2000, 5*time.Millisecond, "--trusted-proxies=loopback")
	ticker := another(t, "stalls", "--rr", "2")
	stalls := func() int { return strings.Count(ticker.Said(), "stall") }
	t.Run("nobody", func(t *testing.T) { r.delays(t, stalls, -1) })
	for i, row := range attacks {
		t.Run(row.name, func(t *testing.T) { r.delays(t, stalls, i) })
	}
}

// A pair is the delays in a turn without attackers, and in one with.
type pair [2][]time.Duration

func (r *healthyRoom) delays(t *testing.T, stalls func() int, number int) {
	var pairs []pair
	var used [2]float64
	for i := range attackTurns {
		var p pair
		stood := stalls()
		turn := func(attacked int) {
			if attacked == 1 {
				defer another(t, fmt.Sprintf("%d %s %s 203.0.113.7", number, r.node.Addr, r.tcp), "--other", "0", "nice", "-n", "19").Kill()
			}
			time.Sleep(100 * time.Millisecond) // how it begins, and what is left of the turn before, is nobody's
			before, begun := r.cpu(), time.Now()
			p[attacked] = r.measure(*attackTime)
			used[attacked] += (r.cpu() - before) / time.Since(begun).Seconds()
		}
		turn(i % 2)
		turn(1 - i%2)
		if stalls() == stood {
			pairs = append(pairs, p)
		}
	}
	if len(pairs) < attackTurns/4 {
		t.Fatalf("the machine stood still in all but %d of %d pairs of turns", len(pairs), attackTurns)
	}
	var drawn []float64
	for range 400 {
		again := make([]pair, len(pairs))
		for i := range again {
			again[i] = pairs[rand.IntN(len(pairs))]
		}
		calm, attacked := pool(again)
		drawn = append(drawn, ratio(attacked, calm, .99))
	}
	slices.Sort(drawn)
	calm, attacked := pool(pairs)
	t.Logf("%.2f ms | %.2f ms | %.2f (%.2f to %.2f) | %.2f | %.0f %% + %.0f | %d",
		ms(calm, .99), ms(attacked, .99), ratio(attacked, calm, .99), drawn[len(drawn)/20], drawn[len(drawn)*19/20], ratio(attacked, calm, .5),
		100*used[0]/attackTurns, 100*(used[1]-used[0])/attackTurns, len(pairs))
}

// pool is the delays of all turns of a kind, sorted.
func pool(pairs []pair) (calm, attacked []time.Duration) {
	for _, p := range pairs {
		calm, attacked = append(calm, p[0]...), append(attacked, p[1]...)
	}
	slices.Sort(calm)
	slices.Sort(attacked)
	return calm, attacked
}

func ms(sorted []time.Duration, q float64) float64 {
	return float64(sorted[int(q*float64(len(sorted)-1))]) / float64(time.Millisecond)
}

func ratio(a, b []time.Duration, q float64) float64 { return ms(a, q) / ms(b, q) }

// another runs this program once more, as what the words say and with the rank that chrt gives it, and waits until it is at work.
func another(t *testing.T, words string, rank ...string) *processtest.Process {
	t.Helper()
	p := processtest.Start(t, exec.Command("chrt", append(rank, "env", theAttack+"="+words, os.Args[0], "-test.run=^TestAttackers$", "-test.timeout=1h")...))
	await(t, "somebody is at work: "+words, func() bool { return strings.Contains(p.Said(), atWork) })
	return p
}
