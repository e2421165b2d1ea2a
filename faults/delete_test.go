package faults_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/rookery-chat/rookery/internal/redistest"
	"github.com/rookery-chat/rookery/wire"
)

// A user who is deleted is gone from all nodes, and from one Redis as from all primaries of a Redis
// Cluster: sessions, inbox, read offsets, bans and mutes. What others have stays: the messages in
// rooms, their read offsets, and timers. Who comes back under the name is a new user.
func TestDeleteUser(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name string
		flag func(t *testing.T) string
	}{
		{"one Redis", func(t *testing.T) string { return "--redis=" + redistest.Start(t).URL() }},
		{"Redis Cluster", func(t *testing.T) string {
			var addrs []string
			for _, s := range redistest.StartCluster(t, 3, false).Servers {
				addrs = append(addrs, s.Addr)
			}
			return "--redis=redis+cluster://" + strings.Join(addrs, ",")
		}},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			flag := row.flag(t)
			asked, other := serve(t, nil, flag), serve(t, nil, flag)
			sessions := []*member{enter(t, asked.URL(), "alice"), enter(t, other.URL(), "alice")}
			bob := enter(t, other.URL(), "bob")
			const rooms = 20 // in so many partitions, on all primaries
			room := func(i int) string { return fmt.Sprint("room", i) }
			for i := range rooms {
				for _, m := range append(sessions, bob) {
					m.join(room(i), nil)
				}
				sessions[i%2].say(room(i), "hi")
				for _, m := range []*member{sessions[0], bob} {
					m.await("the message", func() bool { return len(m.messages[room(i)]) == 1 })
					if err := m.Read(t.Context(), room(i), 1); err != nil {
						t.Fatal(err)
					}
				}
			}
			bob.say("@alice", "between us")
			must(t, asked, "PUT", "/v1/topics/attic/bans/alice", "")
			must(t, asked, "PUT", "/v1/topics/room0/mutes/alice", "")
			must(t, asked, "PUT", "/v1/topics/@alice/mutes/carol", "")
			soon := time.Now().Add(4 * time.Second).UTC().Format(time.RFC3339Nano)
			must(t, asked, "POST", "/v1/timers", fmt.Sprintf(`{"topic":"room1","data":"ding","at":%q}`, soon))

			must(t, asked, "DELETE", "/v1/users/alice", "")
			for _, m := range sessions {
				m.awaitKicked()
			}
			await(t, "alice is not online", func() bool { return must(t, other, "GET", "/v1/users/alice", "")["online"] == false })
			if log := must(t, other, "GET", "/v1/topics/@alice/messages", ""); len(log["messages"].([]any)) != 0 {
				t.Errorf("the inbox holds %v", log["messages"])
			}
			if log := must(t, other, "GET", "/v1/topics/room0/messages", ""); len(log["messages"].([]any)) != 1 {
				t.Errorf("the room holds %v", log["messages"])
			}

			again := enter(t, other.URL(), "alice")
			await(t, "the ban is gone", func() bool {
				ctx, cancel := context.WithTimeout(t.Context(), patience)
				defer cancel()
				_, err := again.Join(ctx, "attic", nil)
				return err == nil
			})
			late := enter(t, other.URL(), "bob")
			for i := range rooms {
				if j := again.join(room(i), nil); j.Read != 0 {
					t.Errorf("a new alice has read %s up to %d", room(i), j.Read)
				}
				if j := late.join(room(i), nil); j.Read != 1 {
					t.Errorf("bob has read %s up to %d", room(i), j.Read)
				}
			}
			again.say("room0", "not muted")
			bob.await("the timer", func() bool { return len(bob.messages["room1"]) == 2 })
		})
	}
}

// A topic that is emptied keeps what is not its messages: its bans and mutes, and how far each
// user has read, for its offsets go on.
func TestEmptyTopic(t *testing.T) {
	t.Parallel()
	redis := redistest.Start(t)
	asked, other := serve(t, redis), serve(t, redis)
	bob := enter(t, other.URL(), "bob")
	bob.join("lobby", nil)
	bob.say("lobby", "one")
	bob.awaitTexts("lobby", []string{"one"})
	if err := bob.Read(t.Context(), "lobby", 1); err != nil {
		t.Fatal(err)
	}
	must(t, asked, "PUT", "/v1/topics/lobby/bans/alice", "")
	must(t, asked, "DELETE", "/v1/topics/lobby", "")
	if j := enter(t, asked.URL(), "bob").join("lobby", nil); j.Offset != 1 || j.Read != 1 {
		t.Errorf("the head is %d, read %d", j.Offset, j.Read)
	}
	// Long enough for a node to see a change that nobody told it of.
	for begin := time.Now(); time.Since(begin) < 2*time.Second; time.Sleep(100 * time.Millisecond) {
		if code := knock(t, other, "alice"); code != wire.Forbidden {
			t.Fatalf("alice, who is banned, was answered %q", code)
		}
	}
}
