package faults_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rookery-chat/rookery/internal/redistest"
	"github.com/rookery-chat/rookery/internal/timetest"
	"github.com/rookery-chat/rookery/wire"
)

// A trouble is something that keeps Redis from doing what it is asked for.
type trouble struct {
	name   string
	args   []string                             // of Redis
	place  redistest.Place                      // where it runs
	begin  func(t *testing.T, o *ordeal) func() // returns once it is there, with what ends it
	says   string                               // what each node's log must name, of Redis' own words
	ready  bool                                 // what /readyz says after a while
	leaves bool                                 // who leaves is seen leaving all the same
}

var troubles = []trouble{
	{name: "out of memory", says: "OOM", ready: true, leaves: true,
		begin: func(t *testing.T, o *ordeal) func() {
			o.ask("config", "set", "maxmemory", "1")
			return func() { o.ask("config", "set", "maxmemory", "0") }
		}},
	{name: "a replica", says: "replica",
		begin: func(t *testing.T, o *ordeal) func() {
			o.ask("replicaof", "127.0.0.1", "1") // nobody is there
			return func() { o.ask("replicaof", "no", "one") }
		}},
	{name: "busy", says: "BUSY",
		begin: func(t *testing.T, o *ordeal) func() {
			o.ask("config", "set", "busy-reply-threshold", "50")
			var wg sync.WaitGroup
			busy := o.admin()
			wg.Go(func() { busy.Eval(context.Background(), "while true do end", nil) })
			other := o.admin()
			is := func(word string) func() bool {
				return func() bool {
					err := other.Get(context.Background(), "any").Err()
					return (err != nil && strings.HasPrefix(err.Error(), "BUSY")) == (word == "busy")
				}
			}
			await(t, "Redis is busy", is("busy"))
			return func() {
				other.ScriptKill(context.Background())
				await(t, "Redis is no longer busy", is("idle"))
				wg.Wait()
			}
		}},
	{name: "snapshots fail", args: []string{"--save", "3600 1000000"}, says: "MISCONF", ready: true,
		begin: func(t *testing.T, o *ordeal) func() {
			dump := filepath.Join(o.redis.Dir, "dump.rdb") // what is a folder cannot be replaced by a file
			if err := os.MkdirAll(filepath.Join(dump, "full"), 0o700); err != nil {
				t.Fatal(err)
			}
			status := func(want string) {
				o.ask("bgsave")
				await(t, "a snapshot: "+want, func() bool {
					return strings.Contains(fmt.Sprint(o.ask("info", "persistence")), "rdb_last_bgsave_status:"+want)
				})
			}
			status("err")
			return func() {
				if err := os.RemoveAll(dump); err != nil {
					t.Fatal(err)
				}
				status("ok")
			}
		}},
	{name: "disk full", args: []string{"--appendonly", "yes", "--appendfsync", "everysec"}, says: "MISCONF", ready: true,
		// The disk is in a mount namespace of the server's own, and ends with it.
		place: redistest.Place{Through: []string{"unshare", "--map-root-user", "--mount", "sh", "-c", `mount -t tmpfs -o size=1m tmpfs "$PWD" && exec "$0" "$@"`}},
		begin: func(t *testing.T, o *ordeal) func() {
			filler := fmt.Sprintf("/proc/%d/root%s/filler", o.redis.Pid(), o.redis.Dir)
			if err := os.WriteFile(filler, make([]byte, 2<<20), 0o600); err == nil {
				t.Fatal("2 MiB fit on a disk of 1 MiB")
			}
			status := func(want string) {
				await(t, "the log of writes: "+want, func() bool {
					o.admin().Set(context.Background(), "any", strings.Repeat("x", 8<<10), 0)
					return strings.Contains(fmt.Sprint(o.ask("info", "persistence")), "aof_last_write_status:"+want)
				})
			}
			status("err")
			return func() {
				if err := os.Remove(filler); err != nil {
					t.Fatal(err)
				}
				status("ok")
			}
		}},
	{name: "loading", args: []string{"--enable-debug-command", "yes", "--loading-process-events-interval-bytes", "1024"}, says: "loading",
		begin: func(t *testing.T, o *ordeal) func() {
			for i := range 500 {
				o.ask("set", fmt.Sprint("ballast", i), strings.Repeat("x", 1024))
			}
			o.ask("config", "set", "rdbcompression", "no")
			o.ask("config", "set", "key-load-delay", "100000") // µs
			var wg sync.WaitGroup
			loads, other := o.admin(), o.admin()
			wg.Go(func() { loads.Do(context.Background(), "debug", "reload") })
			await(t, "Redis loads", func() bool {
				err := other.Get(context.Background(), "any").Err()
				return err != nil && strings.HasPrefix(err.Error(), "LOADING")
			})
			return func() {
				if err := other.ConfigSet(context.Background(), "key-load-delay", "0").Err(); err != nil {
					t.Error(err)
				}
				wg.Wait()
			}
		}},
	{name: "too many connections", says: "the connection to Redis was refused", // the library keeps Redis' words to itself
		begin: func(t *testing.T, o *ordeal) func() {
			admin := o.admin()
			do := func(words ...any) {
				t.Helper()
				if err := admin.Do(context.Background(), words...).Err(); err != nil {
					t.Fatal(words, err)
				}
			}
			do("config", "set", "maxclients", "1")
			do("client", "kill", "type", "pubsub")
			do("client", "kill", "type", "normal", "skipme", "yes")
			return func() { do("config", "set", "maxclients", "10000") }
		}},
	{name: "writes paused", says: "",
		begin: func(t *testing.T, o *ordeal) func() {
			o.ask("client", "pause", "600000", "write")
			return func() { o.ask("client", "unpause") }
		}},
	{name: "all paused", says: "",
		begin: func(t *testing.T, o *ordeal) func() {
			o.ask("client", "pause", "12000", "all")
			return func() { o.admin().Ping(context.Background()) } // is paused too
		}},
}

// answerTime bounds the answer to a publish, whatever Redis does: see docs/guarantees.md.
const answerTime = 5 * time.Second

// What is no trouble for those who publish: Redis forgets its scripts all the time, or is far away.
func TestHarmlessTrouble(t *testing.T) {
	t.Parallel()
	redis := redistest.Start(t)
	link := newDoor(t, redis.Addr)
	o := newOrdeal(t, redis, link.addr, redis.Addr)
	link.slow(100 * time.Millisecond) // each way: a lease takes up to four ways there and back, in 2 s
	ctx, cancel := context.WithCancel(context.Background())
	var flushing sync.WaitGroup
	admin := o.admin()
	flushing.Go(func() {
		for ctx.Err() == nil {
			admin.ScriptFlush(context.Background())
			time.Sleep(time.Millisecond)
		}
	})
	var talking sync.WaitGroup
	for i, s := range o.speakers {
		talking.Go(func() {
			for n := range 20 {
				key := fmt.Sprint("far-", i, "-", n)
				at, err := s.publish(key)
				if err != nil {
					t.Errorf("a publish was answered %v", err)
					return
				}
				o.acked(s, key, *at)
			}
		})
	}
	talking.Wait()
	for _, n := range o.nodes {
		n.AwaitReady(true)
	}
	cancel()
	flushing.Wait()
	link.slow(0)
	if lines := append(o.nodes[0].complaints(""), o.nodes[1].complaints("")...); len(lines) > 0 {
		t.Errorf("complaints:\n%s", strings.Join(lines, ""))
	}
	o.judged()
}

// Redis is in trouble. Who publishes is told so in time, and that it may be tried again; the same
// publish, repeated when Redis is well again, is stored once. Nobody is seen leaving who did not. The node says what
// is wrong, once and not a thousand times, and needs no restart.
func TestTrouble(t *testing.T) {
	t.Parallel()
	var all sync.WaitGroup // at once, however few cores there are: they wait most of the time
	for _, tr := range troubles {
		run := func(t *testing.T) {
			o := newOrdeal(t, redistest.StartIn(t, tr.place, tr.args...))
			leaver := enter(t, o.nodes[0].URL(), "leaver")
			leaver.join(ordealRoom, nil)
			await(t, "the leaver is seen", func() bool { return o.inRoom("leaver") })
			for i, s := range o.speakers {
				o.say(s, fmt.Sprint("before-", i))
			}
			var said []string
			for _, n := range o.nodes {
				said = append(said, n.Said())
			}

			end := tr.begin(t, o)
			ended := false
			heal := func() {
				if !ended {
					ended = true
					end()
				}
			}
			t.Cleanup(heal)
			began := time.Now()
			var asking sync.WaitGroup
			for i, s := range o.speakers {
				asking.Go(func() {
					asked, watch := time.Now(), timetest.Start()
					_, err := s.publish(fmt.Sprint("during-", i))
					watch.Within(t, answerTime+time.Second, "the answer to a publish")
					var e *wire.Error
					if !errors.As(err, &e) || e.Code != wire.Unavailable || !e.Retry {
						t.Errorf("a publish was answered %v", err)
					}
					for time.Since(asked) < 3*time.Second { // many, where they are refused at once: the log is not to show it
						_, err := s.ask(wire.Command{Type: "read", Topic: ordealRoom, Offset: 1})
						if !errors.As(err, &e) || e.Code != wire.Unavailable || !e.Retry {
							t.Errorf("a read offset was answered %v", err)
							return
						}
					}
				})
			}
			asking.Go(func() {
				status, problem := call(t, o.nodes[1], "POST", "/v1/topics/lobby/messages", `{"data":{"key":"during-api"},"from":"api","key":"during-api"}`)
				if status != 503 || problem["code"] != "unavailable" || problem["retry"] != true {
					t.Errorf("a publish of a server was answered %d %v", status, problem)
				}
			})
			if err := leaver.Leave(context.Background(), ordealRoom); err != nil {
				t.Errorf("leave: %v", err)
			}
			if tr.leaves {
				await(t, "who left is seen leaving", func() bool { return !o.inRoom("leaver") })
			}
			asking.Wait()
			for _, n := range o.nodes {
				n.AwaitReady(tr.ready)
			}
			// Longer than it takes to declare a node dead.
			time.Sleep(8*time.Second - time.Since(began))
			for i, n := range o.nodes {
				n.AwaitReady(tr.ready)
				lines := n.complaints(said[i])
				if len(lines) == 0 || len(lines) > 6 || !strings.Contains(strings.Join(lines, ""), tr.says) {
					t.Errorf("%d complaints, that should name %q:\n%s", len(lines), tr.says, strings.Join(lines[:min(len(lines), 20)], ""))
				}
			}

			heal()
			for i, s := range o.speakers {
				key := fmt.Sprint("during-", i)
				first := o.say(s, key)
				if again := o.say(s, key); again.Position != first.Position || !again.Duplicate {
					t.Errorf("repeated, %s is at %v, not at %v", key, again, first.Position)
				}
			}
			body := `{"data":{"key":"during-api"},"from":"api","key":"during-api"}`
			if first, again := must(t, o.nodes[1], "POST", "/v1/topics/lobby/messages", body), must(t, o.nodes[0], "POST", "/v1/topics/lobby/messages", body); first["offset"] != again["offset"] || again["duplicate"] != true {
				t.Errorf("repeated, a server's publish got %v, then %v", first, again)
			}
			await(t, "who left is seen leaving", func() bool { return !o.inRoom("leaver") })
			o.judged()
			seen := o.leavesSeen()
			if seen["leaver"] != 1 {
				t.Errorf("the leaver was seen leaving %d times", seen["leaver"])
			}
			for _, user := range o.present() {
				if seen[user] != 0 {
					t.Errorf("%s was seen leaving, who did not", user)
				}
			}
		}
		all.Go(func() { t.Run(tr.name, run) })
	}
	all.Wait()
}
