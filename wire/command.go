package wire

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
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
	maxEpoch    = 64           // bytes of an epoch
	maxCursor   = 256          // bytes of a cursor of members
)

// raw holds a command's values as they stand in JSON, nil where the frame has none.
type raw struct {
	typ, id, topic, token, user, was, resume, after, recent, presence,
	data, key, echo, before, limit, offset, cursor, reads []byte
}

// field returns where the value of a member goes, nil for a name that means nothing.
func (r *raw) field(name string) *[]byte {
	switch name {
	case "type":
		return &r.typ
	case "id":
		return &r.id
	case "topic":
		return &r.topic
	case "token":
		return &r.token
	case "user":
		return &r.user
	case "was":
		return &r.was
	case "resume":
		return &r.resume
	case "after":
		return &r.after
	case "recent":
		return &r.recent
	case "presence":
		return &r.presence
	case "data":
		return &r.data
	case "key":
		return &r.key
	case "echo":
		return &r.echo
	case "before":
		return &r.before
	case "limit":
		return &r.limit
	case "offset":
		return &r.offset
	case "cursor":
		return &r.cursor
	case "reads":
		return &r.reads
	}
	return nil
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

// ParseCommand reads one frame from a client. Names come back in NFC, Data compacted. Data may
// be a part of b: it is good for as long as b does not change.
//
// The error is a *Error that says what to do, with the frame's id and topic where they could be
// read; the Command then has those too, and its type. Field names count as they are written, a
// field that is null is as good as missing (but null is data), one that stands twice is
// refused, unknown ones are ignored.
func ParseCommand(b []byte) (Command, error) {
	if err := validObject(b); err != nil {
		return Command{}, bad("%s: send one JSON object in UTF-8 a frame", err)
	}
	var p commandParser
	var r raw
	spaced, err := inspect(b, MaxDepth)
	if err != nil {
		p.fail(bad("%s", err)) // the id can be read all the same
	}
	p.spaced = spaced
	for name, value := range members(b) {
		p.keep(&r, name, value)
	}
	c := p.parse(&r)
	if p.err != nil {
		p.err.ID, p.err.Topic = c.ID, c.Topic
		return Command{Type: c.Type, ID: c.ID, Topic: c.Topic}, p.err
	}
	return c, nil
}

// Ping reads a frame that is a ping, written as our clients write it. Of any other frame it says
// no: that is ParseCommand's, also when it is a ping.
func Ping(b []byte) (id uint64, ok bool) {
	rest, ok := bytes.CutPrefix(b, []byte(`{"type":"ping"`))
	if !ok || len(rest) == 0 || rest[len(rest)-1] != '}' {
		return 0, false
	}
	if rest = rest[:len(rest)-1]; len(rest) == 0 {
		return 0, true
	}
	digits, ok := bytes.CutPrefix(rest, []byte(`,"id":`))
	if !ok || len(digits) == 0 || digits[0] < '1' {
		return 0, false
	}
	for _, c := range digits {
		if c < '0' || c > '9' {
			return 0, false
		}
	}
	id, err := strconv.ParseUint(string(digits), 10, 53)
	return id, err == nil
}

func bad(format string, args ...any) *Error {
	return &Error{Code: BadRequest, Message: fmt.Sprintf(format, args...)}
}

// A commandParser keeps the first error.
type commandParser struct {
	spaced bool // white space stands between tokens
	err    *Error
}

func (p *commandParser) fail(e error) {
	if e == nil || p.err != nil {
		return
	}
	var w *Error
	if errors.As(e, &w) {
		p.err = w
	}
}

// keep puts one member of the frame where it belongs.
func (p *commandParser) keep(r *raw, name, value []byte) {
	field := r.field(string(name[1 : len(name)-1]))
	if field == nil {
		if bytes.IndexByte(name, '\\') < 0 {
			return
		}
		plain, _ := unquote(name)
		if field = r.field(plain); field == nil {
			return
		}
	}
	if *field != nil {
		p.fail(bad("field %s stands twice", name))
	}
	*field = value
}

func (p *commandParser) parse(r *raw) Command {
	c := Command{Type: p.text("type", r.typ), ID: p.number("id", r.id)}
	need, known := needs[c.Type]
	if !known {
		p.fail(bad("unknown type %q", clip(c.Type)))
		return c
	}
	if has(r.id) && c.ID == 0 {
		p.fail(bad("id must be an integer from 1 to 2^53-1"))
	}
	if has(r.topic) {
		topic, err := ParseTopic(p.text("topic", r.topic))
		p.fail(err)
		c.Topic = topic
	} else if need.topic {
		p.fail(bad("%s needs a topic", c.Type))
	}
	if has(r.user) {
		user, err := CheckUser(p.text("user", r.user))
		p.fail(err)
		c.User = user
	}
	c.Token = p.text("token", r.token)
	c.Was = p.short("was", r.was, maxSession)
	c.Key = p.short("key", r.key, maxKey)
	c.Cursor = p.short("cursor", r.cursor, maxCursor)
	c.Presence = p.boolean("presence", r.presence, false)
	c.Reads = p.boolean("reads", r.reads, false)
	c.NoEcho = !p.boolean("echo", r.echo, true)
	if has(r.after) {
		at := p.position("after", r.after)
		c.After = &at
	}
	c.Resume = p.resume(r.resume)
	c.Recent = p.count("recent", r.recent)
	c.Before = p.number("before", r.before)
	c.Limit = p.count("limit", r.limit)
	c.Offset = p.number("offset", r.offset)
	if need.offset && !has(r.offset) {
		p.fail(bad("%s needs an offset", c.Type))
	}
	if c.After != nil && c.Recent > 0 {
		p.fail(bad("give after or recent, not both"))
	}
	if need.data {
		if r.data == nil {
			p.fail(bad("%s needs data", c.Type))
		}
		c.Data = r.data
		if p.spaced && p.err == nil {
			c.Data = compact(r.data)
		}
	}
	return c
}

func has(value []byte) bool { return value != nil && string(value) != "null" }

func (p *commandParser) text(field string, value []byte) string {
	if !has(value) {
		return ""
	}
	s, ok := unquote(value)
	if !ok {
		p.fail(bad("%s must be a string", field))
	}
	return s
}

func (p *commandParser) short(field string, value []byte, most int) string {
	s := p.text(field, value)
	if len(s) > most {
		p.fail(bad("%s is longer than %d bytes", field, most))
	}
	return s
}

func (p *commandParser) boolean(field string, value []byte, otherwise bool) bool {
	switch {
	case !has(value):
		return otherwise
	case string(value) == "true":
		return true
	case string(value) != "false":
		p.fail(bad("%s must be true or false", field))
	}
	return false
}

// number reads an integer that JavaScript, too, counts exactly (RFC 7493, section 2.2).
func (p *commandParser) number(field string, value []byte) uint64 {
	if !has(value) {
		return 0
	}
	v, err := strconv.ParseUint(string(value), 10, 53)
	if err != nil {
		p.fail(bad("%s must be an integer from 0 to 2^53-1", field))
		return 0
	}
	return v
}

// count reads a number of messages; which of the very large ones does not matter.
func (p *commandParser) count(field string, value []byte) int {
	return int(min(p.number(field, value), math.MaxInt32))
}

func (p *commandParser) resume(value []byte) map[string]Position {
	if !has(value) {
		return nil
	}
	if value[0] != '{' {
		p.fail(bad("resume must be an object: topics and their positions"))
		return nil
	}
	resume := make(map[string]Position)
	for quoted, at := range members(value) {
		name, _ := unquote(quoted)
		topic, err := ParseTopic(name)
		if err != nil {
			p.fail(err)
			return nil
		}
		if _, again := resume[topic]; again {
			p.fail(bad("resume has the topic %q twice", topic))
			return nil
		}
		if len(resume) == maxResume {
			p.fail(bad("resume has more than %d topics: join the others after the welcome", maxResume))
			return nil
		}
		resume[topic] = p.position("resume", at)
	}
	return resume
}

func (p *commandParser) position(field string, value []byte) Position {
	if value[0] != '{' {
		p.fail(bad("%s needs an epoch and an offset, as a server gave them", field))
		return Position{}
	}
	var epoch, offset []byte
	for name, v := range members(value) {
		switch name, _ := unquote(name); name {
		case "epoch":
			epoch = v
		case "offset":
			offset = v
		}
	}
	at := Position{Epoch: p.short(field+" epoch", epoch, maxEpoch), Offset: p.number(field+" offset", offset)}
	if at.Epoch == "" || !has(offset) {
		p.fail(bad("%s needs an epoch and an offset, as a server gave them", field))
	}
	return at
}

// ParseData checks what is to be the data of a message and did not come in a frame, and returns
// it compacted, or as it is where there is nothing to remove. What it lets pass, ParseCommand
// would let pass in a publish, and ParseFrame in a message. The error is a *Error.
func ParseData(b []byte) (json.RawMessage, error) {
	if err := valid(b); err != nil {
		return nil, bad("data: %s", err)
	}
	spaced, err := inspect(b, MaxDepth-1)
	if err != nil {
		return nil, bad("data: %s", err)
	}
	if spaced {
		b = compact(b)
	}
	return b, nil
}

// compact removes white space between the tokens of valid JSON.
func compact(data []byte) []byte {
	var b bytes.Buffer
	b.Grow(len(data))
	json.Compact(&b, data) // valid: it was looked at before
	return b.Bytes()
}

// clip keeps a value that is told back to its sender short.
func clip(s string) string {
	const most = 32
	if len(s) <= most {
		return s
	}
	end := most
	for !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end] + "…"
}
