package wire

import (
	"encoding/binary"
	"unicode/utf8"
)

// The frames of RFC 6455, section 5.2, each a whole one. A server writes them unmasked.
const (
	continuation = 0x00 // of a message that goes on behind it
	control      = 0x08 // a bit of the opcode

	finText  = 0x81
	finClose = 0x88
	finPing  = 0x89
	finPong  = 0x8a
)

// AppendTextHeader appends the header of a text frame whose payload is n bytes: at most 10 bytes.
func AppendTextHeader(dst []byte, n int) []byte { return appendHeader(dst, finText, n) }

// AppendPing appends a whole ping frame.
func AppendPing(dst []byte) []byte { return appendHeader(dst, finPing, 0) }

// AppendClose appends a whole close frame. The reason is cut to the 123 bytes that fit.
func AppendClose(dst []byte, code CloseCode, reason string) []byte {
	const most = 123
	if len(reason) > most {
		end := most
		for end > 0 && !utf8.RuneStart(reason[end]) {
			end--
		}
		reason = reason[:end]
	}
	dst = appendHeader(dst, finClose, 2+len(reason))
	dst = binary.BigEndian.AppendUint16(dst, uint16(code))
	return append(dst, reason...)
}

// ShortText tells how many bytes the text frame takes with which p begins, as clients send them: one
// of at most 125 bytes that is a whole message. It appends the text to dst. The size is 0 when p begins
// with anything else, or not with the whole.
func ShortText(dst, p []byte) (size int, text []byte) {
	if len(p) == 0 || p[0] != finText {
		return 0, dst
	}
	if size = shortFrame(p); size == 0 {
		return 0, dst
	}
	return size, unmask(dst, p[:size])
}

// Heartbeat tells how many bytes the ping or pong takes with which p begins, as clients send them, and
// what to answer: a pong to a ping. It is 0 when p begins with anything else, or not with the whole.
func Heartbeat(p []byte) (size int, answer []byte) {
	if len(p) == 0 || p[0] != finPing && p[0] != finPong {
		return 0, nil
	}
	if size = shortFrame(p); size > 0 && p[0] == finPing {
		n := size - shortHeader
		answer = unmask(appendHeader(make([]byte, 0, 2+n), finPong, n), p[:size])
	}
	return size, answer
}

// shortHeader is the length of the header of a client's frame of at most 125 bytes, with the mask.
const shortHeader = 2 + 4

// shortFrame tells how many bytes such a frame takes, 0 when p does not begin with a whole one.
func shortFrame(p []byte) (size int) {
	const (
		masked = 0x80
		most   = 125
	)
	if len(p) < shortHeader || p[1]&masked == 0 {
		return 0
	}
	n := int(p[1] &^ masked)
	if size = shortHeader + n; n > most || len(p) < size {
		return 0
	}
	return size
}

// unmask appends the payload of a short frame.
func unmask(dst, frame []byte) []byte {
	for i, b := range frame[shortHeader:] {
		dst = append(dst, b^frame[2+i%4])
	}
	return dst
}

// WholeText tells whether p begins with a whole text frame, as clients send them, of less than 64 KiB.
func WholeText(p []byte) bool {
	const header, masked = 2 + 4, 0x80
	if len(p) < header || p[0] != finText || p[1]&masked == 0 {
		return false
	}
	switch n := int(p[1] &^ masked); n {
	case 127:
		return false
	case 126:
		return len(p) >= header+2+int(binary.BigEndian.Uint16(p[2:]))
	default:
		return len(p) >= header+n
	}
}

// A FrameCounter counts the frames in a stream of bytes, as clients send them: also those of which a
// message is made, and the empty ones. It only counts; what breaks the rules is for others to find.
type FrameCounter struct {
	have int    // bytes of a header that has begun
	size int    // of that header, without its mask; known from the second byte on
	rest uint64 // bytes to come of the mask and the payload, or in a header its length so far

	// Pieces of a message that goes on, but for its first.
	Pieces int
}

// Count takes the next bytes of the stream, but none behind so many frames. It returns how many bytes it took, and
// how many headers end in them.
func (c *FrameCounter) Count(p []byte, most int) (size, frames int) {
	for size < len(p) {
		if c.have == 0 && c.rest > 0 {
			n := min(c.rest, uint64(len(p)-size))
			c.rest -= n
			size += int(n)
			continue
		}
		if c.have == 0 && frames == most {
			break
		}
		b := p[size]
		size++
		switch c.have++; {
		case c.have == 1:
			c.size = 2
			if b == continuation {
				c.Pieces++
			} else if b&control == 0 {
				c.Pieces = 0
			}
			continue
		case c.have > 2:
			c.rest = c.rest<<8 | uint64(b)
		case b&0x7f == 126:
			c.size = 4
		case b&0x7f == 127:
			c.size = 10
		default:
			c.rest = uint64(b & 0x7f)
		}
		if c.have == c.size {
			const mask = 4
			c.have, c.rest = 0, c.rest+mask
			frames++
		}
	}
	return size, frames
}

func appendHeader(dst []byte, first byte, n int) []byte {
	switch {
	case n < 126:
		return append(dst, first, byte(n))
	case n < 1<<16:
		return binary.BigEndian.AppendUint16(append(dst, first, 126), uint16(n))
	}
	return binary.BigEndian.AppendUint64(append(dst, first, 127), uint64(n))
}
