package faults_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/rookery-chat/rookery/internal/redistest"
	"github.com/rookery-chat/rookery/wire"
)

const hookSecret = "a hook secret that no log may tell"

// A backEnd is what --hook leads to. It keeps each event once, by its id, as it should.
type backEnd struct {
	*httptest.Server
	mu       sync.Mutex
	down     bool                // Guarded by mu, as is all that follows.
	refuses  int                 // requests while it was down
	repeated int                 // events that came again
	ids      map[string]bool     // of events
	topics   map[string][]string // events by topic, in order
}

func newBackEnd(t *testing.T) *backEnd {
	b := &backEnd{ids: map[string]bool{}, topics: map[string][]string{}}
	b.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		mac := hmac.New(sha256.New, []byte(hookSecret))
		fmt.Fprintf(mac, "%s.%s.%s", r.Header.Get("webhook-id"), r.Header.Get("webhook-timestamp"), body)
		if want := "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil)); r.Header.Get("webhook-signature") != want {
			t.Errorf("signature %q, not %q", r.Header.Get("webhook-signature"), want)
		}
		b.mu.Lock()
		defer b.mu.Unlock()
		if b.down {
			b.refuses++
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		var in struct {
			Type   string
			Data   json.RawMessage
			Events []struct{ ID, Type, Topic, User string }
		}
		if err := json.Unmarshal(body, &in); err != nil {
			t.Errorf("%s: %v", body, err)
		}
		if in.Type == "publish" {
			switch {
			case strings.Contains(string(in.Data), "curse"):
				io.WriteString(w, `{"refuse":"no curses"}`)
			case strings.Contains(string(in.Data), "secret"):
				io.WriteString(w, `{"data":"***"}`)
			default:
				io.WriteString(w, `{}`)
			}
			return
		}
		for _, e := range in.Events {
			if b.ids[e.ID] {
				b.repeated++
				continue
			}
			b.ids[e.ID] = true
			b.topics[e.Topic] = append(b.topics[e.Topic], e.Type+" "+e.User)
		}
	}))
	t.Cleanup(b.Close)
	return b
}

func (b *backEnd) serve(t *testing.T, redis *redistest.Server, flags ...string) *process {
	t.Helper()
	return serve(t, redis, append(flags, "--hook="+b.URL, "--hook-secret="+hookSecret)...)
}

func (b *backEnd) is(down bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.down, b.refuses = down, 0
}

// awaits waits until the back end was told so much of a topic, and checks what.
func (b *backEnd) awaits(t *testing.T, topic string, want ...string) {
	t.Helper()
	got := func() []string {
		b.mu.Lock()
		defer b.mu.Unlock()
		return slices.Clone(b.topics[topic])
	}
	await(t, fmt.Sprintf("the back end is told %q", want), func() bool { return len(got()) >= len(want) })
	if !slices.Equal(got(), want) {
		t.Fatalf("of %s the back end was told %q, not %q", topic, got(), want)
	}
}

// Three devices on two nodes: the user connects once, and disconnects once, when the last
// node that has her is killed, though the back end is down meanwhile and the node that told events is dead.
func TestHook(t *testing.T) {
	t.Parallel()
	redis := redistest.Start(t)
	b := newBackEnd(t)
	one, two := b.serve(t, redis), b.serve(t, redis)
	enter(t, two.URL(), "watch")
	b.awaits(t, "*", "connect watch")
	phone, laptop := enter(t, one.URL(), "alice"), enter(t, one.URL(), "alice")
	tablet := enter(t, two.URL(), "alice")
	for _, m := range []*member{phone, laptop, tablet} {
		m.join("lobby", nil)
	}
	b.awaits(t, "*", "connect watch", "connect alice")
	b.awaits(t, "lobby", "join alice")
	tablet.leave()
	phone.leave()

	b.is(true)
	mark := enter(t, two.URL(), "mark")
	for range 3 {
		mark.join("lobby", nil)
		if err := mark.Leave(t.Context(), "lobby"); err != nil {
			t.Fatal(err)
		}
		await(t, "mark is out", func() bool { return must(t, two, "GET", "/v1/topics/lobby/members", "")["online"] == 1.0 })
	}
	one.Kill()
	await(t, "the dead node's user is gone", func() bool { return must(t, two, "GET", "/v1/topics/lobby/members", "")["online"] == 0.0 })
	await(t, "the back end is asked in vain", func() bool { b.mu.Lock(); defer b.mu.Unlock(); return b.refuses > 1 })
	b.is(false)
	b.awaits(t, "lobby", "join alice", "join mark", "leave mark", "join mark", "leave mark", "join mark", "leave mark", "leave alice")
	b.awaits(t, "*", "connect watch", "connect alice", "connect mark", "disconnect alice")
	t.Logf("%d events came again", b.repeated)
	mark.join("lobby", nil)
	b.awaits(t, "lobby", "join alice", "join mark", "leave mark", "join mark", "leave mark", "join mark", "leave mark", "leave alice", "join mark")
	await(t, "nothing waits", func() bool { return two.Metric("rookery_hook_lag_seconds") == 0 })
}

// A node that drains hands over at once, and the last one leaves what it cannot tell to the next.
func TestHookOverRestarts(t *testing.T) {
	t.Parallel()
	redis := redistest.Start(t)
	b := newBackEnd(t)
	one := b.serve(t, redis, "--drain=2s")
	alice := enter(t, one.URL(), "alice")
	b.awaits(t, "*", "connect alice")
	b.is(true)
	alice.join("lobby", nil)
	alice.leave()
	one.Signal(syscall.SIGTERM)
	<-one.Exited
	b.is(false)
	b.serve(t, redis)
	b.awaits(t, "lobby", "join alice", "leave alice")
	b.awaits(t, "*", "connect alice", "disconnect alice")
}

// The back end reads what sessions say before anybody else; while it is down nobody says anything.
func TestHookPublish(t *testing.T) {
	t.Parallel()
	redis := redistest.Start(t)
	b := newBackEnd(t)
	closed, open := b.serve(t, redis, "--hook-publish"), b.serve(t, redis, "--hook-publish", "--hook-publish-open")
	alice, bob := enter(t, closed.URL(), "alice"), enter(t, open.URL(), "bob")
	alice.join("lobby", nil)
	bob.join("lobby", nil)
	alice.say("lobby", "hello")
	alice.say("lobby", "a secret")
	var refused *wire.Error
	if _, err := alice.Publish(t.Context(), "lobby", "a curse", nil); !errors.As(err, &refused) || refused.Code != wire.Forbidden || refused.Message != "no curses" {
		t.Errorf("a curse: %v", err)
	}
	must(t, closed, "POST", "/v1/topics/lobby/messages", `{"data":"the server's curse"}`)
	b.is(true)
	bob.say("lobby", "is anybody there?")
	said := make(chan struct{})
	go func() { alice.say("lobby", "yes"); close(said) }() // the client tries again
	await(t, "she is held back", func() bool { b.mu.Lock(); defer b.mu.Unlock(); return b.refuses >= 3 })
	b.is(false)
	<-said
	for _, m := range []*member{alice, bob} {
		m.awaitTexts("lobby", []string{"hello", "***", "the server's curse", "is anybody there?", "yes"})
	}
}
