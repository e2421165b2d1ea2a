package faults_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rookery-chat/rookery/internal/processtest"
	"github.com/rookery-chat/rookery/internal/redistest"
	"github.com/rookery-chat/rookery/wire"
)

// A lines is somebody who exchanges frames with a node one a line, by whatever means.
type lines struct {
	t    testing.TB
	to   io.Writer
	from *bufio.Scanner
}

// nc runs nc with a node's raw TCP listener until the test ends.
func nc(t *testing.T, addr string) lines {
	t.Helper()
	host, port, _ := net.SplitHostPort(addr)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	cmd := exec.CommandContext(ctx, "nc", host, port)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	runtime.LockOSThread() // Pdeathsig is about the thread that started the process
	defer runtime.UnlockOSThread()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cancel(); cmd.Wait() })
	return lines{t, in, scanner(out)}
}

func scanner(r io.Reader) *bufio.Scanner {
	s := bufio.NewScanner(r)
	s.Buffer(nil, 1<<20)
	return s
}

// say sends frames.
func (l lines) say(frames ...string) {
	l.t.Helper()
	if _, err := io.WriteString(l.to, strings.Join(frames, "\n")+"\n"); err != nil {
		l.t.Fatal(err)
	}
}

// next returns the next frame of a type, passing over others.
func next[T any](l lines) T {
	l.t.Helper()
	for l.from.Scan() {
		f, err := wire.ParseFrame(l.from.Bytes())
		if err != nil {
			l.t.Fatalf("%q: %v", l.from.Text(), err)
		}
		if wanted, ok := f.(T); ok {
			return wanted
		}
		if e, ok := f.(*wire.Error); ok {
			l.t.Fatal(e)
		}
	}
	var wanted T
	l.t.Fatalf("ended before a %T: %v", wanted, l.from.Err())
	return wanted
}

// hears waits for a message, the next one that comes.
func (l lines) hears(from, text string) *wire.Message {
	l.t.Helper()
	m := next[*wire.Message](l)
	var got string
	json.Unmarshal(m.Data, &got)
	if m.From != from || got != text {
		l.t.Fatalf("heard %s from %s, want %s from %s", m.Data, m.From, text, from)
	}
	return m
}

// Two people with nc, on two nodes, and one with a WebSocket talk. A node that ends says so; on the
// other one, nc goes on where it was.
func TestChatWithNC(t *testing.T) {
	t.Parallel()
	redis := redistest.Start(t)
	addrs := []string{processtest.FreeAddr(t), processtest.FreeAddr(t)}
	nodes := []*process{serve(t, redis, "--tcp="+addrs[0]), serve(t, redis, "--tcp="+addrs[1])}
	alice, bob := nc(t, addrs[0]), nc(t, addrs[1])
	epoch := ""
	for user, l := range map[string]lines{"alice": alice, "bob": bob} {
		l.say(`{"type":"hello","user":"`+user+`"}`, `{"type":"join","id":2,"topic":"lobby"}`)
		epoch = next[*wire.OK](l).Joined.Epoch
	}
	carol := enter(t, nodes[1].URL(), "carol")
	carol.join("lobby", nil)
	alice.say(`{"type":"publish","topic":"lobby","data":"hello bob"}`)
	for _, l := range []lines{alice, bob} {
		l.hears("alice", "hello bob")
	}
	bob.say(`{"type":"publish","topic":"lobby","data":"hello alice"}`)
	bob.hears("bob", "hello alice")
	heard := alice.hears("bob", "hello alice")
	carol.awaitTexts("lobby", []string{"hello bob", "hello alice"})

	nodes[0].Signal(syscall.SIGTERM)
	if g := next[*wire.Goodbye](alice); g.Code != "draining" || !g.Reconnect {
		t.Errorf("goodbye: %+v", g)
	}
	bob.say(`{"type":"publish","topic":"lobby","data":"still there?"}`)
	bob.hears("bob", "still there?")
	alice = nc(t, addrs[1])
	alice.say(fmt.Sprintf(`{"type":"hello","user":"alice","resume":{"lobby":{"epoch":"%s","offset":%d}}}`, epoch, heard.Offset))
	alice.hears("bob", "still there?")
	select {
	case <-nodes[0].Exited:
	case <-time.After(patience):
		t.Error("the node does not end")
	}
}

// A script asks, ends its side, and gets its answers: nc ends by itself.
func TestScriptWithNC(t *testing.T) {
	t.Parallel()
	addr := processtest.FreeAddr(t)
	node := serve(t, nil, "--tcp="+addr)
	m := enter(t, node.URL(), "carol")
	m.join("lobby", nil)
	for i := range 100 {
		m.say("lobby", fmt.Sprint(i))
	}
	host, port, _ := net.SplitHostPort(addr)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, "nc", "-N", host, port)
	cmd.Stdin = strings.NewReader(`{"type":"hello","user":"alice"}
{"type":"join","topic":"lobby"}
{"type":"history","topic":"lobby","limit":100}
`)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("nc: %v", err)
	}
	l := lines{t, nil, scanner(bytes.NewReader(out))}
	if h := next[*wire.History](l); len(h.Messages) != 100 {
		t.Errorf("%d messages", len(h.Messages))
	}
}

// With a certificate, raw TCP is TLS: all is the same, also for a reader that is slow, and the last
// word arrives.
func TestLinesOverTLS(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	pool := certify(t, cert, key, 1)
	addr := processtest.FreeAddr(t)
	node := serve(t, nil, "--tcp="+addr, "--tls-cert="+cert, "--tls-key="+key, "--limit-bytes=100000000")
	enterTLS := func(user string) (lines, *tls.Conn) {
		t.Helper()
		conn, err := tls.Dial("tcp", addr, &tls.Config{RootCAs: pool})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		conn.SetDeadline(time.Now().Add(patience))
		l := lines{t, conn, scanner(conn)}
		l.say(`{"type":"hello","user":"`+user+`"}`, `{"type":"join","id":2,"topic":"lobby"}`)
		next[*wire.OK](l)
		return l, conn
	}
	slow, _ := enterTLS("slow")
	talker, _ := enterTLS("talker")
	const count = 900 // of 20 KiB: far more than sockets hold
	frame := `{"type":"publish","topic":"lobby","data":"` + strings.Repeat("x", 20<<10) + `"}` + "\n"
	sent := make(chan error, 1)
	go func() {
		_, err := io.WriteString(talker.to, strings.Repeat(frame, count))
		sent <- err
	}()
	for _, l := range []lines{talker, slow} {
		for i := range uint64(count) {
			if m := next[*wire.Message](l); m.Offset != i+1 {
				t.Fatalf("message %d comes as number %d", m.Offset, i+1)
			}
		}
	}
	if err := <-sent; err != nil {
		t.Fatal(err)
	}

	slow.say(`{"type":"ping","id":9}` + "\x00") // as good as anything that cannot go on
	if !slow.from.Scan() || !strings.Contains(slow.from.Text(), "NUL") {
		t.Errorf("told %q, %v", slow.from.Text(), slow.from.Err())
	}
	next[*wire.Goodbye](slow)
	if slow.from.Scan() || slow.from.Err() != nil {
		t.Errorf("and then %q, %v", slow.from.Text(), slow.from.Err())
	}
	script, conn := enterTLS("script")
	script.say(`{"type":"ping","id":9}`)
	conn.CloseWrite()
	if ok := next[*wire.OK](script); ok.ID != 9 {
		t.Errorf("answered %+v", ok)
	}
	if script.from.Scan() || script.from.Err() != nil {
		t.Errorf("and then %q, %v", script.from.Text(), script.from.Err())
	}
	await(t, "the script has left, and is not lost", func() bool {
		left, _ := node.LookUp(`rookery_closes_total{code="1000"}`)
		return left == 1
	})
}
