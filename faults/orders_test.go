package faults_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/rookery-chat/rookery/client"
	"github.com/rookery-chat/rookery/internal/redistest"
	"github.com/rookery-chat/rookery/wire"
)

// What a back end orders of a user holds for all of the user's sessions, on three nodes, whichever
// of them is asked; others see the user come and go once.
func TestOrdersOnThreeNodes(t *testing.T) {
	t.Parallel()
	redis := redistest.Start(t)
	var nodes []*process
	var sessions []*member
	for range 3 {
		p := serve(t, redis)
		m := enter(t, p.URL(), "alice")
		m.await("a session", func() bool { return m.connects == 1 })
		nodes, sessions = append(nodes, p), append(sessions, m)
	}
	watch := enter(t, nodes[2].URL(), "watch")
	for _, room := range []string{"news", "lobby"} {
		watch.join(room, &client.JoinOptions{Presence: true})
	}
	// all waits until what tell says is the same for every session of alice.
	all := func(what string, topic string, allowed bool) {
		t.Helper()
		await(t, what, func() bool {
			for _, m := range sessions {
				err := m.tell(topic)
				if err != nil && !strings.Contains(err.Error(), string(wire.Forbidden)) {
					t.Fatalf("%s: %v", what, err)
				}
				if (err == nil) != allowed {
					return false
				}
			}
			return true
		})
	}
	once := func(what string, counts map[string]int, topic string) {
		t.Helper()
		watch.await(what, func() bool { return counts[topic+" alice"] > 0 })
		watch.mu.Lock()
		defer watch.mu.Unlock()
		if n := counts[topic+" alice"]; n != 1 {
			t.Errorf("%s %d times", what, n)
		}
		delete(counts, topic+" alice")
	}

	// Joined by the server, and removed: no session asked for it.
	must(t, nodes[0], "PUT", "/v1/topics/news/members/alice", "")
	all("all are in the news", "news", true)
	watch.say("news", "hello, all")
	for i, m := range sessions {
		m.await("the news", func() bool {
			list := m.messages["news"]
			return len(list) > 0 && string(list[len(list)-1].Data) == `"hello, all"`
		})
		if got := must(t, nodes[i], "GET", "/v1/topics/news/members", ""); got["online"] != 2.0 {
			t.Errorf("in the news: %v", got)
		}
	}
	once("alice is seen joining", watch.joined, "news")
	must(t, nodes[1], "DELETE", "/v1/topics/news/members/alice", "")
	all("none is in the news", "news", false)
	once("alice is seen leaving", watch.left, "news")

	// Muted, and heard again.
	for _, m := range sessions {
		m.join("lobby", nil)
	}
	once("alice is seen joining", watch.joined, "lobby")
	must(t, nodes[1], "PUT", "/v1/topics/lobby/mutes/alice", "")
	all("all are muted", "lobby", false)
	must(t, nodes[2], "DELETE", "/v1/topics/lobby/mutes/alice", "")
	all("all are heard", "lobby", true)

	// Banned from a room, and let in again.
	must(t, nodes[2], "PUT", "/v1/topics/lobby/bans/alice", "")
	once("alice is seen leaving", watch.left, "lobby")
	enterLobby := func(want bool) func() bool {
		return func() bool {
			for _, m := range sessions {
				if _, err := m.Join(t.Context(), "lobby", nil); (err == nil) != want {
					return false
				}
			}
			return true
		}
	}
	if !enterLobby(false)() {
		t.Error("a banned user joins")
	}
	must(t, nodes[0], "DELETE", "/v1/topics/lobby/bans/alice", "")
	await(t, "all may come in", enterLobby(true))

	// One session is ended, then all; who was kicked may come back.
	id, _ := sessions[1].Session()
	must(t, nodes[0], "DELETE", "/v1/sessions/"+id, "")
	sessions[1].awaitKicked()
	for _, i := range []int{0, 2} {
		if err := sessions[i].tell("lobby"); err != nil {
			t.Errorf("another session of alice was ended: %v", err)
		}
	}
	must(t, nodes[1], "DELETE", "/v1/users/alice/sessions", "")
	sessions[0].awaitKicked()
	sessions[2].awaitKicked()
	for i, p := range nodes {
		sessions[i] = enter(t, p.URL(), "alice")
		sessions[i].await("alice is back", func() bool { return sessions[i].connects == 1 })
	}

	// Banned from everywhere, and pardoned.
	must(t, nodes[0], "PUT", "/v1/topics/*/bans/alice", "")
	for i, m := range sessions {
		m.awaitKicked()
		if code := knock(t, nodes[i], "alice"); code != wire.Forbidden {
			t.Errorf("alice was answered %q", code)
		}
	}
	must(t, nodes[0], "DELETE", "/v1/topics/*/bans/alice", "")
	for _, p := range nodes {
		await(t, "alice may come in", func() bool { return knock(t, p, "alice") == "" })
	}

	for what, path := range map[string]string{"PUT": "/v1/topics/news/members/nobody", "DELETE": "/v1/sessions/" + strings.Repeat("0", 16) + "-1"} {
		if status, answer := call(t, nodes[0], what, path, ""); status != 404 {
			t.Errorf("%s %s: %d %s", what, path, status, fmt.Sprint(answer))
		}
	}
}
