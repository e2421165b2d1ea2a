package store

import (
	"strconv"
	"strings"
)

// A mark is how far a user has read in a topic. markread.lua knows its rules too.
type mark struct {
	epoch    string
	offset   uint64
	previous string // the epoch before
}

// in returns the read offset in epoch.
func (m mark) in(epoch string) uint64 {
	if m.epoch == epoch {
		return m.offset
	}
	return 0
}

// move returns the mark that stands after offset in epoch was read, and whether it is another one.
func (m mark) move(epoch string, offset uint64) (mark, bool) {
	switch {
	case epoch == m.previous, offset <= m.in(epoch):
		return m, false
	case epoch == m.epoch:
		return mark{epoch, offset, m.previous}, true
	default:
		return mark{epoch, offset, m.epoch}, true
	}
}

// parseMark reads a mark as Redis keeps it, "epoch:offset:previous epoch". What is
// nothing of the kind counts as no mark, and the next MarkRead replaces it.
func parseMark(s string) mark {
	f := strings.Split(s, ":")
	if len(f) != 3 {
		return mark{}
	}
	offset, err := strconv.ParseUint(f[1], 10, 53)
	if err != nil {
		return mark{}
	}
	return mark{f[0], offset, f[2]}
}
