package bench

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Opcodes of RFC 6455, section 5.2.
const (
	opContinuation = 0x0
	opText         = 0x1
	opBinary       = 0x2
	opClose        = 0x8
	opPing         = 0x9
	opPong         = 0xa
)

// A frame is one WebSocket frame. Its payload is part of the buffer that it was found in.
type frame struct {
	final   bool
	opcode  byte
	payload []byte
}

// maxPayload bounds a frame's payload: it has to fit into the loop's buffer.
const maxPayload = bufferSize - 14

var errMasked = errors.New("a frame is masked that should not be, or the other way round")

// nextFrame finds the frame that buf begins with, and how long it is: 0 while it is not whole.
// Frames from clients are masked; their payload is unmasked in place.
func nextFrame(buf []byte, masked bool) (f frame, size int, err error) {
	if len(buf) < 2 {
		return frame{}, 0, nil
	}
	const final, reserved, opcode, mask = 0x80, 0x70, 0x0f, 0x80
	f.final, f.opcode = buf[0]&final != 0, buf[0]&opcode
	length, at := uint64(buf[1]&^mask), 2
	control := f.opcode >= opClose
	switch {
	case buf[0]&reserved != 0:
		return frame{}, 0, fmt.Errorf("a frame has reserved bits set: %#x", buf[0])
	case f.opcode > opPong || f.opcode > opBinary && !control:
		return frame{}, 0, fmt.Errorf("a frame has the unknown opcode %#x", f.opcode)
	case (buf[1]&mask != 0) != masked:
		return frame{}, 0, errMasked
	case control && (!f.final || length > 125):
		return frame{}, 0, errors.New("a control frame is fragmented or longer than 125 bytes")
	}
	switch length {
	case 126:
		if at += 2; len(buf) < at {
			return frame{}, 0, nil
		}
		length = uint64(binary.BigEndian.Uint16(buf[2:]))
	case 127:
		if at += 8; len(buf) < at {
			return frame{}, 0, nil
		}
		length = binary.BigEndian.Uint64(buf[2:])
	}
	if length > maxPayload {
		return frame{}, 0, fmt.Errorf("a frame has %d bytes: at most %d are taken", length, maxPayload)
	}
	var key []byte
	if masked {
		if len(buf) < at+4 {
			return frame{}, 0, nil
		}
		key = buf[at : at+4]
		at += 4
	}
	size = at + int(length)
	if len(buf) < size {
		return frame{}, 0, nil
	}
	f.payload = buf[at:size:size]
	if masked && (key[0]|key[1]|key[2]|key[3]) != 0 {
		for i := range f.payload {
			f.payload[i] ^= key[i&3]
		}
	}
	return f, size, nil
}

// appendFrame appends a client's frame. Its mask is zero, so that a frame can be made once and
// changed in place; what a mask protects from, old proxies, is not between a benchmark and its servers.
func appendFrame(dst []byte, opcode byte, payload []byte) []byte {
	const final, mask = 0x80, 0x80
	dst = append(dst, final|opcode)
	switch n := len(payload); {
	case n < 126:
		dst = append(dst, mask|byte(n))
	case n < 1<<16:
		dst = binary.BigEndian.AppendUint16(append(dst, mask|126), uint16(n))
	default:
		dst = binary.BigEndian.AppendUint64(append(dst, mask|127), uint64(n))
	}
	dst = append(dst, 0, 0, 0, 0)
	return append(dst, payload...)
}

// An assembler joins the frames of fragmented messages. The zero value is ready.
type assembler struct {
	parts   []byte
	started bool
}

// add takes a frame that is no control frame, and returns the whole message once it is there. The message
// is valid until the next call.
func (a *assembler) add(f frame) (message []byte, whole bool, err error) {
	if (f.opcode == opContinuation) != a.started {
		return nil, false, errors.New("a continuation without a beginning, or a beginning within a message")
	}
	if !a.started && f.final {
		return f.payload, true, nil // nearly always
	}
	if len(a.parts)+len(f.payload) > maxPayload {
		return nil, false, fmt.Errorf("a message has more than %d bytes", maxPayload)
	}
	a.parts, a.started = append(a.parts, f.payload...), !f.final
	if !f.final {
		return nil, false, nil
	}
	message, a.parts = a.parts, nil
	return message, true, nil
}
