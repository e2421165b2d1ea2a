package node

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"

	"github.com/coder/websocket"

	"github.com/rookery-chat/rookery/wire"
)

// webSocketInput reads the messages of a WebSocket, with a library that it borrows.
type webSocketInput struct {
	session *session // Fixed at construction.
	lent    *library // Owned by the reader. Nil while nothing is left of what was read.
}

func (in *webSocketInput) idle() bool {
	if in.lent == nil {
		return true
	}
	if in.lent.buffer.Buffered() > 0 {
		return false
	}
	in.lent.giveBack()
	in.lent = nil
	return true
}

func (in *webSocketInput) more() bool {
	if in.lent == nil {
		return false
	}
	p, _ := in.lent.buffer.Peek(in.lent.buffer.Buffered())
	return wire.WholeText(p)
}

func (in *webSocketInput) borrow() *library {
	if in.lent == nil {
		in.lend(borrowLibrary())
	}
	return in.lent
}

func (in *webSocketInput) lend(l *library) {
	s := in.session
	l.port.socket, l.session = s.socket, s
	l.ws.SetReadLimit(int64(s.node.maxFrame))
	l.frames = wire.FrameCounter{}
	in.lent = l
}

func (in *webSocketInput) count(p []byte, most int) (size, frames int, err error) {
	size, frames = in.lent.frames.Count(p, most)
	if in.lent.frames.Pieces > mostPieces {
		err = errPieces
	}
	return size, frames, err
}

// mostPieces is how many a message may have. WebSocket libraries make pieces of some kilobytes, if any; and
// who sends empty ones could go on for ever, without a word that the node answers.
const mostPieces = 1000

var errPieces = errors.New("too many pieces")

func (in *webSocketInput) next(b *bytes.Buffer) error {
	l := in.borrow()
	switch found, err := l.heartbeat(); {
	case err != nil:
		return err
	case found:
		return errBlank
	}
	typ, r, err := l.ws.Reader(context.Background())
	if err != nil {
		return in.explain(err)
	}
	if typ != websocket.MessageText {
		l.unread = r
		return &breach{wire.CloseUnsupported, refusal(wire.BadRequest, "binary frame: send text frames")}
	}
	if _, err = b.ReadFrom(r); err != nil {
		return in.explain(err)
	}
	if in.session.socket.lost { // between two fragments, the library takes that for the message's end
		return in.explain(io.ErrUnexpectedEOF)
	}
	return nil
}

// explain makes a breach of an error of the library that is neither the connection's end nor that of
// a message too large, of which it has told the peer. Of some breaches it tells nobody.
func (in *webSocketInput) explain(err error) error {
	if in.lent.frames.Pieces > mostPieces {
		in.lent.broken = true
		return &breach{wire.ClosePolicy, refusal(wire.BadRequest, fmt.Sprintf("a message in more than %d pieces: send it in fewer", mostPieces))}
	}
	if in.session.socket.lost || websocket.CloseStatus(err) >= 0 || errors.Is(err, websocket.ErrMessageTooBig) {
		return err
	}
	in.lent.broken = true
	return &breach{wire.CloseProtocol, refusal(wire.BadRequest, "a malformed WebSocket frame: see RFC 6455")}
}

// discard goes on, so that the peer's close frame is seen.
func (in *webSocketInput) discard() {
	l := in.borrow()
	if l.broken {
		return
	}
	if l.unread != nil {
		io.Copy(io.Discard, l.unread) // else what it holds would be taken for frames
	}
	for {
		_, r, err := l.ws.Reader(context.Background())
		if err != nil {
			return
		}
		io.Copy(io.Discard, r)
	}
}

func (in *webSocketInput) close() {
	if in.lent != nil {
		in.lent.ws.CloseNow()
	}
}

// A library is a connection of the WebSocket library, which reads and checks messages. Between
// two of them it holds nothing of the session that has it, so that sessions can share a few.
type library struct {
	ws     *websocket.Conn // Fixed at construction.
	buffer *bufio.Reader   // what ws reads from; itself it reads from port. Fixed at construction.

	// Owned by the reader of the session that has it.
	session *session
	port    port
	frames  wire.FrameCounter // of what port has read
	unread  io.Reader         // of a message that is refused
	broken  bool              // no frames can be found any more in what comes
	spent   bool              // not to be lent again
}

// A port is the net.Conn of a library: the socket of the session that has it.
type port struct{ *socket }

const (
	readBuffer  = 4 << 10 // what is larger is read past it; what is smaller can be read and handled together
	writeBuffer = 132     // holds a whole control frame: less would split a pong
)

// libraries has some that no session needs now. It is no sync.Pool, which would keep all that a storm
// of connects leaves until their finalizers have run.
var libraries = make(chan *library, 256)

// borrowLibrary returns a library without a socket.
func borrowLibrary() *library {
	select {
	case l := <-libraries:
		return l
	default:
	}
	l, err := newLibrary(unseen{}, handshake, &websocket.AcceptOptions{}, readBuffer, func() (*socket, error) { return nil, nil })
	if err != nil {
		panic(err) // cannot be, as TestLibrary shows
	}
	return l
}

// giveBack takes a library that is between two messages.
func (l *library) giveBack() {
	l.port.socket, l.session = nil, nil
	if !l.spent {
		select {
		case libraries <- l:
			return
		default:
		}
	}
	l.ws.CloseNow()
}

// newLibrary accepts a connection, of which take returns the socket. It reads by so many bytes.
func newLibrary(w http.ResponseWriter, r *http.Request, opts *websocket.AcceptOptions, buffer int, take func() (*socket, error)) (*library, error) {
	l := &library{}
	// It sets a time for each control frame that it reads, and closes itself when that is over.
	opts.OnPingReceived = func(context.Context, []byte) bool { l.spent = true; return true }
	opts.OnPongReceived = func(context.Context, []byte) { l.spent = true }
	opts.CompressionMode = websocket.CompressionDisabled // a frame is encoded once, for all
	var err error
	if l.ws, err = websocket.Accept(&hijacker{ResponseWriter: w, lent: l, buffer: buffer, take: take}, r, opts); err != nil {
		return nil, err
	}
	l.buffer.Reset(&l.port) // not by way of what the library put before it
	return l, nil
}

// A hijacker gives the WebSocket library our socket, with small buffers.
type hijacker struct {
	http.ResponseWriter
	lent   *library
	buffer int // of the reader
	take   func() (*socket, error)
}

func (h *hijacker) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	k, err := h.take()
	if err != nil {
		return nil, nil, err
	}
	l := h.lent
	l.port.socket = k
	l.buffer = bufio.NewReaderSize(&l.port, h.buffer)
	return &l.port, bufio.NewReadWriter(l.buffer, bufio.NewWriterSize(&l.port, writeBuffer)), nil
}

// To accept a connection is the only way to a library. Where there is no connection, it accepts a
// handshake that nobody sent, and nobody sees the answer.
var handshake = &http.Request{Method: http.MethodGet, ProtoMajor: 1, ProtoMinor: 1, Header: http.Header{
	"Connection": {"Upgrade"}, "Upgrade": {"websocket"},
	"Sec-Websocket-Version": {"13"}, "Sec-Websocket-Key": {"AAAAAAAAAAAAAAAAAAAAAA=="},
}}

type unseen struct{}

func (unseen) Header() http.Header         { return make(http.Header) }
func (unseen) Write(p []byte) (int, error) { return len(p), nil }
func (unseen) WriteHeader(int)             {}

// heartbeat takes a ping or a pong off, and answers the ping. The library would do that too, but then
// go on until there is a message. What is not there as a whole is left to it.
func (l *library) heartbeat() (found bool, err error) {
	if _, err := l.buffer.Peek(1); err != nil {
		return false, err
	}
	p, _ := l.buffer.Peek(l.buffer.Buffered())
	size, answer := wire.Heartbeat(p)
	l.buffer.Discard(size)
	if answer != nil {
		_, err = l.port.Write(answer)
	}
	return size > 0, err
}
