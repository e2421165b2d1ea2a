package node

import (
	"encoding/json"
	"strings"

	"github.com/rookery-chat/rookery/wire"
)

// A kind is how a session's peer speaks: rookery.v1 in WebSocket frames or lines, or plain
// text. Its methods return ready-made bytes, nil for what this kind does not show.
type kind interface {
	// begin is what a session does before its first frame. An error ends the session.
	begin(s *session) error
	// handle does what the peer wants with its next frame or text. An error ends the session.
	handle(s *session, b []byte) error
	// heartbeat takes p apart when it is one ping or pong, and nothing else.
	heartbeat(p []byte) (heartbeat, bool)
	message(f *frame, s *session) []byte
	signal(f *frame) []byte
	own(json []byte) []byte // a reply, a reset, a goodbye
	presence(f *rosterFrame) []byte
	ping() []byte // nil: the node asks for no signs of life
	// close is what the session ends with. The goodbye, if any, is told where it can be.
	close(g *wire.Goodbye, code wire.CloseCode, reason string) []byte
}

// protocolKind speaks rookery.v1 in WebSocket frames.
type protocolKind struct{}

func (protocolKind) begin(s *session) error            { return s.awaitHello() }
func (protocolKind) handle(s *session, b []byte) error { return s.handleFrame(b) }

func (protocolKind) heartbeat(p []byte) (heartbeat, bool) {
	if h, ok := controlHeartbeat(p); ok {
		return h, true
	}
	var short [125]byte
	size, text := wire.ShortText(short[:0], p)
	if size == 0 || size != len(p) {
		return heartbeat{}, false
	}
	return textHeartbeat(text)
}

func (protocolKind) ping() []byte { return pingFrame }

func (protocolKind) close(g *wire.Goodbye, code wire.CloseCode, reason string) []byte {
	var b []byte
	if g != nil {
		b = textFrame(g.Append(nil))
	}
	return wire.AppendClose(b, code, reason)
}

// pingFrame is the one WebSocket ping that every session is sent.
var pingFrame = wire.AppendPing(nil)

func (protocolKind) message(f *frame, s *session) []byte {
	if len(f.except) > 0 && f.excludes(s) {
		return textFrame(wire.Skip{Topic: f.topic, Offset: f.offset}.Append(nil))
	}
	return f.text()
}

func (protocolKind) signal(f *frame) []byte         { return f.text() }
func (protocolKind) own(json []byte) []byte         { return textFrame(json) }
func (protocolKind) presence(f *rosterFrame) []byte { return f.text() }

// plainKind is for any WebSocket peer that knows no protocol: strings come as text,
// other data as JSON, joins and leaves as lines.
type plainKind struct {
	user  string // "": the token or the first text says it
	topic string // where texts go
}

func (k plainKind) begin(s *session) error            { return s.beginPlain(k.user, k.topic) }
func (k plainKind) handle(s *session, b []byte) error { return s.handleText(b, k.topic) }

func (plainKind) heartbeat(p []byte) (heartbeat, bool) { return controlHeartbeat(p) }

func (plainKind) ping() []byte { return pingFrame }

func (plainKind) close(_ *wire.Goodbye, code wire.CloseCode, reason string) []byte {
	return wire.AppendClose(nil, code, reason)
}

func (plainKind) message(f *frame, s *session) []byte {
	if f.payload == nil || f.excludes(s) {
		return nil
	}
	if b := f.plain.Load(); b != nil {
		return *b
	}
	b := textFrame(plainText(f.payload))
	f.plain.Store(&b)
	return b
}

// plainText is the data of a stored payload, a string without its quotes.
func plainText(payload []byte) []byte {
	m, err := wire.ParsePayload(payload)
	if err != nil {
		return nil
	}
	var text string
	if json.Unmarshal(m.Data, &text) == nil {
		return []byte(text)
	}
	return m.Data
}

func (plainKind) signal(*frame) []byte { return nil }

// own shows errors only: replies and resets mean nothing without the protocol.
func (plainKind) own(json []byte) []byte {
	if f, _ := wire.ParseFrame(json); f != nil {
		if e, ok := f.(*wire.Error); ok {
			return textFrame([]byte("! " + e.Message))
		}
	}
	return nil
}

func (plainKind) presence(f *rosterFrame) []byte {
	var b strings.Builder
	for _, user := range f.Joined {
		b.WriteString("* " + user + " joined\n")
	}
	for _, user := range f.Left {
		b.WriteString("* " + user + " left\n")
	}
	if b.Len() == 0 {
		return nil
	}
	return textFrame([]byte(strings.TrimSuffix(b.String(), "\n")))
}
