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

// On 1, 2 and 4 nodes, with as many people: a publish takes Redis no more commands than one that comes alone on one node (and fewer
// where many share a script), each node delivers to the members
// that it holds, and a node without a member does not hear of it.
func TestGrowthOfNodes(t *testing.T) {
	const members, publishers, each = 16, 16, 150
	const publishes = publishers * each
	const idleScripts, idleCommands = 8, 40 // what a node makes Redis do each second anyway, at most: probes, leases, sanctions, sweeps, timers
	perPublish, anyway := make(map[int]float64), make(map[int]float64)
	for _, count := range []int{1, 2, 4} {
		t.Run(fmt.Sprint(count, " nodes"), func(t *testing.T) {
			redis := redistest.Start(t)
			var nodes []*process
			for range count {
				nodes = append(nodes, serve(t, redis, "--limit-publishes=100000"))
			}
			deaf := serve(t, redis) // has people too, elsewhere
			enter(t, deaf.URL(), "hermit").join("cell", nil)
			var people, talkers []*member
			for i := range members {
				m := enter(t, nodes[i%count].URL(), fmt.Sprint("member", i))
				m.join("lobby", nil)
				people = append(people, m)
			}
			for i := range publishers {
				m := enter(t, nodes[i%count].URL(), fmt.Sprint("talker", i))
				m.join("lobby", nil)
				talkers = append(talkers, m)
			}
			before, begun := commands(t, redis), time.Now()
			delivered := make([]float64, count)
			for i, n := range nodes {
				delivered[i] = n.Metric("rookery_deliveries_total")
			}
			silence := deaf.Metric("rookery_messages_received_total")

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
			all, scripts := 0, after["evalsha"]-before["evalsha"]
			for name, n := range after {
				all += n - before[name]
			}
			seconds := float64(count+1) * (took.Seconds() + 1) // of all nodes
			if most := publishes + int(idleScripts*seconds); scripts > most {
				t.Errorf("%d publishes took %d scripts, want at most %d in %v", publishes, scripts, most, took)
			}
			perPublish[count], anyway[count] = float64(all)/publishes, idleCommands*seconds/publishes
			t.Logf("%.3f commands and %.3f scripts a publish, in %v", perPublish[count], float64(scripts)/publishes, took)

			for i, n := range nodes {
				want := float64(publishes * (members + publishers) / count)
				if got := n.Metric("rookery_deliveries_total") - delivered[i]; got != want {
					t.Errorf("node %d has delivered %v times, want %v", i, got, want)
				}
			}
			if n := deaf.Metric("rookery_messages_received_total") - silence; n != 0 {
				t.Errorf("a node without members heard of %v messages", n)
			}
		})
	}
	const alone, together = 8, 3 // commands of a publish: the script and seven in it, three of which are for each message
	for count, n := range perPublish {
		if n > 1.02*alone+anyway[count] || n < together {
			t.Errorf("a publish takes %.2f commands on %d nodes", n, count)
		}
	}
}

// A thousand join a room at the same time, each watching who is there: what they are told of each other is bounded by the
// roster's intervals, not by the joins, and the nodes stay ready.
func TestGrowthOfRoom(t *testing.T) {
	const people, within = 1000, 4
	redis := redistest.Start(t)
	nodes := []*process{serve(t, redis), serve(t, redis)}
	var asking sync.WaitGroup
	done := make(chan struct{})
	for _, n := range nodes {
		asking.Go(func() {
			for asked := 0; ; asked++ {
				if n.Metric("rookery_ready") != 1 {
					t.Errorf("node %s was not ready when asked the %dth time", n.ID, asked)
					return
				}
				select {
				case <-done:
					return
				case <-time.After(100 * time.Millisecond):
				}
			}
		})
	}
	found := benchmark(t, "gather", "--url="+nodes[0].URL(), "--url="+nodes[1].URL(), fmt.Sprint("--sessions=", people), fmt.Sprintf("--within=%ds", within))
	close(done)
	asking.Wait()
	value := func(name string) float64 { return found[name].(float64) }
	const intervals, names = 4, 100 // a second; in a frame
	frames, most := value("presence_frames_per_member"), intervals*value("seconds_until_all_know")+1
	t.Logf("%.2f frames, %.0f names and %.0f bytes a member in %.1f s", frames, value("presence_names_per_member"), value("presence_bytes_per_member"), value("seconds_until_all_know"))
	if frames < 1 || frames > most {
		t.Errorf("%.1f presence frames a member, want 1 to %.1f", frames, most)
	}
	if n := value("presence_names_per_member"); n > people || n > names*frames {
		t.Errorf("%.1f names a member in %.1f frames", n, frames)
	}
	const bytes = 100 // of a name, and as many again of a frame
	if n := value("presence_bytes_per_member"); n > bytes*(people+2*frames) {
		t.Errorf("%.0f bytes a member", n)
	}
}

// A node that hears a hundred times as many topics, in which nothing is said, asks Redis no more often: its sweep is one
// script each 2 s, which looks at the topics of one of 64 partitions.
func TestGrowthOfTopics(t *testing.T) {
	t.Parallel()
	const few, many, partitions = 15, 1500, 64
	idle := func(topics int) (scripts, commands float64) {
		redis := redistest.Start(t)
		node := serve(t, redis)
		found := benchmark(t, "topics", "--url="+node.URL(), "--redis="+redis.URL(), fmt.Sprint("--topics=", topics), fmt.Sprint("--each=", topics/15), "--settle=1s", "--duration=8s")
		if found["topics"] != float64(topics) {
			t.Fatalf("found %v", found)
		}
		return found["redis_scripts_per_second"].(float64), found["redis_commands_per_second"].(float64)
	}
	scripts, commands := idle(few)
	manyScripts, manyCommands := idle(many)
	t.Logf("%d topics: %.2f scripts and %.1f commands a second; %d: %.2f and %.1f", few, scripts, commands, many, manyScripts, manyCommands)
	if scripts == 0 || manyScripts > scripts+1.5 {
		t.Errorf("%.2f scripts a second with %d topics, %.2f with %d", manyScripts, many, scripts, few)
	}
	// Two commands look at a topic, in every 64th sweep; partitions are not quite the same size.
	const look, uneven = 2, 2
	if most := commands + 5 + uneven*look*many/partitions/2; manyCommands > most {
		t.Errorf("%.1f commands a second with %d topics, want at most %.1f: with %d they are %.1f", manyCommands, many, most, few, commands)
	}
}
