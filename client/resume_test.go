package client_test

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"

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
