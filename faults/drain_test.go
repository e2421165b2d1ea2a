package faults_test

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/rookery-chat/rookery/internal/processtest"
	"github.com/rookery-chat/rookery/internal/redistest"
	"github.com/rookery-chat/rookery/wire"
)

// far is a time that no drain here takes, unless it waits for what it should not.
const far = 45 * time.Second

// ended waits until the node has ended, and returns how long after begun that was.
func (p *process) ended(begun time.Time) time.Duration {
	p.tb.Helper()
	select {
	case <-p.Exited:
	case <-time.After(time.Until(begun.Add(far))):
		p.tb.Fatalf("node %s still runs after %v", p.ID, far)
	}
	return time.Since(begun).Round(time.Millisecond)
}

// awaitGoodbye reads until the node sends the session away.
func awaitGoodbye(t *testing.T, ctx context.Context, conn *websocket.Conn) *wire.Goodbye {
	t.Helper()
	for {
		_, b, err := conn.Read(ctx)
		if err != nil {
			t.Fatalf("no goodbye: %v", err)
		}
		if g, ok := parse(b).(*wire.Goodbye); ok {
			return g
		}
	}
}

// Who presses Ctrl-C twice, or sends two signals, does not want to wait.
func TestSecondSignal(t *testing.T) {
	t.Parallel()
	for _, signals := range [][2]syscall.Signal{{syscall.SIGINT, syscall.SIGINT}, {syscall.SIGTERM, syscall.SIGTERM}, {syscall.SIGTERM, syscall.SIGINT}, {syscall.SIGHUP, syscall.SIGHUP}} {
		t.Run(fmt.Sprint(signals), func(t *testing.T) {
			t.Parallel()
			node := serve(t, redistest.Start(t), "--drain-delay=1m", "--drain=2m")
			enter(t, node.URL(), "alice").join("lobby", nil)
			node.Signal(signals[0])
			node.AwaitReady(false)
			begun := time.Now()
			node.Signal(signals[1])
			t.Logf("ended after %v", node.ended(begun))
			if status := node.Cmd.ProcessState.Sys().(syscall.WaitStatus); status.Signal() != signals[1] {
				t.Errorf("it ended with %v, want %v", status, signals[1])
			}
		})
	}
}

// Who read the node's log is gone: the node goes on without a log, and ends in good order.
func TestLogWithoutReader(t *testing.T) {
	t.Parallel()
	for _, format := range []string{"text", "json"} {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		admin := processtest.FreeAddr(t)
		cmd := exec.CommandContext(t.Context(), processtest.Rookery(t), "serve", "--listen=127.0.0.1:0", "--admin="+admin, "--log-format="+format, "--drain-delay=100ms")
		cmd.Stderr = w
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		w.Close()
		await(t, "the node is ready", func() bool {
			answer, err := processtest.HTTP.Get("http://" + admin + "/readyz")
			if err != nil {
				return false
			}
			answer.Body.Close()
			return answer.StatusCode == http.StatusOK
		})
		r.Close()
		cmd.Process.Signal(syscall.SIGTERM) // of which it says something
		if err := cmd.Wait(); err != nil {
			t.Errorf("%s: it ended with %v", format, err)
		}
	}
}

// A node that nobody is on waits for load balancers, and for nothing else.
func TestDrainOfNobody(t *testing.T) {
	t.Parallel()
	for _, redis := range []*redistest.Server{nil, redistest.Start(t)} {
		node := serve(t, redis, "--drain=1m")
		begun := time.Now()
		node.Signal(syscall.SIGTERM)
		t.Logf("ended after %v", node.ended(begun))
		if code := node.Cmd.ProcessState.ExitCode(); code != 0 {
			t.Errorf("it ended with %d", code)
		}
	}
}

// A node whose Redis is away, and whose sessions wait for it, says goodbye to them and ends in time.
func TestDrainWithoutRedis(t *testing.T) {
	t.Parallel()
	for name, away := range map[string]func(*redistest.Server){"frozen": (*redistest.Server).Pause, "dead": (*redistest.Server).Kill} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			redis := redistest.Start(t)
			node := serve(t, redis, "--drain=5s")
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			var conns []*websocket.Conn
			for i := range 20 {
				conn, _, err := quiet(ctx, node.URL(), fmt.Sprint("user", i), "lobby")
				if err != nil {
					t.Fatal(err)
				}
				defer conn.CloseNow()
				conns = append(conns, conn)
			}
			away(redis)
			defer redis.Continue()
			for i, conn := range conns[:10] {
				c := wire.Command{Type: "publish", ID: 3, Topic: "lobby", Data: []byte(`"now"`), Key: fmt.Sprint(i)}
				if err := conn.Write(ctx, websocket.MessageText, c.Append(nil)); err != nil {
					t.Fatal(err)
				}
			}
			begun := time.Now()
			node.Signal(syscall.SIGTERM)
			var wg sync.WaitGroup
			for _, conn := range conns {
				wg.Go(func() {
					if g := awaitGoodbye(t, ctx, conn); !g.Reconnect {
						t.Errorf("%+v", g)
					}
					conn.Read(ctx) // answers the close frame
				})
			}
			wg.Wait()
			t.Logf("ended after %v", node.ended(begun))
			if code := node.Cmd.ProcessState.ExitCode(); code != 0 {
				t.Errorf("it ended with %d", code)
			}
		})
	}
}

// Sessions that take nothing, not even a goodbye, hold up nobody: the others get theirs at once, and the
// node does not wait for all of --drain.
func TestDrainOfNonReaders(t *testing.T) {
	t.Parallel()
	node := serve(t, redistest.Start(t), "--drain=1m", "--log-length=20000")
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for i := range 10 {
		conn, _, err := quiet(ctx, node.URL(), fmt.Sprint("deaf", i), "lobby")
		if err != nil {
			t.Fatal(err)
		}
		defer conn.CloseNow()
	}
	talker := enter(t, node.URL(), "talker")
	talker.join("lobby", nil)
	padding := strings.Repeat(".", 50_000)
	for range 100 { // 5 MB: more than any buffers of the kernel
		talker.say("lobby", padding)
	}
	reader, _, err := quiet(ctx, node.URL(), "reader", "hall")
	if err != nil {
		t.Fatal(err)
	}
	defer reader.CloseNow()
	begun := time.Now()
	node.Signal(syscall.SIGTERM)
	awaitGoodbye(t, ctx, reader)
	t.Logf("a goodbye after %v", time.Since(begun).Round(time.Millisecond))
	t.Logf("ended after %v", node.ended(begun))
}

// While load balancers have not noticed yet, who is sent to a draining node is served. Later
// comers are told when to come back.
func TestDrainDelay(t *testing.T) {
	t.Parallel()
	// A machine that is too slow for a delay gets a longer one.
	for delay := 2 * time.Second; !servedWhileDraining(t, delay); delay *= 3 {
		if delay > 30*time.Second {
			t.Fatalf("nobody was served within %v", delay)
		}
	}
}

// servedWhileDraining returns false when the delay was over before all was done that is to happen in it.
func servedWhileDraining(t *testing.T, delay time.Duration) bool {
	t.Helper()
	node := serve(t, redistest.Start(t), fmt.Sprint("--drain-delay=", delay), "--drain=2m")
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	defer cancel()
	early, _, err := quiet(ctx, node.URL(), "early", "lobby")
	if err != nil {
		t.Fatal(err)
	}
	defer early.CloseNow()
	begun := time.Now()
	node.Signal(syscall.SIGTERM)
	node.AwaitReady(false)
	late := enter(t, node.URL(), "late")
	defer late.leave()
	serving, stop := context.WithDeadline(ctx, begun.Add(delay))
	defer stop()
	_, err = late.Join(serving, "lobby", nil)
	if err == nil {
		_, err = late.Publish(serving, "lobby", "still served", nil)
	}
	for got := 0; err == nil && got == 0; err = serving.Err() {
		time.Sleep(10 * time.Millisecond)
		late.mu.Lock()
		got = len(late.messages["lobby"])
		late.mu.Unlock()
	}
	if serving.Err() != nil {
		return false
	} else if err != nil {
		t.Fatalf("who came late: %v", err)
	}
	late.leave()
	awaitGoodbye(t, ctx, early) // early does not answer it: the node has to wait
	_, answer, err := websocket.Dial(ctx, node.URL(), nil)
	if err == nil || answer == nil || answer.StatusCode != http.StatusServiceUnavailable {
		t.Fatalf("after the delay: %v, %v", answer, err)
	}
	if seconds, err := strconv.Atoi(answer.Header.Get("Retry-After")); err != nil || seconds < 1 {
		t.Errorf("Retry-After: %q", answer.Header.Get("Retry-After"))
	}
	if !answer.Close {
		t.Error("the node keeps the connection of who has to wait")
	}
	early.Read(ctx)
	node.ended(time.Now())
	return true
}
