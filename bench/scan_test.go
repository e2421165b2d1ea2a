package bench_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/rookery-chat/rookery/bench"
	"github.com/rookery-chat/rookery/wire"
)

// A publication is made once; each time that it is stamped, it is a good frame with another id and time, and
// data of the size that was asked for. The time is found in the message that becomes of it.
func TestPublication(t *testing.T) {
	t.Parallel()
	for _, payload := range []int{32, 128, 200, 60_000} {
		for _, echo := range []bool{true, false} {
			p := bench.NewPublication("lobby", payload, echo)
			for i, sent := range []time.Duration{0, time.Millisecond, 90 * time.Hour} {
				id := uint64(1e9 + i)
				c, e := wire.ParseCommand(bench.Unmask(t, p.Stamp(id, sent)))
				if e != nil {
					t.Fatalf("%d bytes: %v", payload, e)
				}
				if c.Type != "publish" || c.Topic != "lobby" || c.ID != id || c.NoEcho == echo || len(c.Data) != payload || !json.Valid(c.Data) {
					t.Errorf("%d bytes, echo %v: %s %s %d, echo %v, %d bytes", payload, echo, c.Type, c.Topic, c.ID, !c.NoEcho, len(c.Data))
				}
				m := wire.Message{Topic: "lobby", Offset: 7, From: "alice", Session: "n-1", Time: 1, Data: c.Data}
				if got, ok := bench.SentTime(m.Append(nil)); !ok || got != sent {
					t.Errorf("sent at %v, found %v, %v", sent, got, ok)
				}
			}
		}
	}
	if _, ok := bench.SentTime(wire.Message{Topic: "lobby", Offset: 7, Data: []byte(`{"t":5}`)}.Append(nil)); ok {
		t.Error("found a time in somebody else's message")
	}
}
