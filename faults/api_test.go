package faults_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rookery-chat/rookery/client"
	"github.com/rookery-chat/rookery/internal/processtest"
	"github.com/rookery-chat/rookery/internal/redistest"
	"github.com/rookery-chat/rookery/wire"
)

// call makes one request of the server API and returns its status and what it answers.
func call(t *testing.T, p *process, method, path, body string) (int, map[string]any) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, "http://"+p.Admin+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	c := processtest.HTTP
	w, err := c.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Body.Close()
	b, _ := io.ReadAll(w.Body)
	var answer map[string]any
	if len(bytes.TrimSpace(b)) > 0 {
		if err := json.Unmarshal(b, &answer); err != nil {
			t.Fatalf("%s %s answered %s: %s", method, path, w.Status, b)
		}
	}
	return w.StatusCode, answer
}

// must is call for what has to succeed.
func must(t *testing.T, p *process, method, path, body string) map[string]any {
	t.Helper()
	status, answer := call(t, p, method, path, body)
	if status/100 != 2 {
		t.Fatalf("%s %s answered %d: %v", method, path, status, answer)
	}
	return answer
}

// whole asks for what all nodes have a part in, until none was too slow to answer.
func whole(t *testing.T, p *process, path string) (answer map[string]any) {
	t.Helper()
	await(t, "all nodes answer "+path, func() bool {
		answer = must(t, p, "GET", path, "")
		return !strings.Contains(fmt.Sprint(answer), "silent")
	})
	return answer
}

// A back end talks to one node, and reaches users on another.
func TestServerAPI(t *testing.T) {
	t.Parallel()
	redis := redistest.Start(t)
	a, b := serve(t, redis), serve(t, redis)
	alice, watch := enter(t, b.URL(), "alice"), enter(t, b.URL(), "watch")
	alice.join("lobby", nil)
	watch.join("lobby", &client.JoinOptions{Presence: true})

	if got := must(t, a, "POST", "/v1/topics/lobby/messages", `{"data":"from the back end","from":"backend","key":"k1"}`); got["offset"] != 1.0 {
		t.Errorf("published: %v", got)
	}
	if got := must(t, a, "POST", "/v1/topics/lobby/messages", `{"data":"from the back end","from":"backend","key":"k1"}`); got["duplicate"] != true || got["offset"] != 1.0 {
		t.Errorf("repeated: %v", got)
	}
	alice.awaitTexts("lobby", []string{"from the back end"})
	if got := must(t, a, "POST", "/v1/topics/@alice/messages", `{"data":"for you"}`); got["reached"] != 1.0 {
		t.Errorf("pushed: %v", got)
	}
	alice.awaitTexts("@alice", []string{"for you"})
	if got := must(t, a, "POST", "/v1/topics/@nobody/messages", `{"data":"for you"}`); got["reached"] != 0.0 {
		t.Errorf("pushed to nobody: %v", got)
	}
	must(t, a, "POST", "/v1/topics/*/messages", `{"data":"to all"}`)
	for _, m := range []*member{alice, watch} {
		m.awaitTexts("*", []string{"to all"})
	}
	if got := whole(t, a, "/v1/users/alice"); got["online"] != true || len(got["sessions"].([]any)) != 1 {
		t.Errorf("alice: %v", got)
	}
	if got := must(t, a, "GET", "/v1/users/nobody", ""); got["online"] != false {
		t.Errorf("nobody: %v", got)
	}
	if got := must(t, a, "GET", "/v1/nodes", ""); len(got["nodes"].([]any)) != 2 {
		t.Errorf("nodes: %v", got)
	}
	must(t, a, "PUT", "/v1/topics/news/members/alice", "")
	await(t, "alice is in the news", func() bool {
		got := must(t, a, "GET", "/v1/topics/news/members", "")
		return got["online"] == 1.0
	})
	must(t, a, "DELETE", "/v1/topics/lobby/messages/1", "")
	if got := must(t, a, "GET", "/v1/topics/lobby/messages", ""); strings.Contains(fmt.Sprint(got), "from the back end") {
		t.Errorf("a deleted message is still told: %v", got)
	}
	// A ban holds on the other node, and after Redis's clients know nothing of it any more.
	must(t, a, "PUT", "/v1/topics/lobby/bans/alice", "")
	watch.await("alice is seen leaving", func() bool { return watch.left["lobby alice"] == 1 })
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if _, err := alice.Join(ctx, "lobby", nil); err == nil || !strings.Contains(err.Error(), string(wire.Forbidden)) {
		t.Errorf("a banned user joins: %v", err)
	}
	later := serve(t, redis)
	await(t, "a node that came later knows the ban", func() bool {
		alice := enter(t, later.URL(), "alice")
		defer alice.leave()
		_, err := alice.Join(ctx, "lobby", nil)
		return err != nil && strings.Contains(err.Error(), string(wire.Forbidden))
	})
}

// The push port tells whether the user has a live session on any node.
func TestPushPort(t *testing.T) {
	t.Parallel()
	redis := redistest.Start(t)
	addr := processtest.FreeAddr(t)
	serve(t, redis, "--push="+addr, "--push-secret=hush")
	m := enter(t, serve(t, redis).URL(), "uid1")
	await(t, "uid1 is there", func() bool { id, _ := m.Session(); return id != "" })
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	answers := bufio.NewScanner(conn)
	for _, row := range []struct{ line, answer string }{
		{`{"uid":"uid1","percent":"88%","secret":"hush"}`, "ok"},
		{`{"uid":"uid2","percent":"88%","secret":"hush"}`, "fail"},
		{`{"uid":"uid1","percent":"88%"}`, "fail"},
		{`not JSON`, "fail"},
		{`{"topic":"lobby","data":{"n":1},"secret":"hush"}`, "ok"},
		{`{"uid":"*","data":1,"secret":"hush"}`, "ok"},
	} {
		fmt.Fprintln(conn, row.line)
		if !answers.Scan() || answers.Text() != row.answer {
			t.Errorf("%s: answered %q, %v; want %s", row.line, answers.Text(), answers.Err(), row.answer)
		}
	}
	m.await("the push", func() bool {
		return len(m.messages["@uid1"]) == 1 && !strings.Contains(string(m.messages["@uid1"][0].Data), "hush") &&
			strings.Contains(string(m.messages["@uid1"][0].Data), `"percent":"88%"`)
	})
}

// The node that owns 100 timers dies in the middle of them: each fires once.
func TestTimersSurviveTheirNode(t *testing.T) {
	t.Parallel()
	redis := redistest.Start(t)
	a, b := serve(t, redis), serve(t, redis)
	m := enter(t, b.URL(), "alice")
	m.join("clock", nil)
	const count = 100
	at := time.Now().Add(2 * time.Second)
	for i := range count {
		due := at.Add(time.Duration(i) * 10 * time.Millisecond).UTC().Format(time.RFC3339Nano)
		must(t, a, "POST", "/v1/timers", fmt.Sprintf(`{"topic":"clock","data":"timer %d","at":%q}`, i, due))
	}
	m.await("some have fired", func() bool { return len(m.messages["clock"]) >= count/4 })
	a.Kill()
	m.await("all have fired", func() bool { return len(m.messages["clock"]) >= count })
	m.say("clock", "end")
	m.await("the end", func() bool { return len(m.messages["clock"]) >= count+1 })
	var got []string
	late := time.Duration(0)
	for _, msg := range m.messages["clock"] {
		got = append(got, string(msg.Data))
		var n int
		if _, err := fmt.Sscanf(string(msg.Data), `"timer %d"`, &n); err == nil {
			late = max(late, time.UnixMilli(msg.Time).Sub(at.Add(time.Duration(n)*10*time.Millisecond)))
		}
	}
	t.Logf("the latest was %v late", late)
	slices.Sort(got)
	if got = slices.Compact(got); len(got) != count+1 || len(m.messages["clock"]) != count+1 {
		t.Errorf("%d messages, %d different ones, want %d", len(m.messages["clock"]), len(got), count+1)
	}
}
