package node

import (
	"bytes"
	"errors"

	"github.com/rookery-chat/rookery/wire"
)

// An input is where a session's frames come from. It is its reader's.
type input interface {
	// idle reports whether nothing is left of what was read. If so, the input holds no buffers.
	idle() bool
	// next reads one frame into b. A breach among its errors is told to the peer; errBlank says
	// that there was something, but no frame.
	next(b *bytes.Buffer) error
	// more reports whether next returns without waiting for the peer: a whole frame was read already.
	more() bool
	// count takes what has just come in, but nothing behind so many frames, or pieces of them. It tells how many
	// bytes it took, and how many frames those are. An error ends the reading.
	count(p []byte, most int) (size, frames int, err error)
	// discard reads on until the connection ends.
	discard()
	// close gives back what the input holds. The connection is its session's to close.
	close()
}

var errBlank = errors.New("no frame")

// A breach is what a peer sent that cannot go on, and the code to close with.
type breach struct {
	code  wire.CloseCode
	error *wire.Error
}

func (b *breach) Error() string { return b.error.Error() }
