package main_test

import (
	"fmt"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/rookery-chat/rookery/internal/exampletest"
	"github.com/rookery-chat/rookery/internal/processtest"
	"github.com/rookery-chat/rookery/internal/redistest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// start runs the README's command for another name than its own, with env, until its first tick.
func start(t *testing.T, name string, env []string) *exampletest.Program {
	t.Helper()
	command := exampletest.Command(t)
	if command[len(command)-1] != "alice" {
		t.Fatalf("the README's command does not end with a name: %q", command)
	}
	p := exampletest.Run(t, append(slices.Clone(command[:len(command)-1]), name), env...)
	p.Await(0, " tick ")
	return p
}

// place is where one more node of the cluster on redis goes.
func place(t *testing.T, redis *redistest.Server) []string {
	return []string{"ROOKERY_REDIS=" + redis.URL(),
		"ROOKERY_LISTEN=" + processtest.FreeAddr(t), "ROOKERY_ADMIN=" + processtest.FreeAddr(t)}
}

var tick = regexp.MustCompile(`^\d\d:\d\d:\d\d tick (\d+)$`)

// ticks are the counts that a program has shown. Each must be the one before and one.
func ticks(t *testing.T, p *exampletest.Program) (counts []int) {
	t.Helper()
	for _, line := range p.Lines() {
		if found := tick.FindStringSubmatch(line); found != nil {
			n, _ := strconv.Atoi(found[1])
			if len(counts) > 0 && n != counts[len(counts)-1]+1 {
				t.Fatalf("tick %d came after %d", n, counts[len(counts)-1])
			}
			counts = append(counts, n)
		}
	}
	return counts
}

// more waits for n more ticks than there are, and returns the newest.
func more(t *testing.T, p *exampletest.Program, n int) int {
	t.Helper()
	counts := ticks(t, p)
	last := counts[len(counts)-1] + n
	p.Await(0, fmt.Sprintf(" tick %d", last))
	ticks(t, p)
	return last
}

// Two programs, each with a node of its own, show one clock. One machine loses power: the clock goes on, and nobody misses a tick or sees one twice, not even who
// was on the dead node.
func TestOneClock(t *testing.T) {
	t.Parallel()
	redis := redistest.Start(t)
	here, there := place(t, redis), place(t, redis)
	alice, bob := start(t, "alice", here), start(t, "bob", there)
	bob.Await(0, "* online: alice, bob")
	carol := start(t, "carol", here) // on alice's node
	at := bob.Await(0, "* online: alice, bob, carol")
	more(t, alice, 3)

	alice.Kill()
	at = bob.Await(at, "* alice left")
	carol.Await(0, "reconnecting in")
	more(t, bob, 3)

	alice = start(t, "alice", here)
	at = bob.Await(at, "* alice came")
	bob.Await(at, "* online: alice, bob, carol")
	last := more(t, bob, 3)
	for _, p := range []*exampletest.Program{alice, carol} {
		p.Await(0, fmt.Sprintf(" tick %d", last))
		ticks(t, p)
	}
	if printed := strings.Join(carol.Lines(), "\n"); strings.Count(printed, "* connected to node") != 2 || strings.Contains(printed, "missing") {
		t.Errorf("carol should have been connected twice, and missed nothing")
	}
}

// The cluster hangs: the program says that ticks are late, and when it goes on, none is lost.
func TestLate(t *testing.T) {
	t.Parallel()
	redis := redistest.Start(t)
	alice := start(t, "alice", place(t, redis))
	more(t, alice, 2)
	redis.Pause()
	at := alice.Await(0, "* no tick came for 4s")
	redis.Continue()
	alice.Await(at, " tick ")
	more(t, alice, 3)
}

// Without a node the program says what is wrong, tries again, and ends when it is told to.
func TestNoNode(t *testing.T) {
	t.Parallel()
	p := exampletest.Run(t, exampletest.Command(t), "ROOKERY_URL=ws://127.0.0.1:1/ws", "ROOKERY_API=http://127.0.0.1:1")
	p.Await(0, "make run starts one")
	at := p.Await(0, "* cannot see to the clock, trying again")
	p.Await(at, "* cannot see to the clock, trying again")
	p.Interrupt()
}

// Where two clocks run, because two programs started at the same moment, the next start leaves one.
func TestTwoClocks(t *testing.T) {
	t.Parallel()
	where := place(t, redistest.Start(t))
	alice := start(t, "alice", where)
	_, addr, _ := strings.Cut(where[2], "=")
	timers := "http://" + addr + "/v1/timers"
	call := func(method, body string) string {
		r, err := http.NewRequestWithContext(t.Context(), method, timers, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/json")
		r.Close = true
		w, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer w.Body.Close()
		b, err := io.ReadAll(w.Body)
		if err != nil || w.StatusCode/100 != 2 {
			t.Fatalf("%s: %s %s %v", method, w.Status, b, err)
		}
		return string(b)
	}
	call("POST", `{"topic":"*","data":{"clock":"{{time}}","count":"{{count}}"},"every":"1s"}`)
	call("POST", `{"topic":"*","data":"of somebody else","every":"1h"}`)
	if n := strings.Count(call("GET", ""), `"1s"`); n != 2 {
		t.Fatalf("%d clocks, want 2", n)
	}
	start(t, "bob", where).Await(0, "* the clock runs")
	if list := call("GET", ""); strings.Count(list, `"1s"`) != 1 || strings.Count(list, `"1h0m0s"`) != 1 {
		t.Errorf("not one clock: %s", list)
	}
	alice.Await(len(alice.Lines()), " tick ")
}

// The clock is the cluster's: it ends when somebody stops it.
func TestStop(t *testing.T) {
	t.Parallel()
	where := place(t, redistest.Start(t))
	alice := start(t, "alice", where)
	more(t, alice, 1)
	exampletest.Run(t, []string{"examples/run", "ticker", "-stop"}, where...).Wait()
	at := len(alice.Lines())
	alice.Await(at, "* no tick came for 4s")
}
