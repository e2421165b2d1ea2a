package bench

import (
	"testing"
	"time"
)

var (
	AppendFrame = appendFrame
	Field       = field
)

// Split returns the messages of a server's bytes that come in pieces.
func Split(pieces ...[]byte) (messages []string, err error) {
	var rest []byte
	var parts assembler
	for _, piece := range pieces {
		rest = append(rest, piece...)
		for {
			f, size, err := nextFrame(rest, false)
			if err != nil {
				return messages, err
			}
			if size == 0 {
				break
			}
			rest = rest[size:]
			if f.opcode >= opClose {
				continue
			}
			message, whole, err := parts.add(f)
			if err != nil {
				return messages, err
			}
			if whole {
				messages = append(messages, string(message))
			}
		}
	}
	return messages, nil
}

// Tally counts the offsets that one session gets, up to head.
func Tally(head uint64, offsets ...uint64) (received, doubled, missing, disordered uint64) {
	var t tally
	var c cursor
	for _, o := range offsets {
		t.take(&c, o, true)
	}
	t.end(&c, head)
	return t.received, t.doubled, t.missing, t.disordered
}

type Publication struct{ *publication }

func NewPublication(topic string, payload int, echo bool) Publication {
	return Publication{newPublication(topic, payload, echo)}
}

func (p Publication) Stamp(id uint64, sent time.Duration) []byte { return p.stamp(id, sent) }

var SentTime = sentTime

// Unmask returns what a client's frame holds.
func Unmask(t *testing.T, b []byte) []byte {
	t.Helper()
	f, size, err := nextFrame(b, true)
	if err != nil || size != len(b) || f.opcode != opText || !f.final {
		t.Fatalf("not one text frame: %+v, %d of %d bytes, %v", f, size, len(b), err)
	}
	return f.payload
}
