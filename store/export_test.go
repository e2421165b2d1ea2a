package store

// ParseMark shows parseMark to tests.
func ParseMark(s string) (epoch string, offset uint64, previous string) {
	m := parseMark(s)
	return m.epoch, m.offset, m.previous
}
