package node

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"

	"github.com/coder/websocket"

	"github.com/rookery-chat/rookery/wire"
)

// An input is where a session's frames come from. It is its reader's.
type input interface {
	// await waits, on little stack and without a buffer, until there is something to read.
	await() error
	// next reads one frame into b. A breach among its errors is told to the peer.
	next(b *bytes.Buffer) error
	// discard reads on until the connection ends.
	discard()
	// close gives back what the input holds. The connection is its session's to close.
	close()
}

// A breach is what a peer sent that cannot go on, and the code to close with.
type breach struct {
	code  wire.CloseCode
	error *wire.Error
}

func (b *breach) Error() string { return b.error.Error() }

// webSocketInput reads the messages of a WebSocket.
type webSocketInput struct {
	ws     *websocket.Conn // Fixed at construction.
	buffer *bufio.Reader   // what ws reads from. Fixed at construction.
	socket *socket         // Fixed at construction.
	unread io.Reader       // of a message that is refused. Owned by the reader.
	broken bool            // no frames can be found any more in what comes. Owned by the reader.
}

func (in *webSocketInput) await() error {
	if in.buffer.Buffered() > 0 {
		return nil
	}
	return in.socket.awaitInput()
}

func (in *webSocketInput) next(b *bytes.Buffer) error {
	typ, r, err := in.ws.Reader(context.Background())
	if err != nil {
		return in.explain(err)
	}
	if typ != websocket.MessageText {
		in.unread = r
		return &breach{wire.CloseUnsupported, refusal(wire.BadRequest, "binary frame: send text frames")}
	}
	if _, err = b.ReadFrom(r); err != nil {
		return in.explain(err)
	}
	return nil
}

// explain makes a breach of an error of the library that is neither the connection's end nor that of
// a message too large, of which it has told the peer. Of some breaches it tells nobody.
func (in *webSocketInput) explain(err error) error {
	if in.socket.lost || websocket.CloseStatus(err) >= 0 || errors.Is(err, websocket.ErrMessageTooBig) {
		return err
	}
	in.broken = true
	return &breach{wire.CloseProtocol, refusal(wire.BadRequest, "a malformed WebSocket frame: see RFC 6455")}
}

// discard goes on, so that the peer's close frame is seen.
func (in *webSocketInput) discard() {
	if in.broken {
		return
	}
	if in.unread != nil {
		io.Copy(io.Discard, in.unread) // else what it holds would be taken for frames
	}
	for {
		_, r, err := in.ws.Reader(context.Background())
		if err != nil {
			return
		}
		io.Copy(io.Discard, r)
	}
}

func (in *webSocketInput) close() { in.ws.CloseNow() }
