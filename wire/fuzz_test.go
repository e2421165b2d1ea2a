package wire_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/rookery-chat/rookery/wire"
)

// addFrames seeds a fuzz target with every case of one side, but for the huge ones.
func addFrames(f *testing.F, side string) {
	for _, c := range frameCases(f) {
		if b := c.bytes(f); c.Side == side && len(b) < 1000 {
			f.Add(b)
		}
	}
}

// checkFrame checks that b can be sent.
func checkFrame(t *testing.T, b []byte) {
	t.Helper()
	if !json.Valid(b) || !utf8.Valid(b) || b[0] != '{' || bytes.IndexByte(b, '\n') >= 0 {
		t.Fatalf("not a JSON object on one line: %q", b)
	}
}

func FuzzParseCommand(f *testing.F) {
	addFrames(f, "client")
	f.Fuzz(func(t *testing.T, b []byte) {
		before := bytes.Clone(b)
		c, err := wire.ParseCommand(b)
		id, isPing := wire.Ping(b)
		if !bytes.Equal(b, before) {
			t.Fatal("the frame was changed")
		}
		if ping := (wire.Command{Type: "ping", ID: id}); isPing && (err != nil || !sameCommand(c, ping)) {
			t.Fatalf("Ping reads the id %d, ParseCommand %+v, %v", id, c, err)
		}
		if own := (wire.Command{Type: "ping", ID: c.ID}).Append(nil); !isPing && err == nil && bytes.Equal(b, own) {
			t.Fatalf("Ping does not know %s", b)
		}
		if err != nil {
			var e *wire.Error
			if !errors.As(err, &e) || e.Code != wire.BadRequest || e.Message == "" || e.ID != c.ID || e.Topic != c.Topic {
				t.Fatalf("error %#v, command %+v", err, c)
			}
			checkFrame(t, e.Append(nil))
			return
		}
		// encoding/json agrees that it is an object, and about what it says.
		var fields map[string]json.RawMessage
		if err := json.Unmarshal(b, &fields); err != nil {
			t.Fatalf("taken, but %v", err)
		}
		var typ string
		if json.Unmarshal(fields["type"], &typ); typ != c.Type {
			t.Fatalf("type %q, want %q", c.Type, typ)
		}
		id = 0
		if json.Unmarshal(fields["id"], &id); id != c.ID {
			t.Fatalf("id %d, want %d", c.ID, id)
		}
		if typ == "publish" || typ == "signal" {
			var want bytes.Buffer
			if json.Compact(&want, fields["data"]); want.String() != string(c.Data) {
				t.Fatalf("data %s, want %s", c.Data, want.Bytes())
			}
		}
		again := c.Append(nil)
		checkFrame(t, again)
		if got, err := wire.ParseCommand(again); err != nil || !sameCommand(got, c) {
			t.Fatalf("%s became %+v, error %v, want %+v", again, got, err, c)
		}
	})
}

// sameCommand tells no resume from an empty one.
func sameCommand(a, b wire.Command) bool {
	if len(a.Resume) == 0 && len(b.Resume) == 0 {
		a.Resume, b.Resume = nil, nil
	}
	return reflect.DeepEqual(a, b)
}

func FuzzParseFrame(f *testing.F) {
	addFrames(f, "server")
	f.Fuzz(func(t *testing.T, b []byte) {
		frame, err := wire.ParseFrame(b)
		if err != nil && frame != nil {
			t.Fatalf("frame %+v with error %v", frame, err)
		}
		if frame == nil {
			return
		}
		if m, ok := frame.(*wire.Message); ok && m.Data == nil {
			t.Fatal("a message without data")
		}
		again := frame.(appender).Append(nil)
		checkFrame(t, again)
		// What is written and what is read settle after one round.
		settled, err := wire.ParseFrame(again)
		if err != nil {
			t.Fatalf("%s: %v", again, err)
		}
		if last := settled.(appender).Append(nil); !bytes.Equal(last, again) {
			t.Fatalf("%s became %s", again, last)
		}
	})
}

// A frame made of a payload says what its pieces say.
func FuzzPayload(f *testing.F) {
	f.Add("lobby", uint64(43), int64(1767225600123), "alice", "n7f3-12", "bob", []byte(`{"text":"hi"}`))
	f.Add("*", uint64(1), int64(0), "", "", "", []byte(`null`))
	f.Add("@\"\\", uint64(1<<64-1), int64(-1), awkward, "\xff", "\u2028", []byte(`"\u2028"`))
	f.Fuzz(func(t *testing.T, topic string, offset uint64, time int64, from, session, to string, data []byte) {
		publish := append(append([]byte(`{"type":"publish","topic":"x","data":`), data...), '}')
		c, err := wire.ParseCommand(publish)
		if err != nil || c.Key != "" || c.ID != 0 || c.NoEcho {
			return // not data, or more than data
		}
		payload := wire.AppendPayload(nil, from, session, to, c.Data)
		checkFrame(t, payload)
		valid := func(s string) string { return string([]rune(s)) }
		want := wire.Message{From: valid(from), Session: valid(session), To: valid(to), Data: c.Data}
		if got, err := wire.ParsePayload(payload); err != nil || !reflect.DeepEqual(got, want) {
			t.Fatalf("%s became %+v, error %v, want %+v", payload, got, err, want)
		}

		signal := wire.AppendSignal(nil, topic, payload)
		checkFrame(t, signal)
		wantSignal := &wire.Signal{Topic: valid(topic), From: want.From, Session: want.Session, Data: want.Data}
		if got, err := wire.ParseFrame(signal); err != nil || !reflect.DeepEqual(got, wantSignal) {
			t.Fatalf("%s became %+v, error %v, want %+v", signal, got, err, wantSignal)
		}

		message := wire.AppendMessage(nil, topic, offset, time, payload)
		checkFrame(t, message)
		want.Topic, want.Offset, want.Time = valid(topic), offset, time
		if got, err := wire.ParseFrame(message); err != nil || !reflect.DeepEqual(got, &want) {
			t.Fatalf("%s became %+v, error %v, want %+v", message, got, err, want)
		}
		if b := want.Append(nil); !bytes.Equal(b, message) {
			t.Fatalf("Message.Append wrote %s, AppendMessage %s", b, message)
		}
		history := wire.History{ID: 1, Topic: want.Topic, Messages: []wire.Message{want, want}}
		if got, err := wire.ParseFrame(history.Append(nil)); err != nil || !reflect.DeepEqual(got, &history) {
			t.Fatalf("history became %+v, error %v, want %+v", got, err, history)
		}
	})
}

func FuzzName(f *testing.F) {
	for _, name := range []string{"lobby", "@alice", "*", "@*", "zoe\u0308", "a b", "a\x00", "\u212b\u2126\u212a", "\ufb01", "\u1100\u1161\u11a8", "\u0344", "\u0958",
		"q\u0307\u0323", "\u0f73\u0f75", "x" + strings.Repeat("\u0301", 40), "@\u0338", "\xff", strings.Repeat("e\u0301", 64)} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, s string) {
		topic, err := wire.ParseTopic(s)
		var e *wire.Error
		if err != nil {
			if topic != "" || !errors.As(err, &e) || e.Code != wire.BadRequest {
				t.Fatalf("%q: topic %q, error %#v", s, topic, err)
			}
			return
		}
		if again, err := wire.ParseTopic(topic); err != nil || again != topic {
			t.Fatalf("%q is normalised to %q, and that to %q, error %v", s, topic, again, err)
		}
		kinds := 0
		for _, is := range []bool{topic == wire.Everyone, wire.IsInbox(topic), !strings.ContainsAny(topic[:1], "*@")} {
			if is {
				kinds++
			}
		}
		if kinds != 1 {
			t.Fatalf("%q is %d kinds of topic", topic, kinds)
		}
		if topic == wire.Everyone {
			return
		}
		name := topic
		if wire.IsInbox(topic) {
			name = wire.InboxUser(topic)
			if wire.Inbox(name) != topic {
				t.Fatalf("inbox %q of %q", topic, name)
			}
		}
		if user, err := wire.CheckUser(name); err != nil || user != name {
			t.Fatalf("%q is fit for a topic, but not for a user: %q, %v", name, user, err)
		}
		if len(name) == 0 || len(name) > wire.MaxName || !utf8.ValidString(name) || name[0] == '@' ||
			strings.ContainsFunc(name, func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) || strings.ContainsRune("{}*", r) }) {
			t.Fatalf("%q was let pass", name)
		}
	})
}
