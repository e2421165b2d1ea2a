package bus

// pageBytes bounds the payloads of one Page, so that neither side ever holds
// more of a log than that at once.
const pageBytes = 256 << 10

// A Page is a part of a log, read atomically: the entries follow each other
// without holes. First is the offset of the oldest entry that the log still holds
// (Head+1 when it holds none). Previous is where the epoch before this one ended,
// as far as the log knows it (zero when there was none).
type Page struct {
	Epoch    string
	First    uint64
	Head     uint64
	Previous Position
	Entries  []Entry
}

// Judge tells where a cursor goes on in the log of p: at after, in p.Epoch.
// Recovered is true when nothing between the cursor and after was lost. Reason is
// "" when the cursor stands as it is, "epoch" when the log's life changed, and
// "trimmed" when the log no longer holds what followed the cursor.
//
//   - The same epoch: the cursor stands while the log holds what follows it; one
//     ahead of the head simply waits.
//   - The epoch before this one: offsets continued over the change, so the cursor goes on
//     where it is. A cursor beyond the end of that epoch saw messages that the log has lost
//     since: it goes back to that end, and is not recovered.
//   - Any other epoch tells nothing about this log: the cursor goes on at the oldest entry.
//   - A cursor without an epoch (one that joins from now on) goes on at the head.
func (p Page) Judge(cursor Position) (after uint64, reason string, recovered bool) {
	oldest := p.First - 1 // the first place from which the log is whole
	switch cursor.Epoch {
	case p.Epoch:
		if cursor.Offset >= oldest {
			return cursor.Offset, "", true
		}
		return oldest, "trimmed", false
	case "":
		return p.Head, "", true
	case p.Previous.Epoch:
		after = min(cursor.Offset, p.Previous.Offset)
		if after < oldest {
			return oldest, "epoch", false
		}
		return after, "epoch", after == cursor.Offset
	}
	return oldest, "epoch", false
}
