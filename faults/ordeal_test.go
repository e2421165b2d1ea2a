package faults_test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/redis/go-redis/v9"

	"github.com/rookery-chat/rookery/client"
	"github.com/rookery-chat/rookery/faults/judge"
	"github.com/rookery-chat/rookery/internal/redistest"
	"github.com/rookery-chat/rookery/wire"
)

// An ordeal is two nodes, and people in one room on them, to whom one thing happens. What they get is
// written down and judged.
type ordeal struct {
	t     *testing.T
	dir   string
	log   *judge.Log
	redis *redistest.Server
	nodes []*process

	members  []*witness
	watcher  *member // sees who comes and goes, on the second node
	speakers []*speaker
	last     wire.Position // of what was acknowledged
}

const ordealRoom = "lobby"

// newOrdeal gives each node a way to Redis of its own, or leads both there directly.
func newOrdeal(t *testing.T, redis *redistest.Server, ways ...string) *ordeal {
	t.Helper()
	o := &ordeal{t: t, dir: t.TempDir(), redis: redis}
	var err error
	if o.log, err = judge.Create(o.dir, judge.Cluster, "ordeal"); err != nil {
		t.Fatal(err)
	}
	for i := range 2 {
		way := redis.Addr
		if ways != nil {
			way = ways[i]
		}
		o.nodes = append(o.nodes, serve(t, nil, "--redis=redis://"+way))
		url := o.nodes[i].URL()
		o.members = append(o.members, watch(t, o.dir, fmt.Sprint("member", i), func() string { return url }, true, ordealRoom))
		o.speakers = append(o.speakers, o.speaker(i))
	}
	o.watcher = enter(t, o.nodes[1].URL(), "watcher")
	o.watcher.join(ordealRoom, &client.JoinOptions{Presence: true})
	await(t, "everybody is in", func() bool {
		r, ok := o.watcher.Roster(ordealRoom)
		return ok && r.Online == len(o.present()) && o.members[0].position(ordealRoom).Epoch != "" && o.members[1].position(ordealRoom).Epoch != ""
	})
	return o
}

// present are those who stay in the room.
func (o *ordeal) present() []string {
	all := []string{"watcher"}
	for i := range o.nodes {
		all = append(all, fmt.Sprint("member", i), fmt.Sprint("speaker", i))
	}
	return all
}

// ask tells Redis something that it must do.
func (o *ordeal) ask(words ...any) any {
	o.t.Helper()
	answer, err := o.admin().Do(context.Background(), words...).Result()
	if err != nil {
		o.t.Fatalf("%v: %v", words, err)
	}
	return answer
}

// admin is a connection to Redis past all doors, for as long as the test lasts.
func (o *ordeal) admin() *redis.Client {
	c := redis.NewClient(&redis.Options{Addr: o.redis.Addr, MaxRetries: -1, PoolSize: 1, ReadTimeout: patience})
	o.t.Cleanup(func() { c.Close() })
	return c
}

// acked notes what was acknowledged.
func (o *ordeal) acked(s *speaker, key string, at wire.Published) {
	s.log.Add(judge.Record{Act: judge.Acked, Topic: ordealRoom, Key: key, Epoch: at.Epoch, Offset: at.Offset})
}

// say publishes a message until it is acknowledged.
func (o *ordeal) say(s *speaker, key string) wire.Published {
	o.t.Helper()
	var at wire.Published
	await(o.t, s.user+" publishes "+key, func() bool {
		p, err := s.publish(key)
		if err != nil {
			time.Sleep(100 * time.Millisecond)
			return false
		}
		at = *p
		return true
	})
	o.acked(s, key, at)
	o.last = at.Position
	return at
}

// judged ends the ordeal, once everybody had the time to get everything.
func (o *ordeal) judged() {
	o.t.Helper()
	for _, n := range o.nodes {
		n.AwaitReady(true)
	}
	o.say(o.speakers[0], "last")
	o.log.Add(judge.Record{Act: judge.Truth, Topic: ordealRoom, Users: o.present()})
	ends := map[string]wire.Position{ordealRoom: o.last}
	for _, m := range o.members {
		if slow := m.wait([]string{ordealRoom}, ends, func(string) []string { return o.present() }); slow != "" {
			o.t.Logf("%s is not level in %s", m.user, slow)
		}
		m.end(ordealRoom)
	}
	for _, m := range o.members {
		m.leave()
	}
	for _, s := range o.speakers {
		s.close()
	}
	if err := o.log.Close(); err != nil {
		o.t.Error(err)
	}
	verdict, err := judge.Dir(o.dir)
	if err != nil {
		o.t.Fatal(err)
	}
	if verdict.Violated > 0 || verdict.Acked == 0 || verdict.Deliveries < len(o.members)*verdict.Acked/2 {
		o.t.Errorf("the verdict: %v", verdict)
	}
}

// complaints are what the node has logged since it had said so much, but for what is only told.
func (p *process) complaints(since string) (lines []string) {
	for line := range strings.Lines(strings.TrimPrefix(p.Said(), since)) {
		var l struct{ Level string }
		if json.Unmarshal([]byte(line), &l) == nil && (l.Level == "WARN" || l.Level == "ERROR") {
			lines = append(lines, line)
		}
	}
	return lines
}

// A speaker is a session that publishes, and repeats nothing by itself.
type speaker struct {
	user string
	conn *websocket.Conn
	log  *judge.Log
	once sync.Once
	ids  uint64
}

// speaker enters the room on a node.
func (o *ordeal) speaker(node int) *speaker {
	o.t.Helper()
	s := &speaker{user: fmt.Sprint("speaker", node)}
	var err error
	if s.log, err = judge.Create(o.dir, judge.Publisher, s.user); err != nil {
		o.t.Fatal(err)
	}
	if s.conn, _, err = websocket.Dial(context.Background(), o.nodes[node].URL(), &websocket.DialOptions{Subprotocols: []string{wire.Subprotocol}}); err != nil {
		o.t.Fatal(err)
	}
	s.conn.SetReadLimit(1 << 20)
	o.t.Cleanup(s.close)
	for _, c := range []wire.Command{{Type: "hello", User: s.user}, {Type: "join", Topic: ordealRoom}} {
		if _, err := s.ask(c); err != nil {
			o.t.Fatal(err)
		}
	}
	return s
}

func (s *speaker) close() {
	s.once.Do(func() {
		s.log.Close()
		s.conn.CloseNow()
	})
}

// publish returns the answer: an error frame as a *wire.Error.
func (s *speaker) publish(key string) (*wire.Published, error) {
	ok, err := s.ask(wire.Command{Type: "publish", Topic: ordealRoom, Data: json.RawMessage(fmt.Sprintf(`{"key":%q}`, key)), Key: key})
	if err != nil {
		return nil, err
	}
	return ok.Published, nil
}

// ask sends a command and waits for its answer, however long. A welcome counts as one.
func (s *speaker) ask(c wire.Command) (*wire.OK, error) {
	s.ids++
	c.ID = s.ids
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := s.conn.Write(ctx, websocket.MessageText, c.Append(nil)); err != nil {
		return nil, err
	}
	for {
		_, b, err := s.conn.Read(ctx)
		if err != nil {
			return nil, err
		}
		f, err := wire.ParseFrame(b)
		if err != nil {
			return nil, err
		}
		switch f := f.(type) {
		case *wire.Welcome:
			return &wire.OK{}, nil
		case *wire.OK:
			if f.ID == c.ID {
				return f, nil
			}
		case *wire.Error:
			return nil, f
		}
	}
}

// leavesSeen is how often the watcher saw each user leave the room.
func (o *ordeal) leavesSeen() map[string]int {
	o.watcher.mu.Lock()
	defer o.watcher.mu.Unlock()
	seen := make(map[string]int)
	for name, n := range o.watcher.left {
		seen[strings.TrimPrefix(name, ordealRoom+" ")] = n
	}
	return seen
}

// inRoom tells whether a user is in the room, as the watcher has it.
func (o *ordeal) inRoom(user string) bool {
	r, ok := o.watcher.Roster(ordealRoom)
	return ok && slices.Contains(r.Members, user)
}
