package bench

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// A room is one topic under load, with the beginnings of its frames.
type room struct {
	name    string
	message []byte // {"type":"message","topic":"name","offset":
	skip    []byte // {"type":"skip","topic":"name","offset":
	members int    // sessions that are to get each message
	stored  int    // publishes that were acknowledged
	head    uint64 // the newest offset that was acknowledged
}

func newRoom(name string) *room {
	begin := func(kind string) []byte {
		return fmt.Appendf(nil, `{"type":%q,"topic":%q,"offset":`, kind, name)
	}
	return &room{name: name, message: begin("message"), skip: begin("skip")}
}

// number reads the digits that b begins with. ok is false where there are none.
func number(b []byte) (n uint64, ok bool) {
	for i, c := range b {
		if c < '0' || c > '9' {
			return n, i > 0
		}
		n = n*10 + uint64(c-'0')
	}
	return n, len(b) > 0
}

// field reads the number behind the first `"name":`, given with quotes and colon.
func field(b []byte, name string) (n uint64, ok bool) {
	at := bytes.Index(b, []byte(name))
	if at < 0 {
		return 0, false
	}
	return number(b[at+len(name):])
}

// okBegin begins the answer to a publish.
var okBegin = []byte(`{"type":"ok","id":`)

// A publication is a publish frame that is made once. What changes, its id and the time of sending,
// stands in it with a fixed number of digits.
type publication struct {
	frame      []byte
	id, sentAt int // where they stand
}

const (
	firstID = 1e9  // ten digits
	epoch   = 1e15 // sixteen digits: still an integer that JavaScript holds
	sentTag = `"data":{"t":`
)

// minPayload is the least that holds a time.
const minPayload = 32

// newPublication makes a publish to topic with payload bytes of data.
func newPublication(topic string, payload int, echo bool) *publication {
	text := fmt.Sprintf(`{"type":"publish","id":%d,"topic":%q,`, int(firstID), topic)
	if !echo {
		text += `"echo":false,`
	}
	data := fmt.Sprintf(`{"t":%d,"p":""}`, int(epoch))
	data = strings.Replace(data, `""`, `"`+strings.Repeat("x", max(payload-len(data), 0))+`"`, 1)
	frame := appendFrame(nil, opText, []byte(text+`"data":`+data+"}"))
	return &publication{
		frame:  frame,
		id:     bytes.Index(frame, []byte(`"id":`)) + len(`"id":`),
		sentAt: bytes.Index(frame, []byte(sentTag)) + len(sentTag),
	}
}

// stamp returns the frame with this id and time. It is valid until the next call.
func (p *publication) stamp(id uint64, sent time.Duration) []byte {
	strconv.AppendUint(p.frame[p.id:p.id], id, 10)
	strconv.AppendUint(p.frame[p.sentAt:p.sentAt], epoch+uint64(sent.Microseconds()), 10)
	return p.frame
}

// sentTime finds when a message was sent. ok is false in messages of others.
func sentTime(message []byte) (sent time.Duration, ok bool) {
	n, ok := field(message, sentTag)
	if !ok || n < epoch {
		return 0, false
	}
	return time.Duration(n-epoch) * time.Microsecond, true
}
