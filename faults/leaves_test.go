package faults_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rookery-chat/rookery/client"
	"github.com/rookery-chat/rookery/faults/judge"
	"github.com/rookery-chat/rookery/internal/redistest"
	"github.com/rookery-chat/rookery/internal/timetest"
)

// A node dies with 50 users on it, who are in 5 rooms each. In every room everybody on the other nodes
// sees each of them leave, once, and soon.
func TestDeadNodesLeaves(t *testing.T) {
	t.Parallel()
	redis := redistest.Start(t)
	o := newOrdeal(t, redis)
	const users, rooms = 50, 5
	dying := serve(t, redis)
	var all sync.WaitGroup
	var ghosts []*member
	for i := range users {
		m := enter(t, dying.URL(), fmt.Sprint("ghost", i))
		ghosts = append(ghosts, m)
		all.Go(func() {
			for r := range rooms {
				m.join(fmt.Sprint("room", r), nil)
			}
		})
	}
	all.Wait()
	var watchers []*member
	for i, n := range append(o.nodes, o.nodes...) {
		w := enter(t, n.URL(), fmt.Sprint("watcher-", i))
		watchers = append(watchers, w)
		for r := range rooms {
			w.join(fmt.Sprint("room", r), &client.JoinOptions{Presence: true})
		}
	}
	var names []string
	for r := range rooms {
		room := fmt.Sprint("room", r)
		names = append(names, room)
		for _, w := range watchers {
			await(t, "everybody is in "+room, func() bool {
				roster, ok := w.Roster(room)
				return ok && roster.Online == users+len(watchers)
			})
		}
	}
	w := watch(t, o.dir, "witness", o.nodes[0].URL, true, names...)
	await(t, "the witness is in", func() bool { return len(w.position(names[rooms-1]).Epoch) > 0 })
	time.Sleep(6 * time.Second) // nobody is condemned by a node that has not seen Redis serve for 5 s

	dying.Kill()
	killed := timetest.Start()
	for i, w := range watchers {
		w.await("all leaves", func() bool {
			seen := 0
			for name := range w.left {
				if strings.Contains(name, " ghost") {
					seen++
				}
			}
			return seen == users*rooms
		})
		t.Logf("watcher %d has seen %d leaves %v after the kill", i, users*rooms, killed.Took().Round(10*time.Millisecond))
	}
	killed.Within(t, lie+time.Second, "the last leave is seen")
	for _, m := range ghosts {
		m.leave()
	}
	time.Sleep(3 * time.Second) // for a leave that comes twice
	for _, w := range watchers {
		w.mu.Lock()
		for name, n := range w.left {
			if n != 1 || !strings.Contains(name, " ghost") {
				t.Errorf("%s saw %q leave %d times", w.user, name, n)
			}
		}
		w.mu.Unlock()
	}
	for _, room := range names {
		in := []string{"witness"}
		for _, w := range watchers {
			in = append(in, w.user)
		}
		o.log.Add(judge.Record{Act: judge.Truth, Topic: room, Users: in})
		w.end(room)
	}
	w.leave()
	o.judged()
}
