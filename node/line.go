package node

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/rookery-chat/rookery/wire"
)

// lineKind speaks rookery.v1 over raw TCP, one frame a line. The kernel's keepalive finds out
// that a peer is dead, and in place of a close code there is always a goodbye.
type lineKind struct{}

func (lineKind) message(f *frame, s *session) []byte {
	if len(f.except) > 0 && f.excludes(s) {
		return endLine(wire.Skip{Topic: f.topic, Offset: f.offset}.Append(nil))
	}
	return f.line()
}

func (lineKind) begin(s *session) error            { return s.awaitHello() }
func (lineKind) handle(s *session, b []byte) error { return s.handleFrame(b) }

func (lineKind) heartbeat(p []byte) (heartbeat, bool) {
	line, ok := bytes.CutSuffix(p, []byte("\n"))
	if !ok {
		return heartbeat{}, false
	}
	return textHeartbeat(bytes.TrimSuffix(line, []byte("\r")))
}

func (lineKind) signal(f *frame) []byte         { return f.line() }
func (lineKind) own(json []byte) []byte         { return endLine(json) }
func (lineKind) presence(f *rosterFrame) []byte { return f.line() }
func (lineKind) ping() []byte                   { return nil }

func (lineKind) close(g *wire.Goodbye, code wire.CloseCode, _ string) []byte {
	if g == nil {
		g = &wire.Goodbye{Code: code.String(), Reconnect: code.Reconnect()}
	}
	return endLine(g.Append(nil))
}

// endLine makes a line of json, which then is no more the caller's.
func endLine(json []byte) []byte { return append(json, '\n') }

// A lineInput reads lines. It holds a buffer only while there is something in it.
type lineInput struct {
	socket *socket       // Fixed at construction.
	most   int           // bytes of a line. Fixed at construction.
	buffer *bufio.Reader // Owned by the reader. Nil when nothing is in it.
	begun  bool          // the first byte was looked at. Owned by the reader.
}

var lineBuffers = sync.Pool{New: func() any { return bufio.NewReaderSize(nil, 4<<10) }}

var errLeft = errors.New("the peer said its last")

func (in *lineInput) idle() bool {
	if in.buffer != nil && in.buffer.Buffered() > 0 {
		return false
	}
	in.close()
	return true
}

func (in *lineInput) more() bool {
	if in.buffer == nil {
		return false
	}
	p, _ := in.buffer.Peek(in.buffer.Buffered())
	return bytes.IndexByte(p, '\n') >= 0
}

// next reads a line without its end, LF or CRLF. The last one may end with the connection.
func (in *lineInput) next(b *bytes.Buffer) error {
	if in.buffer == nil {
		in.buffer = lineBuffers.Get().(*bufio.Reader)
		in.buffer.Reset(in.socket)
	}
	if !in.begun {
		if err := in.begin(); err != nil {
			return err
		}
	}
	for ended := false; !ended; {
		_, err := in.buffer.Peek(1)
		if err == io.EOF && b.Len() > 0 {
			break
		}
		if err != nil {
			return left(err)
		}
		part, _ := in.buffer.Peek(in.buffer.Buffered())
		if i := bytes.IndexByte(part, '\n'); i >= 0 {
			part, ended = part[:i+1], true
		}
		b.Write(part)
		in.buffer.Discard(len(part))
		if b.Len() > in.most+len("\r\n") {
			return in.tooLong()
		}
	}
	line := bytes.TrimSuffix(bytes.TrimSuffix(b.Bytes(), []byte("\n")), []byte("\r"))
	b.Truncate(len(line))
	switch {
	case len(line) == 0:
		return errBlank
	case len(line) > in.most:
		return in.tooLong()
	case bytes.IndexByte(line, 0) >= 0:
		return &breach{wire.CloseUnsupported, refusal(wire.BadRequest, "a NUL byte: send JSON in UTF-8, one frame a line")}
	}
	return nil
}

// begin tells who speaks something else, such as HTTP or TLS, at once, and not only when a line
// ends. Nothing that follows is looked at: a web page that makes a browser post frames to this
// port gets nowhere.
func (in *lineInput) begin() error {
	first, err := in.buffer.Peek(1)
	switch {
	case err != nil:
		return left(err)
	case bytes.IndexByte([]byte("{ \t\r\n"), first[0]) < 0:
		return &breach{wire.ClosePolicy, refusal(wire.BadRequest, "this is no frame of rookery.v1: send JSON objects, one a line; HTTP, WebSocket and TLS are not spoken on this port")}
	}
	in.begun = true
	return nil
}

// left tells an end that the peer wanted from a connection that was lost.
func left(err error) error {
	if err == io.EOF {
		return errLeft
	}
	return err
}

func (in *lineInput) tooLong() error {
	return &breach{wire.CloseTooBig, refusal(wire.TooLarge, fmt.Sprintf("the line is too long: a frame has at most %d bytes", in.most))}
}

func (in *lineInput) count(p []byte, most int) (size, lines int, err error) {
	for size < len(p) && lines < most {
		n := bytes.IndexByte(p[size:], '\n') + 1
		if n == 0 {
			return len(p), lines, nil
		}
		size, lines = size+n, lines+1
	}
	return size, lines, nil
}

func (in *lineInput) discard() { io.Copy(io.Discard, in.socket) }

func (in *lineInput) close() {
	if in.buffer != nil {
		in.buffer.Reset(nil)
		lineBuffers.Put(in.buffer)
		in.buffer = nil
	}
}
