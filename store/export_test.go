package store

// ParseMark shows parseMark to tests.
func ParseMark(s string) (epoch string, offset uint64, previous string) {
	m := parseMark(s)
	return m.epoch, m.offset, m.previous
}

// ParseTimer, What, ParseMember and Member show how timers and sanctions are read and written.
func ParseTimer(id, what, state string) (Timer, bool) { return parseTimer(id, what, state) }
func What(t Timer) string                             { return t.what() }
func ParseMember(text string) (Sanction, bool)        { return parseMember(text) }
func Member(s Sanction) string                        { return s.member() }
