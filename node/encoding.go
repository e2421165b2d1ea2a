package node

import "github.com/rookery-chat/rookery/wire"

// An encoding is one frame's JSON as every session gets it, made once: behind the header
// of a WebSocket frame, and before the end of a line. Its bytes never change.
type encoding struct {
	bytes  []byte
	header int // bytes of the header
}

// text is the JSON as a WebSocket text frame.
func (e encoding) text() []byte { return e.bytes[:len(e.bytes)-1] }

// line is the JSON as a line.
func (e encoding) line() []byte { return e.bytes[e.header:] }

// headerRoom is what the header of a WebSocket frame takes at most.
const headerRoom = 10

// encode makes an encoding of json.
func encode(json []byte) encoding {
	return seal(append(make([]byte, headerRoom, headerRoom+len(json)+1), json...))
}

// seal makes an encoding of buf, which holds JSON behind headerRoom bytes, and then is no more
// the caller's.
func seal(buf []byte) encoding {
	var h [headerRoom]byte
	header := wire.AppendTextHeader(h[:0], len(buf)-headerRoom)
	start := headerRoom - len(header)
	copy(buf[start:], header)
	return encoding{bytes: append(buf, '\n')[start:], header: len(header)}
}

// textFrame makes a WebSocket text frame of json, for one session.
func textFrame(json []byte) []byte {
	return append(wire.AppendTextHeader(make([]byte, 0, len(json)+headerRoom), len(json)), json...)
}
