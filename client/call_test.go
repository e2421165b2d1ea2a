package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rookery-chat/rookery/client"
	"github.com/rookery-chat/rookery/wire"
)

func TestPublishIsRepeatedUnderOneKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScript(t)
		r := start(t, s.client(nil))
		type result struct {
			got *wire.Published
			err error
		}
		results := make(chan result)
		go func() {
			got, err := r.Publish(r.ctx, "@bob", json.RawMessage(`{"text":"hi"}`), &client.PublishOptions{NoEcho: true})
			results <- result{got, err}
		}()
		p := <-s.peers
		p.welcome()
		first := p.expect("publish")
		if first.Key == "" || string(first.Data) != `{"text":"hi"}` || !first.NoEcho {
			t.Errorf("got %+v", first)
		}
		p.send(&wire.Error{ID: first.ID, Topic: "@bob", Code: wire.Unavailable, Retry: true})
		second := p.expect("publish")
		p.ws.CloseNow()
		p = <-s.peers
		p.welcome()
		third := p.expect("publish")
		if second.Key != first.Key || third.Key != first.Key {
			t.Errorf("the keys are %q, %q and %q, want one", first.Key, second.Key, third.Key)
		}
		one := 1
		p.send(wire.OK{ID: third.ID, Topic: "@bob", Published: &wire.Published{Position: wire.Position{Epoch: "b", Offset: 8}, Duplicate: true, Reached: &one}})
		if got := <-results; got.err != nil || got.got.Offset != 8 || !got.got.Duplicate || *got.got.Reached != 1 {
			t.Errorf("got %+v, %v", got.got, got.err)
		}
	})
}

// The cluster forgets a key after two minutes: to repeat a publish after that could double it.
func TestPublishGivesUpInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScript(t)
		r := start(t, s.client(nil))
		begin := time.Now()
		result := make(chan error)
		go func() {
			_, err := r.Publish(r.ctx, "@bob", 1, nil)
			result <- err
		}()
		p := <-s.peers
		p.welcome()
		next[*client.Connected](r)
		go func() {
			for {
				c, err := p.read()
				if err != nil {
					return
				}
				if time.Since(begin) >= 2*time.Minute {
					t.Error("repeated after two minutes")
				}
				p.send(&wire.Error{ID: c.ID, Code: wire.Unavailable, Retry: true, Message: "down"})
			}
		}()
		err := <-result
		if !errors.Is(err, client.ErrUnknown) || !strings.Contains(err.Error(), "down") {
			t.Errorf("got %v, want ErrUnknown and why", err)
		}
	})
}

func TestPublishErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScript(t)
		r := start(t, s.client(nil))
		ctx, cancel := context.WithTimeout(r.ctx, time.Second)
		if _, err := r.Publish(ctx, "@bob", 1, nil); !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, client.ErrUnknown) {
			t.Errorf("without a welcome: got %v, want the deadline, and nothing sent", err)
		}
		cancel()
		p := <-s.peers
		p.welcome()
		next[*client.Connected](r)
		for _, c := range []struct {
			name, topic string
			data        any
			code        wire.Code
		}{
			{"too large", "@bob", strings.Repeat("x", 4096), wire.TooLarge},
			{"bad topic", "two words", 1, wire.BadRequest},
			{"not UTF-8", "@bob", json.RawMessage("\"\xff\""), wire.BadRequest},
		} {
			_, err := r.Publish(r.ctx, c.topic, c.data, nil)
			if e := (*wire.Error)(nil); !errors.As(err, &e) || e.Code != c.code {
				t.Errorf("%s: got %v, want %s", c.name, err, c.code)
			}
		}
		if _, err := r.Publish(r.ctx, "@bob", func() {}, nil); err == nil {
			t.Error("a function was published")
		}
		go func() {
			c := p.expect("publish")
			p.send(&wire.Error{ID: c.ID, Code: wire.Forbidden, Message: "join the room first"})
			p.expect("publish") // and no answer
		}()
		_, err := r.Publish(r.ctx, "lobby", 1, nil)
		if e := (*wire.Error)(nil); !errors.As(err, &e) || e.Code != wire.Forbidden || errors.Is(err, client.ErrUnknown) {
			t.Errorf("refused: got %v, want forbidden", err)
		}
		ctx, cancel = context.WithTimeout(r.ctx, time.Second)
		defer cancel()
		if _, err := r.Publish(ctx, "@bob", 1, nil); !errors.Is(err, client.ErrUnknown) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("without an answer: got %v, want ErrUnknown and the deadline", err)
		}
	})
}

func TestJoinIsRepeatedAndPingIsNot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScript(t)
		r := start(t, s.client(nil))
		joined, pinged := make(chan error), make(chan error)
		go func() {
			_, err := r.Join(r.ctx, "lobby", &client.JoinOptions{Recent: 50, Presence: true})
			joined <- err
		}()
		p := <-s.peers
		p.welcome()
		if c := p.expect("join"); c.Recent != 50 || !c.Presence || c.After != nil {
			t.Errorf("got %+v", c)
		}
		go func() { pinged <- r.Ping(r.ctx) }()
		p.expect("ping")
		p.ws.CloseNow()
		if err := <-pinged; !errors.Is(err, client.ErrDisconnected) {
			t.Errorf("Ping over a lost connection: got %v, want ErrDisconnected", err)
		}
		p = <-s.peers
		p.welcome()
		if c := p.join("e", 3); c.Recent != 50 {
			t.Errorf("the join was not repeated as it was: %+v", c)
		}
		if err := <-joined; err != nil {
			t.Error(err)
		}
		// Joining again goes on from the cursor.
		if c := r.join(p, 3, &client.JoinOptions{Recent: 50}); c.Recent != 0 || *c.After != (wire.Position{Epoch: "e", Offset: 3}) || !c.Presence {
			t.Errorf("joining again: got %+v", c)
		}
	})
}

// When the program gave up a join that the node did make, the node is told to undo it.
func TestAbandonedJoin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScript(t)
		r := start(t, s.client(nil))
		p := <-s.peers
		p.welcome()
		ctx, cancel := context.WithTimeout(r.ctx, time.Second)
		defer cancel()
		if _, err := r.Join(ctx, "lobby", nil); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, want the deadline", err)
		}
		p.join("e", 1)
		if c := p.expect("leave"); c.Topic != "lobby" {
			t.Errorf("left %s, want lobby", c.Topic)
		}
	})
}

func TestLeave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScript(t)
		r := start(t, s.client(nil))
		p := <-s.peers
		p.welcome()
		next[*client.Connected](r)
		r.join(p, 1, nil)
		left := make(chan error)
		go func() { left <- r.Leave(r.ctx, "lobby") }()
		p.expect("leave")
		p.ws.CloseNow()
		next[*client.Disconnected](r)
		p = <-s.peers
		if hello := p.welcome(); hello.Resume["lobby"] != (wire.Position{}) {
			t.Error("lobby was resumed after Leave")
		}
		c := p.expect("leave")
		p.send(&wire.Error{ID: c.ID, Topic: "lobby", Code: wire.NotFound}, message("lobby", 2))
		if err := <-left; err != nil {
			t.Error(err)
		}
		if at, ok := r.Cursors()["lobby"]; ok {
			t.Errorf("the cursor of lobby is still told after Leave: %v", at)
		}
		if err := r.Leave(r.ctx, "@alice"); err == nil {
			t.Error("left the inbox")
		}
		next[*client.Connected](r)
		r.cancel()
		r.drained()
	})
}

// The server API can take a user out of a room and put one in.
func TestServerJoinsAndRemoves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScript(t)
		r := start(t, s.client(nil))
		p := <-s.peers
		p.welcome()
		next[*client.Connected](r)
		p.send(wire.OK{Topic: "team", Joined: &wire.Joined{Position: wire.Position{Epoch: "t", Offset: 4}, After: 4, Recovered: true}},
			message("team", 5))
		if got := next[*wire.Message](r); got.Topic != "team" || got.Offset != 5 {
			t.Errorf("got %+v", got)
		}
		p.send(&wire.Error{Topic: "team", Code: wire.Forbidden, Message: "you were removed"}, message("team", 6))
		if got := next[*client.Left](r); got.Topic != "team" {
			t.Errorf("got %+v", got)
		}
		p.ws.CloseNow()
		next[*client.Disconnected](r)
		p = <-s.peers
		if hello := p.welcome(); hello.Resume["team"] != (wire.Position{}) {
			t.Error("a room was resumed that the server had taken us out of")
		}
		next[*client.Connected](r)
		r.cancel()
		r.drained()
	})
}

func TestRoster(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScript(t)
		r := start(t, s.client(nil))
		p := <-s.peers
		p.welcome()
		next[*client.Connected](r)
		joined := make(chan error)
		go func() {
			_, err := r.Join(r.ctx, "lobby", &client.JoinOptions{Presence: true})
			joined <- err
		}()
		answer := func(c wire.Command, members ...string) {
			p.send(wire.OK{ID: c.ID, Topic: "lobby", Joined: &wire.Joined{
				Position: wire.Position{Epoch: "e", Offset: 3}, After: 3, Recovered: true,
				Roster: &wire.Roster{Version: 70, Online: len(members), Members: members},
			}})
		}
		answer(p.expect("join"), "alice", "dave")
		if err := <-joined; err != nil {
			t.Fatal(err)
		}
		check := func(members ...string) {
			t.Helper()
			got, known := r.Roster("lobby")
			if !known || got.Online != len(members) || !reflect.DeepEqual(got.Members, members) {
				t.Errorf("the roster is %+v, want %v", got, members)
			}
		}
		check("alice", "dave")
		p.send(wire.Presence{Topic: "lobby", Version: 72, Online: 2, Joined: []string{"bob"}, Left: []string{"dave"}})
		next[*wire.Presence](r)
		check("alice", "bob")
		// Frames count in their order: versions start anew when the cluster has lost a roster.
		p.send(wire.Presence{Topic: "lobby", Version: 1, Online: 3, Joined: []string{"carol"}})
		next[*wire.Presence](r)
		check("alice", "bob", "carol")
		// A frame may bring the roster anew, whole or in part.
		p.send(wire.Presence{Topic: "lobby", Roster: &wire.Roster{Version: 81, Online: 3, Members: []string{"x", "y", "z"}}},
			wire.Presence{Topic: "lobby", Version: 82, Online: 4, Joined: []string{"zoe"}})
		next[*wire.Presence](r)
		next[*wire.Presence](r)
		check("x", "y", "z", "zoe")
		p.send(wire.Presence{Topic: "lobby", Roster: &wire.Roster{Version: 83, Online: 3, Members: []string{}, More: true}})
		next[*wire.Presence](r)
		if got, _ := r.Roster("lobby"); got.Online != 3 || !got.More || len(got.Members) > 0 {
			t.Errorf("the roster is %+v, want a count of 3", got)
		}

		// A resume brings no roster: it is asked for.
		p.ws.CloseNow()
		next[*client.Disconnected](r)
		p = <-s.peers
		p.welcome()
		next[*client.Connected](r)
		c := p.expect("join")
		if !c.Presence || c.After.Offset != 3 {
			t.Errorf("got %+v, want to join with presence, after 3", c)
		}
		p.send(message("lobby", 4)) // on its way when the join came
		answer(c, "alice")
		p.send(message("lobby", 4), message("lobby", 5))
		for _, want := range []uint64{4, 5} {
			if got := next[*wire.Message](r); got.Offset != want {
				t.Errorf("got %d, want %d", got.Offset, want)
			}
		}
		check("alice")
	})
}

func TestMembersReadsAllPages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScript(t)
		r := start(t, s.client(nil))
		p := <-s.peers
		p.welcome()
		go func() {
			c := p.expect("members")
			p.send(wire.Members{ID: c.ID, Topic: "lobby", Roster: wire.Roster{Version: 1, Online: 3, Members: []string{"a", "b"}, More: true, Next: "nb"}})
			c = p.expect("members")
			if c.Cursor != "nb" {
				t.Errorf("the second page begins at %q, want at nb", c.Cursor)
			}
			p.send(wire.Members{ID: c.ID, Topic: "lobby", Roster: wire.Roster{Version: 2, Online: 3, Members: []string{"c"}}})
		}()
		got, err := r.Members(r.ctx, "lobby")
		if err != nil || !reflect.DeepEqual(got.Members, []string{"a", "b", "c"}) || got.Online != 3 {
			t.Errorf("got %+v, %v", got, err)
		}
	})
}

func TestOtherCommands(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScript(t)
		r := start(t, s.client(nil))
		p := <-s.peers
		p.welcome()
		go func() {
			c := p.expect("history")
			if c.Before != 42 || c.Limit != 7 || c.Topic != "lobby" {
				t.Errorf("got %+v", c)
			}
			p.send(wire.History{ID: c.ID, Topic: "lobby", Messages: []wire.Message{message("lobby", 41)}, More: true})
			if c = p.expect("read"); c.Offset != 41 {
				t.Errorf("got %+v", c)
			}
			p.send(wire.OK{ID: c.ID, Topic: "lobby"})
			if c = p.expect("signal"); string(c.Data) != `{"typing":true}` {
				t.Errorf("got %+v", c)
			}
			p.send(wire.OK{ID: c.ID, Topic: "lobby"})
			c = p.expect("ping")
			p.send(wire.OK{ID: c.ID})
		}()
		if got, err := r.History(r.ctx, "lobby", &client.HistoryOptions{Before: 42, Limit: 7}); err != nil || len(got.Messages) != 1 || !got.More {
			t.Errorf("History: got %+v, %v", got, err)
		}
		if err := r.Read(r.ctx, "lobby", 41); err != nil {
			t.Errorf("Read: %v", err)
		}
		if err := r.Signal(r.ctx, "lobby", map[string]bool{"typing": true}); err != nil {
			t.Errorf("Signal: %v", err)
		}
		if err := r.Ping(r.ctx); err != nil {
			t.Errorf("Ping: %v", err)
		}
		p.send(wire.Signal{Topic: "lobby", From: "bob", Data: []byte(`1`)}, wire.Read{Topic: "lobby", From: "bob", Offset: 3},
			&wire.Error{Code: wire.Internal, Message: "oops"})
		next[*client.Connected](r)
		if got := next[*wire.Signal](r); got.From != "bob" {
			t.Errorf("got %+v", got)
		}
		if got := next[*wire.Read](r); got.Offset != 3 {
			t.Errorf("got %+v", got)
		}
		if got := next[*wire.Error](r); got.Message != "oops" {
			t.Errorf("got %+v", got)
		}
	})
}
