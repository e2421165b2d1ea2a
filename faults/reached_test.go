package faults_test

import (
	"bufio"
	"fmt"
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/rookery-chat/rookery/internal/processtest"
	"github.com/rookery-chat/rookery/internal/redistest"
	"github.com/rookery-chat/rookery/internal/timetest"
)

// lie is how long `reached` and `ok` may be wrong after a node froze or was cut off: see docs/guarantees.md.
const lie = 8 * time.Second

// A back end pushes to a user on another node, by the server API and by the push port, and is
// told the truth: also after the user's node froze, or was cut off from Redis by a network that drops packets,
// but for a few seconds. When the node is back the user is reached again, and gets all that was pushed meanwhile.
func TestReachedIsTrue(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name string
		lose func(*process, *strait)
		heal func(*process, *strait)
	}{
		{"frozen",
			func(p *process, _ *strait) { p.freeze() },
			func(p *process, _ *strait) { p.Signal(syscall.SIGCONT) }},
		{"cut off",
			func(_ *process, s *strait) { s.cut() },
			func(_ *process, s *strait) { s.heal() }},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			redis := redistest.Start(t)
			way := newStrait(t, redis)
			port := processtest.FreeAddr(t)
			near, far := serve(t, redis, "--push="+port), serve(t, nil, way.flag())
			line := dialLine(t, port)
			user := enter(t, far.URL(), "alice")
			user.await("alice is online", func() bool { return user.connects > 0 })
			var pushed []string
			// push pushes twice, and tells whether the user was reached, as both have it.
			push := func() (api, port bool) {
				one, two := fmt.Sprint(len(pushed)), fmt.Sprintf(`{"uid":"alice","n":%d}`, len(pushed)+1)
				answer := must(t, near, "POST", "/v1/topics/@alice/messages", `{"data":`+one+`}`)
				said := line(two)
				pushed = append(pushed, one, two)
				return answer["reached"] != 0.0, said == "ok"
			}
			await(t, "alice is reached", func() bool { api, port := push(); return api && port })
			// Nobody is condemned by a node that has not seen Redis serve for 5 s.
			time.Sleep(6 * time.Second)

			row.lose(far, way)
			lost := timetest.Start()
			await(t, "alice is not reached", func() bool { api, port := push(); return !api && !port })
			lost.Within(t, lie+time.Second, row.name+": told that alice is reached")
			for range 20 {
				if api, port := push(); api || port {
					t.Errorf("reached again, with her node still lost: %v, %v", api, port)
				}
			}

			row.heal(far, way)
			await(t, "alice is reached again", func() bool { api, port := push(); return api && port })
			user.await("all pushes", func() bool { return len(user.messages["@alice"]) >= len(pushed) })
			user.mu.Lock()
			defer user.mu.Unlock()
			for i, m := range user.messages["@alice"] {
				if i >= len(pushed) || string(m.Data) != pushed[i] {
					t.Fatalf("push %d arrived as %s, offset %d", i, m.Data, m.Offset)
				}
			}
		})
	}
}

// dialLine returns what sends a line to a push port and returns the answer.
func dialLine(t *testing.T, addr string) func(line string) string {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	answers := bufio.NewScanner(conn)
	return func(line string) string {
		t.Helper()
		fmt.Fprintln(conn, line)
		if !answers.Scan() {
			t.Fatalf("%s: no answer: %v", line, answers.Err())
		}
		return answers.Text()
	}
}
