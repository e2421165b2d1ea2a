package faults_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/rookery-chat/rookery/faults/judge"
)

// All clients are on one node, which dies. They come back to two others at once, behind haproxy,
// while people talk: these take in as many a second as they are set to, and tell the rest when
// to come again. Everybody is back with every message, each once; nobody is seen leaving who
// was back in time; and the nodes read each log a few times, not once for each client.
// With many clients, and default settings: go test ./faults -run TestReconnectStorm -clients 5000 -v
func TestReconnectStorm(t *testing.T) {
	rate := *clients / 5 // handshakes a second: so few that some have to wait
	if *clients >= 5000 {
		rate = 2000 // the default
	}
	rooms := max(4, *clients/250)
	f := newFleet(t, "reconnect", rooms)
	f.man(0)
	since := f.gather(*clients)
	for _, i := range []int{1, 2} {
		f.man(i, fmt.Sprint("--handshakes=", rate))
	}
	for range 4 {
		f.talk(200 * time.Millisecond)
	}
	await(t, "people talk", func() bool { return f.members[0].count() > 10 })

	lost, others := f.seats[0], f.seats[1:]
	f.log.Add(judge.Record{Act: judge.Fault, Kind: "kill -9 of a node"})
	reads, refused := sum(others, "rookery_log_reads_total"), sum(others, "rookery_handshakes_refused_total")
	f.seats[0] = nil
	used := f.cpu()
	killed := time.Now()
	lost.Kill()
	until := grace(f.t, f.redis, lost)
	moves := f.moved(f.members, lost.ID)
	for who, now := range f.cpu() {
		used[who] = now - used[who]
	}
	reads, refused = sum(others, "rookery_log_reads_total")-reads, sum(others, "rookery_handshakes_refused_total")-refused

	var all []time.Duration
	admitted := make(map[string][]time.Duration)
	var quick []*witness
	for _, m := range moves {
		back := m.to.came.Sub(killed)
		all = append(all, back)
		admitted[m.to.node] = append(admitted[m.to.node], back)
		if m.to.came.Before(until) {
			quick = append(quick, m.member)
		}
	}
	back := newSpread(all)
	t.Logf("%d clients are back %v after their node died; by half seconds %v", len(moves), back, back.steps())
	t.Logf("%.0f handshakes refused, %.0f pages of logs read on 2 nodes, for 2 rooms of each client, %d rooms in all", refused, reads, rooms)
	t.Logf("CPU time meanwhile: %v", used)
	for node, times := range admitted {
		for i, at := range newSpread(times).times {
			if most := float64(rate) * (1 + at.Seconds()); float64(i) > most {
				t.Errorf("%s took in %d of them within %v, with --handshakes %d", node, i+1, at, rate)
				break
			}
		}
	}
	f.mu.Lock()
	topics := max(rooms, len(f.spoken)) // rooms, and inboxes that had a message
	f.mu.Unlock()
	if most := float64(8 * topics * len(others)); reads > most {
		t.Errorf("%.0f reads of %d logs on %d nodes, for %d clients", reads, topics, len(others), *clients)
	}
	if all := time.Duration(float64(*clients)/float64(2*rate)*float64(time.Second)) - time.Second; *clients < 5000 && refused == 0 && back.quantile(1) < all {
		t.Error("nobody was refused, and all came at once")
	}
	f.stay(since, quick)
	f.sum()
}
