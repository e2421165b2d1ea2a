package wire_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/rookery-chat/rookery/wire"
)

func ptr[T any](v T) *T { return &v }

// awkward has everything that a JSON string must or may escape.
const awkward = "\"\\/\b\f\n\r\t\x00\x1f\x7f<&>'é€😀\u2028\u2029\ufffd"

// Every frame of a server comes back from its bytes as it was.
func TestFrameRoundTrip(t *testing.T) {
	t.Parallel()
	at := wire.Position{Epoch: "k3", Offset: 42}
	roster := &wire.Roster{Version: 7, Online: 3, Members: []string{"alice", awkward}, More: true, Next: "n" + awkward}
	message := wire.Message{Topic: "lobby", Offset: 43, From: "alice", Session: "n-1", To: "bob", Time: 1767225600123, Data: json.RawMessage(`{"a":[1,null]}`)}
	for _, f := range []appender{
		&wire.Welcome{ID: 1, Session: "n-1", User: awkward, Node: "n", Heartbeat: 25, MaxFrame: 65536, Topics: map[string]wire.Joined{
			"*":     {Position: at, After: 42, Recovered: true, Roster: roster},
			"@a":    {Position: at, After: 1, Read: 40},
			awkward: {Err: &wire.Error{Code: wire.Forbidden, Message: awkward, Retry: true}},
		}},
		&wire.Welcome{Topics: map[string]wire.Joined{}},
		&wire.OK{},
		&wire.OK{ID: 1 << 53, Topic: awkward},
		&wire.OK{ID: 2, Topic: "lobby", Joined: &wire.Joined{Position: at, After: 40, Recovered: true, Read: 39, Roster: roster}},
		&wire.OK{ID: 2, Topic: "lobby", Joined: &wire.Joined{Position: wire.Position{Epoch: "k3"}, Roster: &wire.Roster{Members: []string{}}}},
		&wire.OK{ID: 4, Topic: "@bob", Published: &wire.Published{Position: at, Duplicate: true, Reached: ptr(0)}},
		&wire.OK{ID: 4, Topic: "lobby", Published: &wire.Published{Position: at}},
		&message,
		&wire.Message{Topic: "*", Offset: 1<<64 - 1, Time: -1, Data: json.RawMessage("null")},
		&wire.Message{Topic: awkward, From: awkward, Session: awkward, To: awkward, Data: json.RawMessage(`"\u2028"`)},
		&wire.Signal{Topic: "lobby", From: awkward, Session: "n-1", Data: json.RawMessage(`true`)},
		&wire.Presence{Topic: "lobby", Version: 8, Online: 2, Joined: []string{awkward}, Left: []string{"b", "c"}},
		&wire.Presence{Topic: "lobby", Version: roster.Version, Online: roster.Online, Roster: roster},
		&wire.Presence{Topic: "lobby", Roster: &wire.Roster{Members: []string{}}},
		&wire.Presence{Topic: "lobby"},
		&wire.Read{Topic: "@alice", From: awkward, Offset: 9},
		&wire.Skip{Topic: "lobby", Offset: 44},
		&wire.Reset{Topic: "lobby", Position: at, After: 41, Reason: "trimmed"},
		&wire.Reset{Topic: "lobby", Position: at, After: 42, Reason: "epoch", Recovered: true},
		&wire.Error{ID: 4, Topic: "lobby", Code: wire.TooLarge, Message: awkward},
		&wire.Error{Code: wire.Unavailable, Message: "m", Retry: true},
		&wire.Goodbye{Code: "draining", Reconnect: true, After: 1830},
		&wire.History{ID: 5, Topic: "lobby", Messages: []wire.Message{message, {Topic: "lobby", Data: json.RawMessage("1")}}, More: true},
		&wire.History{ID: 5, Topic: "lobby"},
		&wire.Members{ID: 6, Topic: "lobby", Roster: *roster},
		&wire.Members{ID: 6, Topic: "lobby", Roster: *roster, Reads: map[string]uint64{"alice": 1<<53 - 1, awkward: 7}},
		&wire.Members{ID: 6, Topic: "lobby", Roster: *roster, Reads: map[string]uint64{}},
	} {
		b, ok := bytes.CutPrefix(f.Append([]byte("before")), []byte("before"))
		if !ok {
			t.Fatalf("%T: Append does not append", f)
		}
		got, err := wire.ParseFrame(b)
		if err != nil || !reflect.DeepEqual(got, f) {
			t.Errorf("%s\n became %+v, error %v\n want %+v", b, got, err, f)
		}
	}
}

func TestCommandRoundTrip(t *testing.T) {
	t.Parallel()
	at := wire.Position{Epoch: awkward, Offset: 1<<53 - 1}
	for _, c := range []wire.Command{
		{Type: "hello", ID: 1, Token: awkward, User: "zoë", Was: awkward, Resume: map[string]wire.Position{"lobby": at, "@zoë": {Epoch: "k"}, "*": at}},
		{Type: "join", ID: 2, Topic: "lobby", After: &at, Presence: true},
		{Type: "join", Topic: "\"\\<&>'", Recent: 50},
		{Type: "leave", ID: 3, Topic: "lobby"},
		{Type: "publish", ID: 4, Topic: "@bob", Data: json.RawMessage(`{"a":[1,null]}`), Key: awkward, NoEcho: true},
		{Type: "signal", Topic: "lobby", Data: json.RawMessage(`null`)},
		{Type: "history", ID: 5, Topic: "lobby", Before: 42, Limit: 10},
		{Type: "members", ID: 6, Topic: "*", Cursor: awkward},
		{Type: "members", ID: 6, Topic: "lobby", Reads: true},
		{Type: "read", ID: 7, Topic: "lobby", Offset: 42},
		{Type: "ping", ID: 1<<53 - 1},
		{Type: "ping"},
	} {
		b := c.Append(nil)
		got, err := wire.ParseCommand(b)
		if err != nil || !reflect.DeepEqual(got, c) {
			t.Errorf("%s\n became %+v, error %v\n want %+v", b, got, err, c)
		}
	}
}

// A string that is not UTF-8 cannot be made a frame that is not.
func TestAppendInvalidUTF8(t *testing.T) {
	t.Parallel()
	b := (&wire.Error{Code: wire.BadRequest, Message: "a\xff\xc3b\xed\xa0\x80"}).Append(nil)
	if !utf8.Valid(b) || !strings.Contains(string(b), "\"a\ufffd\ufffdb\ufffd\ufffd\ufffd\"") {
		t.Errorf("%s", b)
	}
}

// Lines that a receiver may split at any of its line ends stay whole.
func TestAppendLineEnds(t *testing.T) {
	t.Parallel()
	b := wire.Read{Topic: "a\u2028b\u2029c", From: "d\r\ne"}.Append(nil)
	if want := `{"type":"read","topic":"a\u2028b\u2029c","from":"d\u000d\ne","offset":0}`; string(b) != want {
		t.Errorf("%s, want %s", b, want)
	}
}

// ParseData lets pass what a publish of the same data would.
func TestParseData(t *testing.T) {
	t.Parallel()
	for _, row := range []struct{ in, want string }{ // "" for an error
		{`"x"`, `"x"`},
		{"null", "null"},
		{" [ 1 , \"a b\" ]\n", `[1,"a b"]`},
		{strings.Repeat("[", 63) + strings.Repeat("]", 63), strings.Repeat("[", 63) + strings.Repeat("]", 63)},
		{strings.Repeat("[", 64) + strings.Repeat("]", 64), ""},
		{"", ""},
		{" ", ""},
		{"1 2", ""},
		{`{"a":1}}`, ""},
		{`1,"topic":"*"`, ""},
		{`"\ud800"`, ""},
		{"\"\xff\"", ""},
	} {
		got, err := wire.ParseData([]byte(row.in))
		frame := []byte(`{"type":"publish","topic":"lobby","data":` + row.in + `}`)
		if _, frameErr := wire.ParseCommand(frame); row.in != `1,"topic":"*"` && (frameErr == nil) != (err == nil) {
			t.Errorf("%q: error %v, in a frame %v", row.in, err, frameErr)
		}
		var e *wire.Error
		if string(got) != row.want || (err == nil) != (row.want != "") || err != nil && (!errors.As(err, &e) || e.Code != wire.BadRequest) {
			t.Errorf("%q: %s, error %v; want %s", row.in, got, err, row.want)
		}
	}
}

// resume is bounded, so that a hello cannot ask for more than a node wants to do at once.
func TestResumeBound(t *testing.T) {
	t.Parallel()
	c := wire.Command{Type: "hello", ID: 1, User: "alice", Resume: map[string]wire.Position{}}
	for i := range 1000 {
		c.Resume["room"+strings.Repeat("x", i%8)+string(rune('a'+i%26))+string(rune(0x4e00+i))] = wire.Position{Epoch: "k", Offset: 1}
	}
	if got, err := wire.ParseCommand(c.Append(nil)); err != nil || len(got.Resume) != 1000 {
		t.Fatalf("1,000 topics: %d, %v", len(got.Resume), err)
	}
	c.Resume["one-more"] = wire.Position{Epoch: "k"}
	if _, err := wire.ParseCommand(c.Append(nil)); err == nil || !strings.Contains(err.Error(), "1000") {
		t.Fatalf("1,001 topics: %v", err)
	}
}

// Data that has no white space to lose is not copied.
func TestDataAliases(t *testing.T) {
	t.Parallel()
	frame := []byte(`{"type":"publish","topic":"lobby","data":"two words"}`)
	c, err := wire.ParseCommand(frame)
	if err != nil {
		t.Fatal(err)
	}
	copy(frame[strings.Index(string(frame), "two"):], "TWO")
	if string(c.Data) != `"TWO words"` {
		t.Errorf("data is %s: it was copied", c.Data)
	}
	if cap(c.Data) != len(c.Data) {
		t.Error("appending to the data would write over the frame")
	}
}

// Where the buffer is large enough, the frames that go out for each message cost no allocation.
func TestAllocations(t *testing.T) {
	payload := wire.AppendPayload(nil, "alice", "n7f3-12", "", []byte(`{"text":"hi"}`))
	buf := make([]byte, 0, 512)
	for name, do := range map[string]func(){
		"AppendPayload":    func() { wire.AppendPayload(buf, "alice", "n7f3-12", "bob", []byte(`1`)) },
		"AppendMessage":    func() { wire.AppendMessage(buf, "lobby", 43, 1767225600123, payload) },
		"AppendSignal":     func() { wire.AppendSignal(buf, "lobby", payload) },
		"AppendTextHeader": func() { wire.AppendTextHeader(buf, 70_000) },
		"Skip":             func() { wire.Skip{Topic: "lobby", Offset: 44}.Append(buf) },
		"publish's OK":     func() { publishedOK.Append(buf) },
	} {
		if n := testing.AllocsPerRun(100, do); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
	roster := wire.Members{Topic: "lobby", Roster: wire.Roster{Members: slices.Repeat([]string{"alice-the-first"}, 3000)}}
	if n := testing.AllocsPerRun(10, func() { roster.Append(nil) }); n > 8 { // the race detector adds some
		t.Errorf("a long roster: %v allocations: it was copied as it grew", n)
	}
	for _, flat := range []string{`"` + strings.Repeat(`[\"{`, 2000) + `"`, "[" + strings.Repeat("[],", 2000) + "[]]"} {
		if _, err := wire.ParseCommand([]byte(`{"type":"publish","topic":"lobby","data":` + flat + `}`)); err != nil {
			t.Errorf("%.20s… is taken for deep: %v", flat, err)
		}
	}
	for _, deep := range []string{strings.Repeat("[", 30_000) + strings.Repeat("]", 30_000), strings.Repeat(`{"[\"[":`, 7_000) + "1" + strings.Repeat("}", 7_000)} {
		frame := []byte(`{"type":"publish","topic":"lobby","data":` + deep + `}`)
		if n := testing.AllocsPerRun(100, func() { wire.ParseCommand(frame) }); n > 8 {
			t.Errorf("a frame far too deep costs %v allocations", n)
		}
	}
	if n := testing.AllocsPerRun(100, func() { wire.ParseCommand(publish) }); n > 4 {
		t.Errorf("ParseCommand of a publish: %v allocations, want one for each string", n)
	}
}

var (
	publishedOK = wire.OK{ID: 4, Topic: "lobby", Published: &wire.Published{Position: wire.Position{Epoch: "k3", Offset: 43}}}
	publish     = []byte(`{"type":"publish","id":4711,"topic":"lobby","data":{"text":"` + strings.Repeat("hello, ", 12) + `","n":12345},"key":"a-17-0123456789","echo":false}`)
)

func BenchmarkParsePublish(b *testing.B) {
	b.ReportAllocs()
	b.SetBytes(int64(len(publish)))
	for b.Loop() {
		if _, err := wire.ParseCommand(publish); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkParsePublishSpaced(b *testing.B) {
	spaced := []byte(strings.ReplaceAll(string(publish), `":`, `": `))
	b.ReportAllocs()
	b.SetBytes(int64(len(spaced)))
	for b.Loop() {
		if _, err := wire.ParseCommand(spaced); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkParseMessage(b *testing.B) {
	frame := wire.Message{Topic: "lobby", Offset: 43, From: "alice", Session: "n7f3-12", Time: 1767225600123, Data: []byte(`"` + strings.Repeat("x", 100) + `"`)}.Append(nil)
	b.ReportAllocs()
	b.SetBytes(int64(len(frame)))
	for b.Loop() {
		if _, err := wire.ParseFrame(frame); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAppendMessage(b *testing.B) {
	payload := wire.AppendPayload(nil, "alice", "n7f3-12", "", []byte(`"`+strings.Repeat("x", 100)+`"`))
	buf := make([]byte, 0, 512)
	b.ReportAllocs()
	for b.Loop() {
		wire.AppendMessage(buf, "lobby", 43, 1767225600123, payload)
	}
}

func BenchmarkParseTopic(b *testing.B) {
	for name, topic := range map[string]string{"ascii": "team:lobby", "normal": "@zoë", "other": "@zoe\u0308"} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := wire.ParseTopic(topic); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// A roster that was encoded once comes out the same in every frame that holds it.
func TestEncodedRoster(t *testing.T) {
	t.Parallel()
	plain := wire.Roster{Version: 7, Online: 3, Members: []string{"alice", awkward}, More: true, Next: "nbob"}
	ready := plain
	ready.Encode()
	joined := func(r wire.Roster) []byte {
		return wire.OK{ID: 1, Topic: "lobby", Joined: &wire.Joined{Roster: &r}}.Append(nil)
	}
	for name, both := range map[string][2][]byte{
		"ok":       {joined(plain), joined(ready)},
		"members":  {wire.Members{ID: 1, Topic: "lobby", Roster: plain}.Append(nil), wire.Members{ID: 1, Topic: "lobby", Roster: ready}.Append(nil)},
		"presence": {wire.Presence{Topic: "lobby", Roster: &plain}.Append(nil), wire.Presence{Topic: "lobby", Roster: &ready}.Append(nil)},
	} {
		if !bytes.Equal(both[0], both[1]) {
			t.Errorf("%s: %s\n want %s", name, both[1], both[0])
		}
	}
}
