package bench_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/rookery-chat/rookery/bench"
	"github.com/rookery-chat/rookery/wire"
)

// A faulty server delivers as fault wants it.
type faulty struct {
	fault func(f *faulty, to *websocket.Conn)
	late  time.Duration // from the acknowledgement to the skip of one's own last message

	mu      sync.Mutex
	frames  []string          // all messages so far. Guarded by mu.
	members []*websocket.Conn // Guarded by mu.
}

// last returns the n-th newest message.
func (f *faulty) last(n int) string { return f.frames[len(f.frames)-n] }

func (f *faulty) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	conn, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{wire.Subprotocol}})
	if err != nil {
		return
	}
	defer conn.CloseNow()
	for {
		_, b, err := conn.Read(context.Background())
		if err != nil {
			return
		}
		var c struct {
			Type, Topic string
			ID          uint64
			Data        json.RawMessage
		}
		json.Unmarshal(b, &c)
		f.mu.Lock()
		switch c.Type {
		case "hello":
			say(conn, string(wire.Welcome{ID: c.ID}.Append(nil)))
		case "join":
			f.members = append(f.members, conn)
			say(conn, string(wire.OK{ID: c.ID, Topic: c.Topic, Joined: &wire.Joined{Position: wire.Position{Epoch: "e"}}}.Append(nil)))
		case "publish":
			offset := uint64(len(f.frames) + 1)
			f.frames = append(f.frames, string(wire.Message{Topic: c.Topic, Offset: offset, Data: c.Data}.Append(nil)))
			for _, member := range f.members {
				if member != conn {
					f.fault(f, member)
				}
			}
			say(conn, string(wire.OK{ID: c.ID, Topic: c.Topic, Published: &wire.Published{Position: wire.Position{Epoch: "e", Offset: offset}}}.Append(nil)))
			if offset == 30 {
				time.Sleep(f.late)
			}
			say(conn, string(wire.Skip{Topic: c.Topic, Offset: offset}.Append(nil)))
		}
		f.mu.Unlock()
	}
}

func say(conn *websocket.Conn, frame string) {
	conn.Write(context.Background(), websocket.MessageText, []byte(frame))
}

// A server that drops, doubles or swaps messages is found out, and so is one that breaks connections.
func TestFaultyServers(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		fault func(f *faulty, to *websocket.Conn)
		want  map[string]float64
		says  string
	}{
		"drop": {func(f *faulty, to *websocket.Conn) {
			if n := len(f.frames); n != 20 && n != 30 {
				say(to, f.last(1))
			}
		}, map[string]float64{"deliveries_received": 28, "deliveries_missing": 2}, "^2 deliveries are missing"},
		"double": {func(f *faulty, to *websocket.Conn) {
			say(to, f.last(1))
			if len(f.frames)%10 == 0 {
				say(to, f.last(1))
			}
		}, map[string]float64{"deliveries_received": 30, "deliveries_doubled": 3}, "^3 deliveries came twice"},
		"swap": {func(f *faulty, to *websocket.Conn) {
			switch len(f.frames) % 10 {
			case 4:
			case 5:
				say(to, f.last(1))
				say(to, f.last(2))
			default:
				say(to, f.last(1))
			}
		}, map[string]float64{"deliveries_received": 30, "deliveries_disordered": 3, "deliveries_missing": 0}, "3 came after newer ones"},
		"hang up": {func(f *faulty, to *websocket.Conn) {
			say(to, f.last(1))
			if len(f.frames) == 29 {
				to.Close(websocket.StatusGoingAway, "")
			}
		}, map[string]float64{"sessions_lost": 1, "deliveries_missing": 1}, "code 1001"},
		"refuse": {func(f *faulty, to *websocket.Conn) {
			say(to, f.last(1))
			if len(f.frames) == 5 {
				say(to, string((&wire.Error{ID: 1e9, Code: wire.RateLimited, Message: "slow down"}).Append(nil)))
			}
		}, map[string]float64{"publishes_refused": 1}, "slow down"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := httptest.NewServer(&faulty{fault: row.fault})
			t.Cleanup(server.Close)
			// One subscriber; fifteen messages to warm up, and fifteen more.
			r, err := (&bench.Fanout{Subscribers: 1, Rate: 15, Duration: time.Second, Payload: 32}).Run(t.Context(),
				&bench.Options{URLs: []string{"ws" + strings.TrimPrefix(server.URL, "http")}})
			if err != nil {
				t.Fatal(err)
			}
			exactly(t, values(r), row.want)
			if err := r.Err(); err == nil || !strings.Contains("^"+err.Error(), row.says) {
				t.Errorf("the report's error is %v, want something of %q", err, row.says)
			}
		})
	}
}

// A skip that comes after everything else is waited for, and not taken for a message that is missing.
func TestLateSkip(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(&faulty{fault: func(f *faulty, to *websocket.Conn) { say(to, f.last(1)) }, late: 300 * time.Millisecond})
	t.Cleanup(server.Close)
	r, err := (&bench.Fanout{Subscribers: 1, Rate: 15, Duration: time.Second, Payload: 32}).Run(t.Context(),
		&bench.Options{URLs: []string{"ws" + strings.TrimPrefix(server.URL, "http")}})
	if err != nil {
		t.Fatal(err)
	}
	exactly(t, values(r), map[string]float64{"deliveries_received": 30, "deliveries_missing": 0})
	if err := r.Err(); err != nil {
		t.Error(err)
	}
}
