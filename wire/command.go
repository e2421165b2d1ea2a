package wire

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"unicode/utf8"
)

// Limits of rookery.v1.
const (
	Subprotocol = "rookery.v1" // of the WebSocket handshake
	MaxFrame    = 64 << 10     // bytes of one frame from a client, by default
	MaxDepth    = 64           // nesting of JSON objects and arrays
	MaxReply    = 64 << 10     // bytes after which history and members end with more
	maxKey      = 128          // bytes of a publish's key
	maxResume   = 1000         // topics that one hello resumes
	maxSession  = 64           // bytes of a session id
)

// raw is a command as it stands in JSON. Numbers are checked when read: encoding/json
// would refuse the whole frame, and the error could not name its id.
type raw struct {
	Type     string                `json:"type"`
	ID       json.Number           `json:"id"`
	Topic    *string               `json:"topic"`
	Token    string                `json:"token"`
	User     *string               `json:"user"`
	Was      string                `json:"was"`
	Resume   map[string]*rawCursor `json:"resume"`
	After    *rawCursor            `json:"after"`
	Recent   json.Number           `json:"recent"`
	Presence bool                  `json:"presence"`
	Data     json.RawMessage       `json:"data"`
	Key      string                `json:"key"`
	Echo     *bool                 `json:"echo"`
	Before   json.Number           `json:"before"`
	Limit    json.Number           `json:"limit"`
	Offset   *json.Number          `json:"offset"`
	Cursor   string                `json:"cursor"`
}

type rawCursor struct {
	Epoch  string      `json:"epoch"`
	Offset json.Number `json:"offset"`
}

// needs tells what each type of command must have.
var needs = map[string]struct{ topic, data, offset bool }{
	"hello":   {},
	"join":    {topic: true},
	"leave":   {topic: true},
	"publish": {topic: true, data: true},
	"signal":  {topic: true, data: true},
	"history": {topic: true},
	"members": {topic: true},
	"read":    {topic: true, offset: true},
	"ping":    {},
}

// ParseCommand reads one frame from a client. Names come back in NFC, Data compacted. The
// error is a *Error that says what to do, with the frame's id and topic where they could be read;
// the Command then has those too. Unknown fields are ignored.
func ParseCommand(b []byte) (Command, error) {
	if err := checkJSON(b); err != nil {
		return Command{}, err
	}
	var r raw
	d := json.NewDecoder(bytes.NewReader(b))
	if err := d.Decode(&r); err != nil {
		return Command{}, syntaxError(err)
	}
	if _, err := d.Token(); err != io.EOF {
		return Command{}, bad("one JSON object a frame: something follows it")
	}
	p := commandParser{}
	c := p.parse(&r)
	if p.err != nil {
		p.err.ID, p.err.Topic = c.ID, c.Topic
		return Command{Type: c.Type, ID: c.ID, Topic: c.Topic}, p.err
	}
	return c, nil
}

func bad(format string, args ...any) *Error {
	return &Error{Code: BadRequest, Message: fmt.Sprintf(format, args...)}
}

func syntaxError(err error) *Error {
	var typ *json.UnmarshalTypeError
	if errors.As(err, &typ) && typ.Field != "" {
		return bad("field %q must not be a JSON %s", typ.Field, typ.Value)
	}
	return bad("not a JSON object: send one object a frame")
}

// checkJSON refuses, before any recursive parser sees it, what is not UTF-8 or nested too deep.
func checkJSON(b []byte) error {
	if !utf8.Valid(b) {
		return bad("invalid UTF-8")
	}
	depth, quoted := 0, false
	for i := 0; i < len(b); i++ {
		switch c := b[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{' || c == '[':
			if depth++; depth > MaxDepth {
				return bad("nested deeper than %d", MaxDepth)
			}
		case c == '}' || c == ']':
			depth--
		}
	}
	return nil
}

// A commandParser keeps the first error.
type commandParser struct{ err *Error }

func (p *commandParser) fail(e error) {
	var w *Error
	if e != nil && p.err == nil && errors.As(e, &w) {
		p.err = w
	}
}

func (p *commandParser) parse(r *raw) Command {
	c := Command{Type: r.Type, ID: p.number("id", r.ID)}
	need, known := needs[r.Type]
	if !known {
		p.fail(bad("unknown type %q", clip(r.Type)))
		return c
	}
	if r.ID != "" && c.ID == 0 {
		p.fail(bad("id must be an integer of at least 1"))
	}
	if r.Topic != nil {
		topic, err := ParseTopic(*r.Topic)
		p.fail(err)
		c.Topic = topic
	} else if need.topic {
		p.fail(bad("%s needs a topic", r.Type))
	}
	if r.User != nil {
		user, err := CheckUser(*r.User)
		p.fail(err)
		c.User = user
	}
	c.Token, c.Was, c.Key, c.Cursor = r.Token, r.Was, r.Key, r.Cursor
	c.Presence, c.NoEcho = r.Presence, r.Echo != nil && !*r.Echo
	if len(c.Key) > maxKey {
		p.fail(bad("key is longer than %d bytes", maxKey))
	}
	if len(c.Was) > maxSession {
		p.fail(bad("was is longer than %d bytes", maxSession))
	}
	if r.After != nil {
		at := p.position("after", r.After)
		c.After = &at
	}
	p.resume(&c, r.Resume)
	c.Recent = int(min(p.number("recent", r.Recent), 1<<30))
	c.Before = p.number("before", r.Before)
	c.Limit = int(min(p.number("limit", r.Limit), 1<<30))
	if r.Offset != nil {
		c.Offset = p.number("offset", *r.Offset)
	} else if need.offset {
		p.fail(bad("%s needs an offset", r.Type))
	}
	if c.After != nil && c.Recent > 0 {
		p.fail(bad("give after or recent, not both"))
	}
	if need.data {
		if len(r.Data) == 0 {
			p.fail(bad("%s needs data", r.Type))
		}
		c.Data = compact(r.Data)
	}
	return c
}

func (p *commandParser) resume(c *Command, resume map[string]*rawCursor) {
	if len(resume) == 0 {
		return
	}
	if len(resume) > maxResume {
		p.fail(bad("resume has more than %d topics: join the others after the welcome", maxResume))
		return
	}
	c.Resume = make(map[string]Position, len(resume))
	for name, at := range resume {
		topic, err := ParseTopic(name)
		p.fail(err)
		if at == nil {
			p.fail(bad("resume needs an epoch and an offset for each topic"))
			return
		}
		c.Resume[topic] = p.position("resume", at)
	}
}

func (p *commandParser) position(field string, r *rawCursor) Position {
	if r.Epoch == "" || len(r.Epoch) > maxSession {
		p.fail(bad("%s needs an epoch, as a server gave it", field))
	}
	return Position{Epoch: r.Epoch, Offset: p.number(field+" offset", r.Offset)}
}

func (p *commandParser) number(field string, n json.Number) uint64 {
	if n == "" {
		return 0
	}
	v, err := strconv.ParseUint(string(n), 10, 53) // what JavaScript counts exactly
	if err != nil {
		p.fail(bad("%s must be an integer from 0 to 2^53-1", field))
	}
	return v
}

// compact removes white space between the tokens of valid JSON.
func compact(data []byte) []byte {
	if !bytes.ContainsAny(data, " \t\r\n") {
		return data
	}
	var b bytes.Buffer
	b.Grow(len(data))
	if json.Compact(&b, data) != nil {
		return data // cannot be: the decoder has read it
	}
	return b.Bytes()
}

// clip keeps a value that is told back to its sender short.
func clip(s string) string {
	const most = 32
	if len(s) <= most {
		return s
	}
	return string([]rune(s[:most+3])[:most/4]) + "…"
}
