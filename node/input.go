package node

import (
	"bufio"
	"bytes"
	"context"
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
		return err
	}
	if typ != websocket.MessageText {
		return &breach{wire.CloseUnsupported, refusal(wire.BadRequest, "binary frame: send text frames")}
	}
	_, err = b.ReadFrom(r)
	return err // of a frame that is too large the library has told the peer
}

// discard goes on, so that the peer's close frame is seen.
func (in *webSocketInput) discard() {
	for {
		_, r, err := in.ws.Reader(context.Background())
		if err != nil {
			return
		}
		io.Copy(io.Discard, r)
	}
}

func (in *webSocketInput) close() { in.ws.CloseNow() }
