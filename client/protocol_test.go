package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"

	"github.com/rookery-chat/rookery/client"
	"github.com/rookery-chat/rookery/wire"
)

// join joins lobby, whose log ends at offset in epoch e, on a connection that p serves.
func (r *run) join(p *peer, offset uint64, opts *client.JoinOptions) wire.Command {
	r.t.Helper()
	joined := make(chan error)
	go func() {
		_, err := r.Join(r.ctx, "lobby", opts)
		joined <- err
	}()
	c := p.join("e", offset)
	if err := <-joined; err != nil {
		r.t.Fatalf("Join: %v", err)
	}
	return c
}

func TestEachMessageOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScript(t)
		r := start(t, s.client(nil))
		p := <-s.peers
		p.welcome()
		next[*client.Connected](r)
		r.join(p, 41, nil)
		p.send(message("lobby", 42), message("lobby", 42), message("lobby", 41), wire.Skip{Topic: "lobby", Offset: 43},
			message("dev", 7), message("lobby", 44))
		for _, want := range []uint64{42, 44} {
			if got := next[*wire.Message](r); got.Offset != want || got.Topic != "lobby" {
				t.Errorf("got %s %d, want lobby %d", got.Topic, got.Offset, want)
			}
			if got := r.Cursors()["lobby"]; got != (wire.Position{Epoch: "e", Offset: want}) {
				t.Errorf("the cursor is at %v, want at e %d", got, want)
			}
		}
		r.cancel()
		r.drained()
	})
}

func TestResumeFromTheLastMessageOfEachTopic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScript(t)
		r := start(t, s.client(nil))
		p := <-s.peers
		if hello := p.welcome(); hello.User != "alice" || hello.Was != "" || len(hello.Resume) != 0 {
			t.Errorf("the first hello is %+v", hello)
		}
		next[*client.Connected](r)
		r.join(p, 41, nil)
		p.send(message("lobby", 42), message("@alice", 1))
		next[*wire.Message](r)
		next[*wire.Message](r)
		p.ws.CloseNow()
		lost := next[*client.Disconnected](r)
		if lost.Err == nil || lost.Delay >= client.BackoffBase {
			t.Errorf("got %+v, want a delay below %v", lost, client.BackoffBase)
		}
		p = <-s.peers
		hello := p.welcome()
		want := map[string]wire.Position{"lobby": {Epoch: "e", Offset: 42}, "@alice": {Epoch: "e@", Offset: 1}, "*": {Epoch: "e*"}}
		if hello.Was != "s-" || !reflect.DeepEqual(hello.Resume, want) {
			t.Errorf("the second hello is %+v, want to resume %v", hello, want)
		}
		if got := next[*client.Connected](r); !got.Topics["lobby"].Recovered || got.Session != "s-s-" {
			t.Errorf("got %+v", got)
		}
		p.send(message("lobby", 43))
		if got := next[*wire.Message](r); got.Offset != 43 {
			t.Errorf("got %d after the resume, want 43", got.Offset)
		}
		r.cancel()
		r.drained()
	})
}

func TestResumeAnEarlierRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScript(t)
		before := map[string]wire.Position{"lobby": {Epoch: "e", Offset: 42}, "@alice": {Epoch: "e@", Offset: 3}}
		r := start(t, s.client(&client.Options{User: "alice", Resume: before}))
		if got := r.Cursors(); !reflect.DeepEqual(got, before) {
			t.Errorf("before the first event the cursors are %v, want %v", got, before)
		}
		p := <-s.peers
		if hello := p.welcome(); !reflect.DeepEqual(hello.Resume, before) {
			t.Errorf("the hello resumes %v, want %v", hello.Resume, before)
		}
		p.send(message("lobby", 43))
		next[*client.Connected](r)
		if got := next[*wire.Message](r); got.Offset != 43 {
			t.Errorf("got %d, want 43", got.Offset)
		}
	})
}

// A hole in the offsets, which no node should make, is healed by resuming.
func TestGap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScript(t)
		r := start(t, s.client(nil))
		p := <-s.peers
		p.welcome()
		next[*client.Connected](r)
		r.join(p, 1, nil)
		p.send(message("lobby", 2), message("lobby", 4))
		next[*wire.Message](r)
		next[*client.Disconnected](r)
		p = <-s.peers
		if got := p.welcome().Resume["lobby"]; got.Offset != 2 {
			t.Errorf("resumed from %d, want from 2", got.Offset)
		}
	})
}

func TestResets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScript(t)
		r := start(t, s.client(nil))
		p := <-s.peers
		p.welcome()
		next[*client.Connected](r)
		r.join(p, 5, nil)

		reset := wire.Reset{Topic: "lobby", Position: wire.Position{Epoch: "f", Offset: 9}, After: 6, Reason: "epoch", Recovered: false}
		p.send(reset, reset, message("lobby", 7))
		if got := next[*wire.Reset](r); *got != reset {
			t.Errorf("got %+v, want %+v", *got, reset)
		}
		if got := r.Cursors()["lobby"]; got != (wire.Position{Epoch: "f", Offset: 6}) {
			t.Errorf("the cursor is at %v, want at f 6", got)
		}
		if got := next[*wire.Message](r); got.Offset != 7 {
			t.Errorf("got %d, want 7", got.Offset)
		}

		p.ws.CloseNow()
		next[*client.Disconnected](r)
		p = <-s.peers
		hello := p.expect("hello")
		if got := hello.Resume["lobby"]; got != (wire.Position{Epoch: "f", Offset: 7}) {
			t.Errorf("resumed from %v, want from f 7", got)
		}
		p.send(wire.Welcome{ID: hello.ID, Session: "s2", User: "alice", Topics: map[string]wire.Joined{
			"*":      {Position: hello.Resume["*"], Recovered: true},
			"@alice": {Position: hello.Resume["@alice"], Recovered: true},
			"lobby":  {Position: wire.Position{Epoch: "f", Offset: 100}, After: 90, Recovered: false},
		}}, message("lobby", 91))
		next[*client.Connected](r)
		want := wire.Reset{Topic: "lobby", Position: wire.Position{Epoch: "f", Offset: 100}, After: 90, Reason: "trimmed"}
		if got := next[*wire.Reset](r); *got != want {
			t.Errorf("after the resume got %+v, want %+v", *got, want)
		}
		if got := next[*wire.Message](r); got.Offset != 91 {
			t.Errorf("got %d, want 91", got.Offset)
		}
		r.cancel()
		r.drained()
	})
}

// A topic that does not come back is told, one that may come back later is tried again, and
// a publish to it waits.
func TestResumeFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScript(t)
		r := start(t, s.client(&client.Options{User: "alice", Resume: map[string]wire.Position{
			"closed": {Epoch: "c", Offset: 1}, "later": {Epoch: "l", Offset: 2},
		}}))
		p := <-s.peers
		hello := p.expect("hello")
		p.send(wire.Welcome{ID: hello.ID, Session: "s1", User: "alice", Topics: map[string]wire.Joined{
			"*": {Recovered: true}, "@alice": {Recovered: true},
			"closed": {Err: &wire.Error{Code: wire.Forbidden, Message: "you are banned"}},
			"later":  {Err: &wire.Error{Code: wire.Unavailable, Retry: true}},
		}})
		next[*client.Connected](r)
		if got := next[*client.Left](r); got.Topic != "closed" || got.Err.Code != wire.Forbidden {
			t.Errorf("got %+v, want closed to be left as forbidden", got)
		}
		published := make(chan error)
		go func() {
			_, err := r.Publish(r.ctx, "later", 1, nil)
			published <- err
		}()
		for range 2 {
			c := p.expect("join")
			if c.Topic != "later" || *c.After != (wire.Position{Epoch: "l", Offset: 2}) {
				t.Fatalf("got %+v, want a join of later after l 2", c)
			}
			p.send(&wire.Error{ID: c.ID, Code: wire.Unavailable, Retry: true})
		}
		c := p.expect("join")
		p.send(wire.OK{ID: c.ID, Topic: "later", Joined: &wire.Joined{Position: wire.Position{Epoch: "l", Offset: 3}, After: 2, Recovered: true}},
			message("later", 3))
		if got := next[*wire.Message](r); got.Offset != 3 {
			t.Errorf("got %d, want 3", got.Offset)
		}
		c = p.expect("publish")
		p.send(wire.OK{ID: c.ID, Topic: "later", Published: &wire.Published{Position: wire.Position{Epoch: "l", Offset: 4}}})
		if err := <-published; err != nil {
			t.Error(err)
		}
		r.cancel()
		r.drained()
	})
}

// More topics than one hello may carry are joined one by one.
func TestResumeMoreThanAFrame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScript(t)
		resume := map[string]wire.Position{"*": {Epoch: "e", Offset: 1}, "@alice": {Epoch: "e", Offset: 1}}
		for i := range 200 {
			resume[fmt.Sprintf("%s-%d", strings.Repeat("x", 100), i)] = wire.Position{Epoch: "e", Offset: 1}
		}
		r := start(t, s.client(&client.Options{User: "alice", Resume: resume}))
		p := <-s.peers
		hello := p.welcome()
		in := make(map[string]bool)
		for topic := range hello.Resume {
			in[topic] = true
		}
		if len(in) == 0 || len(in) == len(resume) {
			t.Errorf("the hello resumes %d of %d topics", len(in), len(resume))
		}
		if !in["*"] || !in["@alice"] {
			t.Error("the hello leaves out what the session is in at once")
		}
		for len(in) < len(resume) {
			c := p.expect("join")
			if in[c.Topic] || c.After == nil {
				t.Fatalf("joined twice, or from its head: %+v", c)
			}
			in[c.Topic] = true
			p.send(wire.OK{ID: c.ID, Topic: c.Topic, Joined: &wire.Joined{Position: *c.After, After: c.After.Offset, Recovered: true}})
		}
		next[*client.Connected](r)
		r.cancel()
		r.drained()
	})
}

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
		if err := r.Leave(r.ctx, "@alice"); err == nil {
			t.Error("left the inbox")
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
		p.send(wire.Presence{Topic: "lobby", Version: 71, Online: 9, Joined: []string{"old"}})
		next[*wire.Presence](r)
		check("alice", "bob")
		p.send(wire.Presence{Topic: "lobby", Version: 80, Online: 3, Reload: true})
		c := p.expect("members")
		p.send(wire.Members{ID: c.ID, Topic: "lobby", Roster: wire.Roster{Version: 81, Online: 3, Members: []string{"x", "y", "z"}}},
			wire.Presence{Topic: "lobby", Version: 81, Online: 3, Joined: []string{"stale"}})
		next[*wire.Presence](r)
		next[*wire.Presence](r)
		check("x", "y", "z")

		// A resume brings no roster: it is asked for.
		p.ws.CloseNow()
		next[*client.Disconnected](r)
		p = <-s.peers
		p.welcome()
		next[*client.Connected](r)
		c = p.expect("join")
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

func TestHeartbeat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScript(t)
		r := start(t, s.client(nil))
		p := <-s.peers
		p.welcome()
		next[*client.Connected](r)
		last := time.Now()
		for range 3 {
			c := p.expect("ping")
			if since := time.Since(last); since != 25*time.Second {
				t.Errorf("a ping after %v, want one after 25s", since)
			}
			last = time.Now()
			p.send(wire.OK{ID: c.ID})
		}
		p.expect("ping") // and no answer
		lost := next[*client.Disconnected](r)
		if since := time.Since(last); since != 25*time.Second+client.Grace {
			t.Errorf("held for dead after %v of silence: %v", since, lost.Err)
		}
		(<-s.peers).welcome()
		next[*client.Connected](r)
	})
}

// Without an answer to the hello the client tries elsewhere.
func TestNoWelcome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScript(t)
		r := start(t, s.client(nil))
		begin := time.Now()
		(<-s.peers).expect("hello")
		next[*client.Disconnected](r)
		if since := time.Since(begin); since != client.DialTimeout {
			t.Errorf("gave up after %v, want after %v", since, client.DialTimeout)
		}
		(<-s.peers).welcome()
		next[*client.Connected](r)
	})
}

func TestRetryAfter(t *testing.T) {
	seconds := func(status int, after string) func(http.ResponseWriter) {
		return func(w http.ResponseWriter) {
			w.Header().Set("Retry-After", after)
			w.WriteHeader(status)
		}
	}
	synctest.Test(t, func(t *testing.T) {
		s := newScript(t)
		date := time.Now().Add(2 * time.Minute)
		s.refuseNext(seconds(503, "7"), seconds(429, "20"), func(w http.ResponseWriter) {
			seconds(503, date.UTC().Format(http.TimeFormat))(w)
		}, seconds(503, "soon"))
		r := start(t, s.client(nil))
		begin := time.Now()
		var waited time.Duration
		for i, least := range []time.Duration{7 * time.Second, 20 * time.Second, 0, 0} {
			lost := next[*client.Disconnected](r)
			if since := time.Since(begin); since != waited {
				t.Errorf("try %d came after %v, want after %v", i, since, waited)
			}
			if i == 2 {
				least = max(0, date.Sub(time.Now()))
			}
			most := max(least+least/2, client.BackoffBase<<i) + client.BackoffBase
			if lost.Delay < least || lost.Delay > most {
				t.Errorf("try %d: waits %v, want %v to %v", i, lost.Delay, least, most)
			}
			waited += lost.Delay
		}
		(<-s.peers).welcome()
		next[*client.Connected](r)
	})
}

func TestBackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScript(t)
		for range 12 {
			s.refuseNext(func(w http.ResponseWriter) { w.WriteHeader(http.StatusInternalServerError) })
		}
		c := s.client(nil)
		c.SetJitter(func(limit time.Duration) time.Duration { return limit })
		r := start(t, c)
		begin := time.Now()
		var waited time.Duration
		for i := range 12 {
			want := min(client.BackoffBase<<i, client.BackoffCap)
			if lost := next[*client.Disconnected](r); lost.Delay != want {
				t.Errorf("try %d: waits up to %v, want up to %v", i, lost.Delay, want)
			}
			if since := time.Since(begin); since != waited {
				t.Errorf("try %d: came after %v, want after %v", i, since, waited)
			}
			waited += want
		}
		p := <-s.peers
		p.welcome()
		next[*client.Connected](r)
		p.ws.CloseNow()
		if lost := next[*client.Disconnected](r); lost.Delay != client.BackoffCap {
			t.Errorf("a connection that was lost at once is not forgiven: waits up to %v", lost.Delay)
		}
		p = <-s.peers
		p.welcome()
		next[*client.Connected](r)
		time.Sleep(client.Settled)
		p.ws.CloseNow()
		if lost := next[*client.Disconnected](r); lost.Delay != client.BackoffBase {
			t.Errorf("after a connection that stood: waits up to %v, want %v", lost.Delay, client.BackoffBase)
		}
	})
}

func TestGoodbye(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScript(t)
		r := start(t, s.client(nil))
		p := <-s.peers
		p.welcome()
		next[*client.Connected](r)
		p.send(wire.Goodbye{Code: "draining", Reconnect: true, After: 1830})
		p.ws.Close(websocket.StatusGoingAway, "draining")
		lost := next[*client.Disconnected](r)
		if least := 1830 * time.Millisecond; lost.Delay < least || lost.Delay > 2*least {
			t.Errorf("waits %v after a goodbye with 1830 ms", lost.Delay)
		}
		p = <-s.peers
		p.welcome()
		next[*client.Connected](r)
		p.send(wire.Goodbye{Code: "kicked", Reconnect: false})
		p.ws.Close(websocket.StatusCode(wire.CloseKicked), "kicked")
		r.drained()
		err := <-r.result
		var closed *client.CloseError
		if !errors.As(err, &closed) || closed.Code != wire.CloseKicked {
			t.Errorf("Run returned %v, want a CloseError", err)
		}
		if err := r.Ping(r.ctx); !errors.Is(err, client.ErrClosed) || !errors.As(err, &closed) {
			t.Errorf("Ping after the end: got %v, want ErrClosed and why", err)
		}
	})
}

func TestCloseCodes(t *testing.T) {
	for _, c := range []struct {
		code  wire.CloseCode
		again bool
	}{
		{wire.CloseDraining, true}, {wire.CloseInternal, true}, {wire.CloseExpired, true}, {wire.CloseLost, true},
		{wire.CloseUnauthorized, false}, {wire.CloseKicked, false}, {wire.ClosePolicy, false}, {wire.CloseSessions, false},
	} {
		t.Run(c.code.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tokens := 0
				s := newScript(t)
				r := start(t, s.client(&client.Options{Token: func(context.Context) (string, error) {
					tokens++
					return fmt.Sprint("token-", tokens), nil
				}}))
				p := <-s.peers
				hello := p.expect("hello")
				if hello.Token != "token-1" {
					t.Errorf("the first token is %q", hello.Token)
				}
				p.send(&wire.Error{ID: hello.ID, Code: wire.Unauthorized, Message: "who are you?"})
				p.ws.Close(websocket.StatusCode(c.code), "")
				if c.again {
					next[*client.Disconnected](r)
					if hello := (<-s.peers).welcome(); hello.Token != "token-2" {
						t.Errorf("the second token is %q", hello.Token)
					}
					next[*client.Connected](r)
					return
				}
				r.drained()
				err := <-r.result
				var closed *client.CloseError
				if !errors.As(err, &closed) || closed.Code != c.code || closed.Err == nil || !strings.Contains(err.Error(), "who are you?") {
					t.Errorf("Run returned %v, want a CloseError that says what the node said", err)
				}
			})
		})
	}
}

// The node learns that the client means to go.
func TestEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScript(t)
		r := start(t, s.client(nil))
		p := <-s.peers
		p.welcome()
		next[*client.Connected](r)
		r.cancel()
		if err := p.ended(); websocket.CloseStatus(err) != websocket.StatusNormalClosure {
			t.Errorf("the connection ended with %v, want a normal closure", err)
		}
		if err := <-r.result; err != nil {
			t.Errorf("Run returned %v, want nil", err)
		}
		if err := r.Ping(context.Background()); !errors.Is(err, client.ErrClosed) {
			t.Errorf("Ping after the end: got %v, want ErrClosed", err)
		}
	})
}

func TestBadURL(t *testing.T) {
	t.Parallel()
	for _, url := range []string{"", "127.0.0.1:8000", "ftp://host/ws", "ws://", "ws://[::1"} {
		if err := client.New(url, nil).Run(t.Context()); err == nil {
			t.Errorf("Run with the address %q returned no error", url)
		}
	}
}

// A call that waited in vain says what is wrong.
func TestNoConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScript(t)
		for range 9 {
			s.refuseNext(func(w http.ResponseWriter) { w.WriteHeader(http.StatusTeapot) })
		}
		r := start(t, s.client(nil))
		ctx, cancel := context.WithTimeout(r.ctx, time.Second)
		defer cancel()
		_, err := r.Join(ctx, "lobby", nil)
		if !errors.Is(err, client.ErrDisconnected) || !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "418") {
			t.Errorf("got %v, want the deadline, and that the answer was 418", err)
		}
	})
}

func TestRunTwice(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	c := client.New("ws://127.0.0.1:1/ws", nil)
	if err := c.Run(ctx); err != nil {
		t.Errorf("Run with a context that is done returned %v, want nil", err)
	}
	if err := c.Run(ctx); err == nil {
		t.Error("the second Run returned no error")
	}
}
