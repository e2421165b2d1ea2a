package faults_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/rookery-chat/rookery/client"
	"github.com/rookery-chat/rookery/internal/redistest"
	"github.com/rookery-chat/rookery/wire"
)

// knock says hello once and joins, and returns the code of the error that answers; "" is a welcome, "kicked" one that did not last.
func knock(t *testing.T, p *process, user string) wire.Code {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	conn, _, err := quiet(ctx, p.URL(), user, "lobby")
	if conn != nil {
		defer conn.CloseNow()
	}
	if wire.CloseCode(websocket.CloseStatus(err)) == wire.CloseKicked {
		return "kicked" // let in by a node that did not know yet, and put out between hello and join
	}
	var e *wire.Error
	if err != nil && !errors.As(err, &e) {
		t.Fatalf("%s knocks: %v", user, err)
	}
	if e == nil {
		return ""
	}
	return e.Code
}

// Bans and mutes outlive all nodes and Redis itself, and hold from a node's first instant: nodes that
// start while Redis is away are not ready and let nobody in; when it is back, everybody but the banned comes in.
func TestBansOutliveRestarts(t *testing.T) {
	t.Parallel()
	redis := redistest.Start(t, "--appendonly", "yes", "--appendfsync", "always")
	first := serve(t, redis)
	must(t, first, "PUT", "/v1/topics/*/bans/alice", "")
	must(t, first, "PUT", "/v1/topics/lobby/mutes/bob", fmt.Sprintf(`{"until":%q}`, time.Now().Add(time.Hour).UTC().Format(time.RFC3339)))
	first.Kill()
	redis.Kill()

	nodes := []*process{launch(t, redis), launch(t, redis)}
	waiting := make(chan wire.Code)
	for _, p := range nodes {
		go func() { waiting <- knock(t, p, "carol") }()
	}
	for range nodes {
		if code := <-waiting; code != wire.Unavailable {
			t.Errorf("carol was answered %q while nobody knew the bans", code)
		}
	}
	for _, p := range nodes {
		p.AwaitReady(false)
		go func() { waiting <- knock(t, p, "alice") }()
	}
	redis.Restart()
	for range nodes {
		if code := <-waiting; code != wire.Forbidden && code != wire.Unavailable {
			t.Errorf("alice, who waited for the first instant, was answered %q", code)
		}
	}
	for _, p := range nodes {
		p.AwaitReady(true)
		if code := knock(t, p, "alice"); code != wire.Forbidden {
			t.Errorf("alice was answered %q", code)
		}
		if code := knock(t, p, "carol"); code != "" {
			t.Errorf("carol was answered %q", code)
		}
		bob := enter(t, p.URL(), "bob")
		bob.join("lobby", nil)
		if err := bob.tell("lobby"); err == nil || !strings.Contains(err.Error(), string(wire.Forbidden)) {
			t.Errorf("a muted user publishes: %v", err)
		}
	}
}

// tell publishes once, and returns why it was refused.
func (m *member) tell(topic string) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	_, err := m.Publish(ctx, topic, "x", nil)
	return err
}

// awaitKicked waits until the member was sent away for good.
func (m *member) awaitKicked() {
	m.tb.Helper()
	select {
	case <-m.done:
	case <-time.After(patience):
		m.tb.Fatalf("%s was not sent away", m.user)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.faults) != 1 || !strings.Contains(m.faults[0], "4003: kicked") {
		m.tb.Errorf("%s was sent away by %q", m.user, m.faults)
	}
	m.faults = nil
}

// A ban and a mute that were set while the user's node was cut off from Redis hold when it
// has heard of them again.
func TestBansAfterACut(t *testing.T) {
	t.Parallel()
	redis := redistest.Start(t)
	way := newStrait(t, redis)
	far, near := serve(t, nil, way.flag()), serve(t, redis)
	alice, bob := enter(t, far.URL(), "alice"), enter(t, far.URL(), "bob")
	watch := enter(t, near.URL(), "watch")
	for _, m := range []*member{alice, bob} {
		m.join("lobby", nil)
		m.join("garden", nil)
	}
	watch.join("lobby", &client.JoinOptions{Presence: true})
	way.cut()
	far.AwaitReady(false)
	must(t, near, "PUT", "/v1/topics/lobby/bans/alice", "")
	must(t, near, "PUT", "/v1/topics/garden/mutes/bob", "")
	way.heal()
	far.AwaitReady(true)
	watch.await("alice is seen leaving", func() bool { return watch.left["lobby alice"] > 0 })
	await(t, "the ban and the mute hold", func() bool {
		banned, muted := alice.tell("lobby"), bob.tell("garden")
		return banned != nil && strings.Contains(banned.Error(), string(wire.Forbidden)) &&
			muted != nil && strings.Contains(muted.Error(), string(wire.Forbidden))
	})
	if err := alice.tell("garden"); err != nil {
		t.Errorf("alice is banned from the lobby only: %v", err)
	}
	must(t, near, "PUT", "/v1/topics/*/bans/alice", "")
	alice.awaitKicked()
	if code := knock(t, far, "alice"); code != wire.Forbidden {
		t.Errorf("alice was answered %q", code)
	}
}
