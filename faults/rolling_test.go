package faults_test

import (
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/rookery-chat/rookery/faults/judge"
	"github.com/rookery-chat/rookery/internal/timetest"
)

// A new version comes: one node after the other gets SIGTERM, and a new one takes its post,
// behind haproxy, while people talk. Nobody loses a message or gets one twice, and nobody
// is seen leaving or coming; they do not come back in one wave.
// With many clients: go test ./faults -run TestRollingRestart -clients 5000 -v
func TestRollingRestart(t *testing.T) {
	flags := []string{"--drain-delay=3s", "--handshakes=2000"} // as in docker-compose.yml; the default
	const drain = 15 * time.Second                             // the default
	f := newFleet(t, "rolling", max(4, *clients/250))
	for i := range f.seats {
		f.man(i, flags...)
	}
	since := f.gather(*clients)
	watch := timetest.Start()
	slow := make(map[*witness]bool) // on a machine that has too much to do
	for range 4 {
		f.talk(200 * time.Millisecond)
	}
	for i, old := range f.seats {
		leaving := f.at(old.ID)
		if len(leaving) < *clients/10 {
			t.Errorf("only %d of %d clients are on %s: haproxy spread them badly", len(leaving), *clients, old.ID)
		}
		f.log.Add(judge.Record{Act: judge.Fault, Kind: "SIGTERM of a node"})
		begun := time.Now()
		old.Signal(syscall.SIGTERM)
		f.haproxy.awaitServers(len(f.seats) - 1)
		noticed := time.Since(begun)
		<-old.Exited
		took := time.Since(begun)
		f.man(i, flags...)
		moves := f.moved(leaving, old.ID)

		var goodbyes, returns, away, asked []time.Duration
		for _, m := range moves {
			if m.from.goodbye.IsZero() {
				t.Error("a client was sent away without a goodbye")
				continue
			}
			if m.from.after > 2*time.Second {
				t.Errorf("a goodbye asks to stay away for %v", m.from.after)
			}
			asked = append(asked, m.from.after)
			goodbyes = append(goodbyes, m.from.goodbye.Sub(begun))
			returns = append(returns, m.to.came.Sub(begun))
			away = append(away, m.to.came.Sub(m.from.goodbye))
			if m.to.came.Sub(m.from.goodbye) > inTime {
				slow[m.member] = true
			}
		}
		bye, back := newSpread(goodbyes), newSpread(returns)
		t.Logf("%d clients leave node%d: haproxy notices after %v, the node ends after %v", len(moves), i+1, noticed.Round(time.Millisecond), took.Round(time.Millisecond))
		t.Logf("  goodbyes after  %v; by half seconds %v; busiest 100 ms %.0f %%", bye, bye.steps(), 100*bye.busiest(100*time.Millisecond))
		t.Logf("  they are back   %v; by half seconds %v; busiest 100 ms %.0f %%", back, back.steps(), 100*back.busiest(100*time.Millisecond))
		t.Logf("  each was away   %v", newSpread(away))
		if share := newSpread(asked).busiest(100 * time.Millisecond); share > 0.25 {
			t.Errorf("%.0f %% of them were asked to come back within 100 ms", 100*share)
		}
		// Few are all held up together when the machine is.
		if share := back.busiest(100 * time.Millisecond); share > 0.5 && *clients >= 5000 {
			t.Errorf("%.0f %% of them came back within 100 ms", 100*share)
		}
		if took > 2*drain {
			t.Errorf("the node took %v to end, with --drain %v", took, drain)
		}
		if code := old.Cmd.ProcessState.ExitCode(); code != 0 {
			t.Errorf("the node ended with %d", code)
		}
	}
	f.stay(since, slices.DeleteFunc(slices.Clone(f.members), func(m *witness) bool { return slow[m] }))
	if len(slow) > len(f.members)/2 && watch.Spare() > watch.Took()/2 {
		t.Errorf("%d of %d were away for more than %v: this shows little", len(slow), len(f.members), inTime)
	}
	f.sum()
}
