package node_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/rookery-chat/rookery/node"
	"github.com/rookery-chat/rookery/wire"
)

// A restless is a user who talks and falls silent in turns, and whose connection ends now and then,
// by either side. It resumes, and must see every message of its room once, in order.
type restless struct {
	t     *testing.T
	e     *edge
	addr  string // for raw TCP; "": a WebSocket
	user  string
	room  string
	dice  *rand.Rand
	p     *peer
	id    string         // of its session
	at    *wire.Position // how far it has got in its room
	acked int            // of what it published
}

// connecting bounds how many connect at once: it is not their number that this is about.
var connecting = make(chan struct{}, 100)

// connect goes on where the last connection ended.
func (r *restless) connect() {
	connecting <- struct{}{}
	defer func() { <-connecting }()
	for tries := 1; !r.tryConnect(); tries++ {
		if r.cut(); tries == 20 {
			r.t.Fatalf("%s cannot connect", r.user)
		}
	}
}

// tryConnect fails where a busy machine was too slow for the node.
func (r *restless) tryConnect() bool {
	hello := wire.Command{Type: "hello", ID: 1, User: r.user}
	if r.at != nil {
		hello.Resume = map[string]wire.Position{r.room: *r.at}
	}
	if r.addr != "" {
		r.p = dialLine(r.t, r.addr)
	} else {
		r.p = dial(r.t, r.e, "/ws")
	}
	w, ok := ask[*wire.Welcome](r, hello)
	if !ok {
		return false
	}
	r.id = w.Session
	if r.at == nil {
		j, ok := ask[*wire.OK](r, wire.Command{Type: "join", ID: 2, Topic: r.room})
		if ok {
			r.at = &wire.Position{Epoch: j.Joined.Epoch, Offset: j.Joined.After}
		}
		return ok
	}
	j := w.Topics[r.room]
	if j.Err != nil {
		return false
	}
	if !j.Recovered || j.After != r.at.Offset {
		r.t.Errorf("%s resumes after %+v: %+v", r.user, r.at, j)
	}
	return true
}

// ask returns the answer to a command, which comes first, or false when there is none.
func ask[T any](r *restless, c wire.Command) (answer T, ok bool) {
	if !r.trySend(c) {
		return answer, false
	}
	b, err := r.p.read()
	if err != nil {
		return answer, false
	}
	f, err := wire.ParseFrame(b)
	if err != nil {
		r.t.Errorf("%s got %q: %v", r.user, b, err)
	}
	answer, ok = f.(T)
	return answer, ok
}

// take takes one frame, and reports whether the connection goes on.
func (r *restless) take() bool {
	b, err := r.p.read()
	if err != nil {
		return false
	}
	f, err := wire.ParseFrame(b)
	if err != nil {
		r.t.Errorf("%s got %q: %v", r.user, b, err)
		return false
	}
	switch f := f.(type) {
	case *wire.Message:
		if f.Offset != r.at.Offset+1 {
			r.t.Errorf("%s got message %d after %d", r.user, f.Offset, r.at.Offset)
		}
		r.at.Offset = f.Offset
	case *wire.OK:
		if f.Published != nil {
			r.acked++
		}
	case *wire.Goodbye:
	case *wire.Error:
		if !f.Retry {
			r.t.Errorf("%s got %s", r.user, b)
		}
		return false
	default:
		r.t.Errorf("%s got %T %s", r.user, f, b)
	}
	return true
}

// talk publishes, and reads until that is answered, or the connection ends.
func (r *restless) talk(text, key string) bool {
	before := r.acked
	c := wire.Command{Type: "publish", ID: 3, Topic: r.room, Data: quote(text), Key: key}
	if !r.trySend(c) {
		return false
	}
	for r.acked == before {
		if !r.take() {
			return false
		}
	}
	return true
}

func (r *restless) trySend(c wire.Command) bool {
	b := c.Append(nil)
	if r.p.line != nil {
		_, err := r.p.line.Write(append(b, '\n'))
		return err == nil
	}
	ctx, cancel := context.WithTimeout(r.t.Context(), patience)
	defer cancel()
	return r.p.conn.Write(ctx, websocket.MessageText, b) == nil
}

// end ends the connection in one of the ways in which connections end.
func (r *restless) end() {
	switch r.dice.IntN(4) {
	case 0: // lost
		r.cut()
	case 1: // in order
		if r.p.line != nil {
			r.p.line.CloseWrite()
		} else {
			r.p.conn.Close(websocket.StatusNormalClosure, "")
		}
	case 2: // by the node
		if _, err := r.e.KickSession(r.t.Context(), r.id); err != nil {
			r.t.Error(err)
		}
	case 3: // in the midst of a frame
		r.trySend(wire.Command{Type: "ping"})
		if r.p.line != nil {
			r.p.line.Write([]byte(`{"type":`))
		}
		r.cut()
	}
	for r.take() {
	}
	r.cut()
}

func (r *restless) cut() {
	if r.p.line != nil {
		r.p.line.Close()
	} else {
		r.p.conn.CloseNow()
	}
}

// run talks for some rounds.
func (r *restless) run(rounds int, talked *sync.WaitGroup) {
	defer talked.Done()
	r.connect()
	for round := range rounds {
		time.Sleep(time.Duration(r.dice.IntN(200)) * time.Millisecond) // parked, most of the time
		text := fmt.Sprint(r.user, " ", round)
		for !r.talk(text, text) { // again after a cut, under its key
			r.cut()
			r.connect()
		}
		if r.dice.IntN(3) == 0 {
			r.end()
			r.connect()
		}
	}
}

// Two thousand sessions, half of them raw TCP, talk and fall silent and lose their connections: none
// misses a message or gets one twice.
func TestRestless(t *testing.T) {
	const sessions, members, rounds = 2000, 10, 3
	c := newCluster(t, 2, &node.Options{Drain: 2 * time.Second, Handshakes: 100_000})
	addrs := []string{serveTCP(t, c.nodes[0]), serveTCP(t, c.nodes[1])}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	var talked, done sync.WaitGroup
	talked.Add(sessions)
	all := make(chan struct{})
	for i := range sessions {
		r := &restless{t: t, e: c.nodes[i%2], user: fmt.Sprint("user", i), room: fmt.Sprint("room", i/members), dice: rand.New(rand.NewPCG(seed, uint64(i)))}
		if i/2%2 == 0 {
			r.addr = addrs[i%2]
		}
		done.Go(func() {
			r.run(rounds, &talked)
			<-all
			head, err := r.e.bus.Read(context.Background(), r.room, 0, 1)
			if err != nil {
				t.Error(err)
				return
			}
			for r.at.Offset < head.Head {
				if !r.take() {
					r.cut()
					r.connect()
				}
			}
			if head.Head < members*rounds {
				t.Errorf("%s has %d messages, want %d and more", r.room, head.Head, members*rounds)
			}
			r.cut()
		})
	}
	talked.Wait()
	close(all)
	done.Wait()
}
