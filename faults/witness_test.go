package faults_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/rookery-chat/rookery/faults/judge"
	"github.com/rookery-chat/rookery/wire"
)

// A witness is a session that writes down every frame it gets, as it is: unlike the Go
// client, it corrects nothing. When its connection ends it comes back as docs/protocol.md asks of
// every client, as often as it takes, and resumes from where it was.
type witness struct {
	tb      testing.TB
	user    string
	url     func() string   // where to connect next
	rooms   []string        // to be in
	watches bool            // asks for their rosters
	tamper  func(any) []any // makes of a frame what the witness believes to have got; nil in honest tests
	log     *judge.Log
	stop    context.CancelFunc
	done    chan struct{}

	// Owned by run.
	was   string
	node  string // that welcomed it
	conn  *websocket.Conn
	asked map[uint64]string // joins without an answer: id -> topic
	ids   uint64
	tries int           // since a connection stood
	hint  time.Duration // how long the node asked the witness to stay away

	// What level goes by. It moves after the log: who sees it level may write that it was.
	mu    sync.Mutex
	at    map[string]wire.Position   // the cursors. Guarded by mu.
	users map[string]map[string]bool // the rosters. Guarded by mu.
	stays []stay                     // one after the other. Guarded by mu.
}

// A stay is a witness's time on one node.
type stay struct {
	node    string
	came    time.Time     // when it was in all of its rooms
	goodbye time.Time     // zero without one
	after   time.Duration // what the goodbye asked for
}

// A said is the data of a message under test: its name.
type said struct {
	Key string `json:"key"`
}

// watch runs a witness until the test ends.
func watch(tb testing.TB, dir, user string, url func() string, watches bool, rooms ...string) *witness {
	tb.Helper()
	return watchTampered(tb, dir, user, url, watches, nil, rooms...)
}

// watchTampered is watch for a witness whose frames are changed on their way.
func watchTampered(tb testing.TB, dir, user string, url func() string, watches bool, tamper func(any) []any, rooms ...string) *witness {
	tb.Helper()
	log, err := judge.Create(dir, judge.Member, user)
	if err != nil {
		tb.Fatal(err)
	}
	w := &witness{
		tb: tb, user: user, url: url, rooms: rooms, watches: watches, tamper: tamper, log: log, done: make(chan struct{}),
		at: make(map[string]wire.Position), users: make(map[string]map[string]bool),
	}
	ctx, stop := context.WithCancel(context.Background())
	w.stop = stop
	go func() {
		defer close(w.done)
		for ctx.Err() == nil {
			w.connect(ctx)
			pause(ctx, w.backoff())
		}
	}()
	tb.Cleanup(w.leave)
	return w
}

// leave ends the witness. It is safe to repeat.
func (w *witness) leave() {
	w.stop()
	<-w.done
	if w.log != nil {
		if err := w.log.Close(); err != nil {
			w.tb.Error(err)
		}
		w.log = nil
	}
}

// patienceOfWitness bounds the silence after which a witness takes its node for dead: as
// long as it takes for a real client.
const patienceOfWitness = 15 * time.Second

// backoff is how long to stay away now: as docs/protocol.md has it, but for the longest, which is
// shorter, as tests are.
func (w *witness) backoff() time.Duration {
	const base = 250 * time.Millisecond
	d := rand.N(base << min(w.tries, 3))
	w.tries++
	if w.hint > 0 {
		d = max(d, w.hint+rand.N(w.hint/2+base))
		w.hint = 0
	}
	return d
}

// connect is one connection, from hello to its end.
func (w *witness) connect(ctx context.Context) error {
	dialing, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	conn, answer, err := websocket.Dial(dialing, w.url(), &websocket.DialOptions{Subprotocols: []string{wire.Subprotocol}})
	if err != nil {
		if answer != nil {
			seconds, _ := strconv.Atoi(answer.Header.Get("Retry-After"))
			w.hint = time.Duration(seconds) * time.Second
		}
		return err
	}
	dialled := time.Now()
	defer func() {
		if time.Since(dialled) > 5*time.Second {
			w.tries = 0
		}
	}()
	defer conn.CloseNow()
	conn.SetReadLimit(1 << 20)
	w.conn, w.asked = conn, make(map[uint64]string)
	hello := wire.Command{Type: "hello", User: w.user, Was: w.was, Resume: make(map[string]wire.Position)}
	w.mu.Lock()
	for topic, at := range w.at {
		// A roster cannot be asked for in a hello: these are joined later.
		if !w.watches || !isRoom(topic) {
			hello.Resume[topic] = at
		}
	}
	w.mu.Unlock()
	if err := w.send(ctx, hello); err != nil {
		return err
	}
	alive := make(chan struct{})
	pinging := sync.WaitGroup{}
	defer pinging.Wait()
	defer close(alive)
	pinging.Go(func() { // keeps the silence of a quiet topic apart from that of a dead node
		for id := uint64(1 << 40); ; id++ {
			select {
			case <-alive:
				return
			case <-time.After(patienceOfWitness / 3):
				conn.Write(ctx, websocket.MessageText, wire.Command{Type: "ping", ID: id}.Append(nil))
			}
		}
	})
	for {
		reading, cancel := context.WithTimeout(ctx, patienceOfWitness)
		_, b, err := conn.Read(reading)
		cancel()
		if err != nil {
			return err
		}
		f, err := wire.ParseFrame(b)
		if err != nil {
			w.tb.Errorf("%s got %q: %v", w.user, b, err)
			return err
		}
		frames := []any{f}
		if w.tamper != nil {
			frames = w.tamper(f)
		}
		for _, f := range frames {
			if err := w.take(ctx, f); err != nil {
				return err
			}
		}
	}
}

func isRoom(topic string) bool { return topic != wire.Everyone && !wire.IsInbox(topic) }

func (w *witness) send(ctx context.Context, c wire.Command) error {
	w.ids++
	c.ID = w.ids
	if c.Type == "join" {
		w.asked[c.ID] = c.Topic
	}
	writing, cancel := context.WithTimeout(ctx, patienceOfWitness)
	defer cancel()
	return w.conn.Write(writing, websocket.MessageText, c.Append(nil))
}

// errRefused ends a connection on which something was refused that may be granted later.
var errRefused = errors.New("refused")

func (w *witness) take(ctx context.Context, f any) error {
	switch f := f.(type) {
	case *wire.Welcome:
		w.was, w.node = f.Session, f.Node
		for _, topic := range slices.Sorted(maps.Keys(f.Topics)) {
			j := f.Topics[topic]
			if j.Err != nil {
				return fmt.Errorf("%w: %w", errRefused, j.Err)
			}
			w.joined(topic, j)
		}
		for _, room := range w.rooms {
			if _, ok := f.Topics[room]; ok {
				continue
			}
			c := wire.Command{Type: "join", Topic: room, Presence: w.watches}
			w.mu.Lock()
			if at, ok := w.at[room]; ok {
				c.After = &at
			}
			w.mu.Unlock()
			if err := w.send(ctx, c); err != nil {
				return err
			}
		}
		w.settle()
	case *wire.OK:
		if topic := w.asked[f.ID]; topic != "" {
			delete(w.asked, f.ID)
			w.joined(topic, *f.Joined)
			w.settle()
		}
	case *wire.Error:
		return fmt.Errorf("%w: %w", errRefused, f)
	case *wire.Message:
		var s said
		if err := json.Unmarshal(f.Data, &s); err != nil || s.Key == "" {
			w.tb.Errorf("%s got a message that nobody published: %s", w.user, f.Data)
		}
		if f.To != "" {
			s.Key += " to " + f.To // the sender's own copy
		}
		w.moved(f.Topic, judge.Record{Act: judge.Message, Topic: f.Topic, Key: s.Key, Offset: f.Offset})
	case *wire.Skip:
		w.moved(f.Topic, judge.Record{Act: judge.Skipped, Topic: f.Topic, Offset: f.Offset})
	case *wire.Reset:
		w.log.Add(judge.Record{Act: judge.Reset, Topic: f.Topic, Epoch: f.Epoch, Offset: f.After, Recovered: f.Recovered})
		w.set(f.Topic, wire.Position{Epoch: f.Epoch, Offset: f.After})
	case *wire.Goodbye:
		w.hint = time.Duration(f.After) * time.Millisecond
		w.mu.Lock()
		if last := len(w.stays) - 1; last >= 0 && w.stays[last].node == w.node {
			w.stays[last].goodbye, w.stays[last].after = time.Now(), w.hint
		}
		w.mu.Unlock()
	case *wire.Presence:
		if f.Roster != nil {
			w.roster(f.Topic, *f.Roster)
			return nil
		}
		w.log.Add(judge.Record{Act: judge.Changed, Topic: f.Topic, Online: f.Online, Came: f.Joined, Gone: f.Left})
		w.mu.Lock()
		in := w.users[f.Topic]
		for _, user := range f.Joined {
			in[user] = true
		}
		for _, user := range f.Left {
			delete(in, user)
		}
		w.mu.Unlock()
	}
	return nil
}

// settle notes a stay, once no join is without an answer.
func (w *witness) settle() {
	if len(w.asked) > 0 {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stays = append(w.stays, stay{node: w.node, came: time.Now()})
}

func (w *witness) position(topic string) *wire.Position {
	w.mu.Lock()
	defer w.mu.Unlock()
	at := w.at[topic]
	return &at
}

func (w *witness) set(topic string, at wire.Position) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.at[topic] = at
}

// joined notes the answer to a join, the first one or a resume.
func (w *witness) joined(topic string, j wire.Joined) {
	r := judge.Record{Act: judge.Resumed, Topic: topic, Epoch: j.Epoch, Offset: j.After, Recovered: j.Recovered}
	if *w.position(topic) == (wire.Position{}) {
		r.Act = judge.Joined
	}
	w.log.Add(r)
	if j.Roster != nil {
		w.roster(topic, *j.Roster)
	}
	w.set(topic, wire.Position{Epoch: j.Epoch, Offset: j.After})
}

func (w *witness) roster(topic string, r wire.Roster) {
	in := make(map[string]bool)
	for _, user := range r.Members {
		in[user] = true
	}
	w.log.Add(judge.Record{Act: judge.Roster, Topic: topic, Online: r.Online, Users: r.Members})
	w.mu.Lock()
	w.users[topic] = in
	w.mu.Unlock()
}

func (w *witness) moved(topic string, r judge.Record) {
	at := *w.position(topic)
	at.Offset = max(at.Offset, r.Offset)
	w.log.Add(r)
	w.set(topic, at)
}

// level tells whether the witness has got as far as a position, and knows who is in the topic
// where it watches.
func (w *witness) level(topic string, to wire.Position, users []string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	at := w.at[topic]
	if at.Epoch != to.Epoch || at.Offset < to.Offset {
		return false
	}
	in, watched := w.users[topic]
	return !watched || users == nil || slices.Equal(slices.Sorted(maps.Keys(in)), slices.Sorted(slices.Values(users)))
}

// end notes that the witness had all the time to get everything.
func (w *witness) end(topics ...string) {
	for _, topic := range topics {
		w.log.Add(judge.Record{Act: judge.Ended, Topic: topic})
	}
}
