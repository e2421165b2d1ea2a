package wire_test

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/rookery-chat/rookery/wire"
)

// A frameCase is one entry of testdata/frames.json, which the tests of each language assert.
//
//	name     what it is about, unique
//	side     who sends it: "client" or "server"
//	valid    whether the other side takes it
//
// The bytes of the frame stand in exactly one of
//
//	frame    as JSON
//	raw      in a string: for what is not JSON, or whose spelling matters
//	hex      in hexadecimal: for what is not UTF-8
//	repeat   as pieces to join: a string, or [string, how often]
//
// What is to come out of it:
//
//	becomes  the frame, as JSON, that says the same once names are normalised, data compacted and
//	         what means nothing left out; missing when that is frame itself, or is not asserted
//	data     the exact bytes of the data field
//	ignored  a server's frame is of a type that nobody knows: clients pass it over
//	code     a client's frame is answered with an error of this code …
//	id       … with this id (none when missing) …
//	topic    … and this topic (none when missing)
type frameCase struct {
	Name    string
	Side    string
	Valid   bool
	Frame   json.RawMessage
	Raw     *string
	Hex     string
	Repeat  []json.RawMessage
	Becomes json.RawMessage
	Data    string
	Ignored bool
	Code    wire.Code
	ID      uint64
	Topic   string
}

// frameCases reads testdata/frames.json.
func frameCases(t testing.TB) []frameCase {
	t.Helper()
	b, err := os.ReadFile("testdata/frames.json")
	if err != nil {
		t.Fatal(err)
	}
	d := json.NewDecoder(strings.NewReader(string(b)))
	d.DisallowUnknownFields()
	var cases []frameCase
	if err := d.Decode(&cases); err != nil {
		t.Fatal(err)
	}
	seen := make(map[string]bool)
	for _, c := range cases {
		if seen[c.Name] || c.Name == "" || (c.Side != "client" && c.Side != "server") {
			t.Fatalf("case %q: the name must be unique and the side client or server", c.Name)
		}
		seen[c.Name] = true
	}
	return cases
}

// bytes returns the frame.
func (c *frameCase) bytes(t testing.TB) []byte {
	t.Helper()
	switch {
	case c.Frame != nil:
		return c.Frame
	case c.Raw != nil:
		return []byte(*c.Raw)
	case c.Hex != "":
		b, err := hex.DecodeString(c.Hex)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	var b strings.Builder
	for _, piece := range c.Repeat {
		var text string
		if json.Unmarshal(piece, &text) == nil {
			b.WriteString(text)
			continue
		}
		var count int
		if err := json.Unmarshal(piece, &[]any{&text, &count}); err != nil {
			t.Fatal(err)
		}
		b.WriteString(strings.Repeat(text, count))
	}
	if b.Len() == 0 {
		t.Fatal("the case has no frame")
	}
	return []byte(b.String())
}

// becomes returns what must come out of the frame, nil when that is not asserted.
func (c *frameCase) becomes() json.RawMessage {
	if c.Becomes != nil {
		return c.Becomes
	}
	return c.Frame
}

func TestFrames(t *testing.T) {
	t.Parallel()
	for _, c := range frameCases(t) {
		t.Run(c.Side+"/"+c.Name, func(t *testing.T) {
			t.Parallel()
			if c.Side == "client" {
				testCommand(t, &c)
			} else {
				testFrame(t, &c)
			}
		})
	}
}

func testCommand(t *testing.T, c *frameCase) {
	got, err := wire.ParseCommand(c.bytes(t))
	if !c.Valid {
		var e *wire.Error
		switch {
		case !errors.As(err, &e):
			t.Fatalf("parsed to %+v, error %v; want a *wire.Error", got, err)
		case e.Code != c.Code || e.ID != c.ID || e.Topic != c.Topic:
			t.Errorf("error %+v, want code %s, id %d, topic %q", e, c.Code, c.ID, c.Topic)
		case e.Message == "" || e.Retry:
			t.Errorf("error %+v, want a message, and no retry", e)
		case len(e.Message) > 500:
			t.Errorf("the message has %d bytes: a sender gets back more than it needs", len(e.Message))
		}
		if got.ID != c.ID || got.Topic != c.Topic {
			t.Errorf("with the error came %+v, want its id and topic", got)
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	if c.Data != "" && string(got.Data) != c.Data {
		t.Errorf("data %s, want %s", got.Data, c.Data)
	}
	wantJSON(t, got.Append(nil), c.becomes())
}

// An appender is any frame.
type appender interface{ Append([]byte) []byte }

func testFrame(t *testing.T, c *frameCase) {
	got, err := wire.ParseFrame(c.bytes(t))
	switch {
	case !c.Valid:
		if err == nil || got != nil {
			t.Errorf("parsed to %+v, error %v", got, err)
		}
	case err != nil:
		t.Error(err)
	case c.Ignored:
		if got != nil {
			t.Errorf("parsed to %+v, want nothing", got)
		}
	case got == nil:
		t.Error("ignored")
	default:
		wantJSON(t, got.(appender).Append(nil), c.becomes())
	}
}

// wantJSON compares a frame with what it must say, where that is asserted.
func wantJSON(t *testing.T, got []byte, want json.RawMessage) {
	t.Helper()
	if !json.Valid(got) {
		t.Fatalf("not JSON: %s", got)
	}
	if want != nil && !equalJSON(t, got, want) {
		t.Errorf("says %s, want %s", got, want)
	}
}

// Every type of frame has a case.
func TestFramesAreComplete(t *testing.T) {
	t.Parallel()
	missing := map[string]bool{}
	for _, typ := range []string{"hello", "join", "leave", "publish", "signal", "history", "members", "read", "ping"} {
		missing["client "+typ] = true
	}
	for _, typ := range []string{"welcome", "ok", "message", "signal", "presence", "read", "skip", "reset", "error", "goodbye", "history", "members"} {
		missing["server "+typ] = true
	}
	for _, c := range frameCases(t) {
		var f struct{ Type string }
		if c.Valid && c.Frame != nil && json.Unmarshal(c.Frame, &f) == nil {
			delete(missing, c.Side+" "+f.Type)
		}
	}
	if len(missing) > 0 {
		t.Errorf("no valid case of %v", missing)
	}
}
