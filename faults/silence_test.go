package faults_test

import (
	"errors"
	"fmt"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/rookery-chat/rookery/internal/nettest"
	"github.com/rookery-chat/rookery/internal/redistest"
	"github.com/rookery-chat/rookery/internal/timetest"
	"github.com/rookery-chat/rookery/wire"
)

// noticed bounds how long a node says that it is ready when it hears nothing of Redis any more: see docs/guarantees.md.
const noticed = 6 * time.Second

// Nothing comes through between one node and Redis, and no connection ends: the node notices, says so
// as long as it lasts, and needs no help afterwards. The other node's people talk on, and nobody misses a word.
func TestSilence(t *testing.T) {
	t.Parallel()
	redis := redistest.Start(t)
	link := newDoor(t, redis.Addr)
	silence(t, newOrdeal(t, redis, link.addr, redis.Addr), "held", link.hold, func() { link.cut(); link.release() })
}

// The same with packets that the kernel drops: those to Redis, those from it, and all.
func TestDroppedPackets(t *testing.T) {
	t.Parallel()
	if !nettest.Inside(t) {
		return
	}
	const far = "127.0.0.2" // the first node's name for Redis
	rule := func(action, what string) func() {
		return func() { nettest.Command(t, "iptables", action, "INPUT", what, far, "-p", "tcp", "-j", "DROP") }
	}
	for _, row := range []struct {
		name       string
		drop, heal []func()
	}{
		{"packets to Redis", []func(){rule("-A", "-d")}, []func(){rule("-D", "-d")}},
		{"packets from Redis", []func(){rule("-A", "-s")}, []func(){rule("-D", "-s")}},
		{"all packets", []func(){rule("-A", "-d"), rule("-A", "-s")}, []func(){rule("-D", "-d"), rule("-D", "-s")}},
	} {
		t.Run(row.name, func(t *testing.T) {
			redis := redistest.Start(t, "--bind", "127.0.0.1", far)
			_, port, _ := net.SplitHostPort(redis.Addr)
			each := func(do []func()) func() {
				return func() {
					for _, f := range do {
						f()
					}
				}
			}
			silence(t, newOrdeal(t, redis, net.JoinHostPort(far, port), redis.Addr), row.name, each(row.drop), each(row.heal))
		})
	}
}

// silence comes between the first node of an ordeal and Redis.
func silence(t *testing.T, o *ordeal, what string, begin, end func()) {
	t.Helper()
	o.say(o.speakers[0], "before")
	begin()
	began, watch := time.Now(), timetest.Start()
	var asking sync.WaitGroup
	asking.Go(func() {
		_, err := o.speakers[0].publish("meanwhile")
		var e *wire.Error
		if !errors.As(err, &e) || e.Code != wire.Unavailable || !e.Retry {
			t.Errorf("a publish was answered %v", err)
		}
		watch.Within(t, answerTime+time.Second, what+": the answer")
	})
	o.nodes[0].AwaitReady(false)
	watch.Within(t, noticed+time.Second, what+": noticed")
	asking.Wait()
	for n := 0; time.Since(began) < 9*time.Second; n++ {
		o.say(o.speakers[1], fmt.Sprint("other-", n))
		o.nodes[0].AwaitReady(false)
		o.nodes[1].AwaitReady(true)
		time.Sleep(100 * time.Millisecond)
	}
	end()
	healed := time.Now()
	o.nodes[0].AwaitReady(true)
	t.Logf("%s: ready again after %v", what, time.Since(healed).Round(10*time.Millisecond))
	first := o.say(o.speakers[0], "meanwhile")
	if again := o.say(o.speakers[0], "meanwhile"); again.Position != first.Position || !again.Duplicate {
		t.Errorf("repeated, a publish is at %v, not at %v", again, first.Position)
	}
	o.judged()
}
