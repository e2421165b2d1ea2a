package faults_test

import (
	"context"
	"fmt"
	"regexp"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/rookery-chat/rookery/internal/redistest"
)

// What nodes add: a cluster that grows does more, and not more for the same. Nothing here is about time.

var calls = regexp.MustCompile(`cmdstat_([^:]+):calls=(\d+)`)

// commands is how often a Redis has run each command, within scripts too.
func commands(t *testing.T, redis *redistest.Server) map[string]int {
	t.Helper()
	info, err := redis.Ask("info", "commandstats")
	if err != nil {
		t.Fatal(err)
	}
	found := make(map[string]int)
	for _, m := range calls.FindAllStringSubmatch(fmt.Sprint(info), -1) {
		found[m[1]], _ = strconv.Atoi(m[2])
	}
	return found
}

// On 1, 2 and 4 nodes, with as many people: a publish takes Redis the same commands, each node delivers to the members
// that it holds, and a node without a member does not hear of it.
func TestGrowthOfNodes(t *testing.T) {
	const members, publishers, each = 16, 16, 250
	const publishes = publishers * each
	perPublish := make(map[int]float64)
	for _, count := range []int{1, 2, 4} {
		t.Run(fmt.Sprint(count, " nodes"), func(t *testing.T) {
			redis := redistest.Start(t)
			var nodes []*process
			for range count {
				nodes = append(nodes, serve(t, redis, "--limit-publishes=100000"))
			}
			deaf := serve(t, redis) // has people too, elsewhere
			enter(t, deaf.url(), "hermit").join("cell", nil)
			var people, talkers []*member
			for i := range members {
				m := enter(t, nodes[i%count].url(), fmt.Sprint("member", i))
				m.join("lobby", nil)
				people = append(people, m)
			}
			for i := range publishers {
				m := enter(t, nodes[i%count].url(), fmt.Sprint("talker", i))
				m.join("lobby", nil)
				talkers = append(talkers, m)
			}
			before, begun := commands(t, redis), time.Now()
			delivered := make([]float64, count)
			for i, n := range nodes {
				delivered[i] = n.metric("rookery_deliveries_total")
			}
			silence := deaf.metric("rookery_messages_received_total")

			var talking sync.WaitGroup
			for _, m := range talkers {
				talking.Go(func() {
					for i := range each {
						ctx, cancel := context.WithTimeout(context.Background(), patience)
						if _, err := m.Publish(ctx, "lobby", i, nil); err != nil {
							t.Errorf("publish: %v", err)
						}
						cancel()
					}
				})
			}
			talking.Wait()
			took := time.Since(begun)
			after := commands(t, redis)
			for _, m := range append(people, talkers...) {
				m.await("all messages", func() bool { return len(m.messages["lobby"]) == publishes })
			}

			// What is of publishes alone is exact: one XADD each, and one SPUBLISH beside probes and presence.
			if n := after["xadd"] - before["xadd"]; n != publishes {
				t.Errorf("%d publishes were stored %d times", publishes, n)
			}
			// What nodes do each second anyway is counted too, and bounded: probes, leases, sanctions, sweeps and timers.
			all, scripts := 0, after["evalsha"]-before["evalsha"]
			for name, n := range after {
				all += n - before[name]
			}
			const idle = 8 // scripts a node and second
			if most := publishes + int(idle*float64(count+1)*(took.Seconds()+1)); scripts < publishes || scripts > most {
				t.Errorf("%d publishes took %d scripts, want at most %d in %v", publishes, scripts, most, took)
			}
			perPublish[count] = float64(all) / publishes
			t.Logf("%.3f commands and %.3f scripts a publish, in %v", perPublish[count], float64(scripts)/publishes, took)

			for i, n := range nodes {
				want := float64(publishes * (members + publishers) / count)
				if got := n.metric("rookery_deliveries_total") - delivered[i]; got != want {
					t.Errorf("node %d has delivered %v times, want %v", i, got, want)
				}
			}
			if n := deaf.metric("rookery_messages_received_total") - silence; n != 0 {
				t.Errorf("a node without members heard of %v messages", n)
			}
		})
	}
	for count, n := range perPublish {
		if n > 1.1*perPublish[1] || n < 0.9*perPublish[1] {
			t.Errorf("a publish takes %.2f commands on %d nodes, %.2f on one", n, count, perPublish[1])
		}
	}
}
