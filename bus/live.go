package bus

import (
	"errors"
	"strconv"
	"strings"
)

// What a topic's live channel in Redis carries begins with a byte that tells its kind;
// other kinds are ignored.
//
//	m<epoch> SP <offset> SP <record>   a message
//	s<payload>                         a signal
//
// The log holds the same record of each message, which names no session or payload
// without its length:
//
//	record = <Unix ms> SP <body>
//	body   = <number of Except> SP { <length> SP <session> } <payload>
//
// The node makes the body, the script puts epoch, offset and time before it.
const (
	liveMessage = 'm'
	liveSignal  = 's'
)

var errRecord = errors.New("bus: not a message of this bus")

// appendBody appends the body of d.
func appendBody(b []byte, d Draft) []byte {
	b = strconv.AppendInt(b, int64(len(d.Except)), 10)
	b = append(b, ' ')
	for _, s := range d.Except {
		b = strconv.AppendInt(b, int64(len(s)), 10)
		b = append(b, ' ')
		b = append(b, s...)
	}
	return append(b, d.Payload...)
}

// parseLive parses a message as it came over the live channel, its kind included.
func parseLive(s string) (epoch string, e Entry, err error) {
	if s == "" || s[0] != liveMessage {
		return "", Entry{}, errRecord
	}
	epoch, s, _ = strings.Cut(s[1:], " ")
	offset, s, ok := cutUint(s)
	if !ok || epoch == "" || offset == 0 {
		return "", Entry{}, errRecord
	}
	e, err = parseRecord(offset, s)
	return epoch, e, err
}

// parseRecord parses a record of the log.
func parseRecord(offset uint64, s string) (Entry, error) {
	time, s, ok := cutUint(s)
	n, s, ok2 := cutUint(s)
	if !ok || !ok2 || n > uint64(len(s)) {
		return Entry{}, errRecord
	}
	e := Entry{Offset: offset, Time: int64(time)}
	for range n {
		var size uint64
		if size, s, ok = cutUint(s); !ok || size > uint64(len(s)) {
			return Entry{}, errRecord
		}
		e.Except = append(e.Except, strings.Clone(s[:size]))
		s = s[size:]
	}
	if s == "" {
		return Entry{}, errRecord
	}
	e.Payload = []byte(s)
	return e, nil
}

// cutUint cuts a decimal number and a space off s. It takes numbers up to 2^53, which
// Lua can count with.
func cutUint(s string) (n uint64, rest string, ok bool) {
	digits, rest, ok := strings.Cut(s, " ")
	if !ok {
		return 0, "", false
	}
	n, err := strconv.ParseUint(digits, 10, 53)
	return n, rest, err == nil
}
