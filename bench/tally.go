package bench

// A tally counts what came to all sessions, and what should have.
type tally struct {
	received   uint64 // messages, each counted once
	doubled    uint64 // messages that came again
	missing    uint64 // messages that never came
	disordered uint64 // messages that came after a newer one
}

// A cursor is how far one session has got in its room: up to offset, but for the holes.
type cursor struct {
	offset uint64
	holes  []hole // nearly always none
}

type hole struct{ from, to uint64 } // both included

// take counts the message, or the skip, of one offset.
func (t *tally) take(c *cursor, offset uint64, message bool) {
	switch {
	case offset == c.offset+1:
		c.offset = offset
	case offset > c.offset:
		t.missing += offset - c.offset - 1
		c.holes = append(c.holes, hole{c.offset + 1, offset - 1})
		c.offset = offset
	case c.fill(offset):
		t.missing--
		t.disordered++
	default:
		t.doubled++
		return
	}
	if message {
		t.received++
	}
}

// fill takes offset out of the holes.
func (c *cursor) fill(offset uint64) bool {
	for i, h := range c.holes {
		if offset < h.from || offset > h.to {
			continue
		}
		c.holes = append(c.holes[:i], c.holes[i+1:]...)
		if h.from < offset {
			c.holes = append(c.holes, hole{h.from, offset - 1})
		}
		if offset < h.to {
			c.holes = append(c.holes, hole{offset + 1, h.to})
		}
		return true
	}
	return false
}

// end counts what did not come up to the head.
func (t *tally) end(c *cursor, head uint64) {
	if head > c.offset {
		t.missing += head - c.offset
		c.offset = head
	}
}
