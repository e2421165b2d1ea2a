package wire

import (
	"maps"
	"slices"
	"strconv"
	"unicode/utf8"
)

// The frames are written by hand: most of them are on the way of every message, where
// reflection would cost more than the rest.

// Append appends the frame's JSON to dst.
func (w Welcome) Append(dst []byte) []byte {
	dst = open(dst, "welcome", w.ID)
	dst = appendField(dst, "session", w.Session)
	dst = appendField(dst, "user", w.User)
	dst = appendField(dst, "node", w.Node)
	dst = strconv.AppendInt(append(dst, `,"heartbeat":`...), int64(w.Heartbeat), 10)
	dst = strconv.AppendInt(append(dst, `,"max_frame":`...), int64(w.MaxFrame), 10)
	dst = append(dst, `,"topics":{`...)
	for i, topic := range slices.Sorted(maps.Keys(w.Topics)) {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(appendString(dst, topic), ':', '{')
		j := w.Topics[topic]
		if j.Err != nil {
			dst = append(dst, `"error":{`...)
			dst = j.Err.appendBody(dst)
			dst = append(dst, '}')
		} else {
			dst = j.appendBody(dst)
		}
		dst = append(dst, '}')
	}
	return append(dst, "}}"...)
}

// appendBody appends the fields without a leading comma.
func (j *Joined) appendBody(dst []byte) []byte {
	dst = append(dst, `"epoch":`...)
	dst = appendString(dst, j.Epoch)
	dst = appendUint(dst, "offset", j.Offset)
	dst = appendUint(dst, "after", j.After)
	dst = appendBool(dst, "recovered", j.Recovered)
	dst = appendUint(dst, "read", j.Read)
	if j.Roster != nil {
		dst = j.Roster.appendFields(dst)
	}
	return dst
}

func (r *Roster) appendFields(dst []byte) []byte {
	if r.encoded != nil {
		return append(dst, r.encoded...)
	}
	dst = appendUint(dst, "version", r.Version)
	dst = strconv.AppendInt(append(dst, `,"online":`...), int64(r.Online), 10)
	dst = appendStrings(dst, "members", r.Members)
	if r.More {
		dst = appendBool(dst, "more", true)
	}
	if r.Next != "" {
		dst = appendField(dst, "next", r.Next)
	}
	return dst
}

// Append appends the frame's JSON to dst.
func (o OK) Append(dst []byte) []byte {
	dst = open(dst, "ok", o.ID)
	if o.Topic != "" {
		dst = appendField(dst, "topic", o.Topic)
	}
	switch {
	case o.Joined != nil:
		dst = o.Joined.appendBody(append(dst, ','))
	case o.Published != nil:
		dst = appendField(dst, "epoch", o.Published.Epoch)
		dst = appendUint(dst, "offset", o.Published.Offset)
		if o.Duplicate {
			dst = appendBool(dst, "duplicate", true)
		}
		if o.Reached != nil {
			dst = strconv.AppendInt(append(dst, `,"reached":`...), int64(*o.Reached), 10)
		}
	}
	return append(dst, '}')
}

// Append appends the frame's JSON to dst.
func (m Message) Append(dst []byte) []byte {
	return AppendMessage(dst, m.Topic, m.Offset, m.Time, AppendPayload(nil, m.From, m.Session, m.To, m.Data))
}

// AppendMessage appends the message frame of a stored payload, which AppendPayload made.
func AppendMessage(dst []byte, topic string, offset uint64, time int64, payload []byte) []byte {
	dst = append(dst, `{"type":"message"`...)
	dst = appendField(dst, "topic", topic)
	dst = appendUint(dst, "offset", offset)
	dst = strconv.AppendInt(append(dst, `,"time":`...), time, 10)
	dst = append(dst, ',')
	return append(dst, payload[1:]...)
}

// Append appends the frame's JSON to dst.
func (s Signal) Append(dst []byte) []byte {
	return AppendSignal(dst, s.Topic, AppendPayload(nil, s.From, s.Session, "", s.Data))
}

// AppendSignal appends the signal frame of a payload, which AppendPayload made.
func AppendSignal(dst []byte, topic string, payload []byte) []byte {
	dst = append(dst, `{"type":"signal"`...)
	dst = appendField(dst, "topic", topic)
	dst = append(dst, ',')
	return append(dst, payload[1:]...)
}

// Append appends the frame's JSON to dst.
func (p Presence) Append(dst []byte) []byte {
	dst = append(dst, `{"type":"presence"`...)
	dst = appendField(dst, "topic", p.Topic)
	if p.Roster != nil {
		return append(p.Roster.appendFields(dst), '}')
	}
	dst = appendUint(dst, "version", p.Version)
	dst = strconv.AppendInt(append(dst, `,"online":`...), int64(p.Online), 10)
	if len(p.Joined) > 0 {
		dst = appendStrings(dst, "joined", p.Joined)
	}
	if len(p.Left) > 0 {
		dst = appendStrings(dst, "left", p.Left)
	}
	return append(dst, '}')
}

// Append appends the frame's JSON to dst.
func (r Read) Append(dst []byte) []byte {
	dst = append(dst, `{"type":"read"`...)
	dst = appendField(dst, "topic", r.Topic)
	dst = appendField(dst, "from", r.From)
	return append(appendUint(dst, "offset", r.Offset), '}')
}

// Append appends the frame's JSON to dst.
func (s Skip) Append(dst []byte) []byte {
	dst = append(dst, `{"type":"skip"`...)
	dst = appendField(dst, "topic", s.Topic)
	return append(appendUint(dst, "offset", s.Offset), '}')
}

// Append appends the frame's JSON to dst.
func (r Reset) Append(dst []byte) []byte {
	dst = append(dst, `{"type":"reset"`...)
	dst = appendField(dst, "topic", r.Topic)
	dst = appendField(dst, "epoch", r.Epoch)
	dst = appendUint(dst, "offset", r.Offset)
	dst = appendUint(dst, "after", r.After)
	dst = appendField(dst, "reason", r.Reason)
	return append(appendBool(dst, "recovered", r.Recovered), '}')
}

// Append appends the frame's JSON to dst.
func (e *Error) Append(dst []byte) []byte {
	dst = open(dst, "error", e.ID)
	if e.Topic != "" {
		dst = appendField(dst, "topic", e.Topic)
	}
	return append(e.appendBody(append(dst, ',')), '}')
}

// appendBody appends code, message and retry without a leading comma.
func (e *Error) appendBody(dst []byte) []byte {
	dst = appendString(append(dst, `"code":`...), string(e.Code))
	dst = appendField(dst, "message", e.Message)
	return appendBool(dst, "retry", e.Retry)
}

// Append appends the frame's JSON to dst.
func (g Goodbye) Append(dst []byte) []byte {
	dst = append(dst, `{"type":"goodbye"`...)
	dst = appendField(dst, "code", g.Code)
	dst = appendBool(dst, "reconnect", g.Reconnect)
	dst = strconv.AppendInt(append(dst, `,"after":`...), int64(g.After), 10)
	return append(dst, '}')
}

// Append appends the frame's JSON to dst.
func (h History) Append(dst []byte) []byte {
	dst = open(dst, "history", h.ID)
	dst = appendField(dst, "topic", h.Topic)
	dst = append(dst, `,"messages":[`...)
	for i, m := range h.Messages {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = m.Append(dst)
	}
	dst = append(dst, ']')
	return append(appendBool(dst, "more", h.More), '}')
}

// Append appends the frame's JSON to dst.
func (m Members) Append(dst []byte) []byte {
	dst = open(dst, "members", m.ID)
	dst = appendField(dst, "topic", m.Topic)
	dst = m.Roster.appendFields(dst)
	if m.Reads != nil {
		dst = append(appendName(dst, "reads"), '{')
		for i, user := range slices.Sorted(maps.Keys(m.Reads)) {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = strconv.AppendUint(append(appendString(dst, user), ':'), m.Reads[user], 10)
		}
		dst = append(dst, '}')
	}
	return append(dst, '}')
}

// Append appends the frame's JSON to dst: what a client sends.
func (c Command) Append(dst []byte) []byte {
	dst = open(dst, c.Type, c.ID)
	for _, f := range []struct{ name, value string }{
		{"topic", c.Topic}, {"token", c.Token}, {"user", c.User}, {"was", c.Was}, {"key", c.Key}, {"cursor", c.Cursor},
	} {
		if f.value != "" {
			dst = appendField(dst, f.name, f.value)
		}
	}
	if len(c.Resume) > 0 {
		dst = append(dst, `,"resume":{`...)
		for i, topic := range slices.Sorted(maps.Keys(c.Resume)) {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = append(appendString(dst, topic), ':')
			dst = c.Resume[topic].append(dst)
		}
		dst = append(dst, '}')
	}
	if c.After != nil {
		dst = c.After.append(append(dst, `,"after":`...))
	}
	for _, f := range []struct {
		name  string
		value uint64
	}{{"recent", uint64(c.Recent)}, {"before", c.Before}, {"limit", uint64(c.Limit)}} {
		if f.value != 0 {
			dst = appendUint(dst, f.name, f.value)
		}
	}
	if c.Offset != 0 || c.Type == "read" {
		dst = appendUint(dst, "offset", c.Offset)
	}
	if c.Presence {
		dst = appendBool(dst, "presence", true)
	}
	if c.Reads {
		dst = appendBool(dst, "reads", true)
	}
	if c.NoEcho {
		dst = appendBool(dst, "echo", false)
	}
	if c.Data != nil {
		dst = append(append(dst, `,"data":`...), c.Data...)
	}
	return append(dst, '}')
}

func (p Position) append(dst []byte) []byte {
	dst = appendString(append(dst, `{"epoch":`...), p.Epoch)
	return append(appendUint(dst, "offset", p.Offset), '}')
}

func open(dst []byte, typ string, id uint64) []byte {
	dst = append(append(append(dst, `{"type":"`...), typ...), '"')
	if id != 0 {
		dst = appendUint(dst, "id", id)
	}
	return dst
}

func appendField(dst []byte, name, value string) []byte {
	return appendString(appendName(dst, name), value)
}

func appendUint(dst []byte, name string, value uint64) []byte {
	return strconv.AppendUint(appendName(dst, name), value, 10)
}

func appendBool(dst []byte, name string, value bool) []byte {
	return strconv.AppendBool(appendName(dst, name), value)
}

func appendStrings(dst []byte, name string, values []string) []byte {
	size := len(name) + 256 // what follows too
	for _, v := range values {
		size += len(v) + 3
	}
	dst = append(appendName(slices.Grow(dst, size), name), '[') // rosters are long
	for i, v := range values {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendString(dst, v)
	}
	return append(dst, ']')
}

func appendName(dst []byte, name string) []byte {
	return append(append(append(dst, ',', '"'), name...), '"', ':')
}

const hexDigits = "0123456789abcdef"

// appendString appends s as a JSON string (RFC 8259, section 7). U+2028 and U+2029, which
// JavaScript once took for line ends, are escaped; invalid UTF-8 becomes U+FFFD.
func appendString(dst []byte, s string) []byte {
	dst = append(dst, '"')
	start := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c >= utf8.RuneSelf {
			r, size := utf8.DecodeRuneInString(s[i:])
			switch {
			case r == utf8.RuneError && size == 1:
				dst = utf8.AppendRune(append(dst, s[start:i]...), r)
				start = i + size
			case r == '\u2028', r == '\u2029':
				dst = append(append(append(dst, s[start:i]...), `\u202`...), hexDigits[r&0xf])
				start = i + size
			}
			i += size
			continue
		}
		if c < 0x20 || c == '"' || c == '\\' {
			dst = append(dst, s[start:i]...)
			switch c {
			case '"', '\\':
				dst = append(dst, '\\', c)
			case '\n':
				dst = append(dst, '\\', 'n')
			default:
				dst = append(dst, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&0xf])
			}
			start = i + 1
		}
		i++
	}
	return append(append(dst, s[start:]...), '"')
}
