package node

import (
	"sync/atomic"

	"github.com/rookery-chat/rookery/bus"
	"github.com/rookery-chat/rookery/wire"
)

// Limits of a topic's ring. A cursor older than the ring reads the log instead.
const (
	ringFrames = 256
	ringBytes  = 256 << 10
)

// A frame is one message, encoded once for every session of this node. Its bytes
// never change.
type frame struct {
	topic  string
	offset uint64   // 0 for a signal
	except []string // sessions that get a skip instead
	encoding

	payload []byte // nil when the message was removed
	plain   atomic.Pointer[[]byte]
}

// newFrame encodes a stored message.
func newFrame(topic string, e bus.Entry) *frame {
	f := &frame{topic: topic, offset: e.Offset, except: e.Except, payload: e.Payload}
	if e.Payload == nil {
		f.encoding = encode(wire.Skip{Topic: topic, Offset: e.Offset}.Append(nil))
		return f
	}
	const fields = 96
	buf := make([]byte, headerRoom, headerRoom+fields+len(topic)+len(e.Payload))
	f.encoding = seal(wire.AppendMessage(buf, topic, e.Offset, e.Time, e.Payload))
	return f
}

// newSignalFrame encodes an unstored message.
func newSignalFrame(topic string, payload []byte) *frame {
	const fields = 48
	buf := make([]byte, headerRoom, headerRoom+fields+len(topic)+len(payload))
	return &frame{topic: topic, payload: payload, encoding: seal(wire.AppendSignal(buf, topic, payload))}
}

func (f *frame) excludes(s *session) bool {
	for _, id := range f.except {
		if id == s.id || (id == s.was && id != "") {
			return true
		}
	}
	return false
}

// A topic is what one shard knows of a topic. Everything in it is guarded by the shard's mu.
type topic struct {
	name   string
	live   bool   // the bus delivers it
	unused uint8  // ticks without a subscription
	epoch  string // of head and ring
	head   uint64 // offset of the newest message heard

	ring      []*frame // contiguous, the last one has offset head; may be empty
	ringBytes int
	subs      []*subscription // active and joining ones
	catchup   *catchup        // nil while every cursor is level
}

// A catchup is what a topic has while somebody needs its log. Most topics, inboxes above
// all, have none. Guarded by shard.mu.
type catchup struct {
	waiting   []*join         // wait until the topic is live
	asking    []*join         // wait for the log's answer
	behind    []*subscription // active ones whose next message is neither in ring nor in page
	reading   bool            // a read of the log is under way
	page      []*frame        // contiguous, from the log, for cursors older than the ring
	pageBytes int
	idle      bool // no cursor used page since the last tick
}

// catching returns the topic's catchup, which it makes if need be.
func (t *topic) catching() *catchup {
	if t.catchup == nil {
		t.catchup = new(catchup)
	}
	return t.catchup
}

// A subscription is one session in one topic: its cursor. Guarded by shard.mu.
type subscription struct {
	topic   *topic
	session *session
	index   int // in topic.subs

	epoch string
	after uint64 // the cursor: the next message is after+1
	state subState

	presence   bool   // gets presence frames
	rosterSeen uint64 // number of the newest presence frame sent, or contained in the roster sent
	resuming   bool   // has not been level since it joined
	stale      bool   // missed a presence frame while it was behind
	isBehind   bool   // in topic.behind
	dirty      bool   // in the session's dirty list
	next       *subscription
}

type subState uint8

const (
	joining subState = iota // its ok is not written yet
	active                  // delivered to
	ended
)

// push appends the newest message.
func (t *topic) push(f *frame) (added int) {
	before := t.ringBytes
	t.head = f.offset
	t.ring = append(t.ring, f)
	t.ringBytes += len(f.bytes)
	for len(t.ring) > ringFrames || (t.ringBytes > ringBytes && len(t.ring) > 1) {
		t.ringBytes -= len(t.ring[0].bytes)
		t.ring[0] = nil
		t.ring = t.ring[1:]
	}
	return t.ringBytes - before
}

// extend puts older messages before the ring, as many as its limits permit. frames
// must follow each other up to the ring's beginning.
func (t *topic) extend(frames []*frame) (added int) {
	first := t.head + 1
	if len(t.ring) > 0 {
		first = t.ring[0].offset
	}
	end := len(frames)
	for end > 0 && frames[end-1].offset >= first {
		end--
	}
	if end == 0 || frames[end-1].offset+1 != first {
		return 0
	}
	start, bytes := end, t.ringBytes
	for start > 0 && len(t.ring)+end-start < ringFrames && bytes+len(frames[start-1].bytes) <= ringBytes {
		start--
		bytes += len(frames[start].bytes)
	}
	added = bytes - t.ringBytes
	t.ring = append(append(make([]*frame, 0, end-start+len(t.ring)), frames[start:end]...), t.ring...)
	t.ringBytes = bytes
	return added
}

// setPage replaces the page.
func (c *catchup) setPage(frames []*frame) (added int) {
	added = -c.pageBytes
	c.page, c.pageBytes = frames, 0
	for _, f := range frames {
		c.pageBytes += len(f.bytes)
	}
	c.idle = false
	return added + c.pageBytes
}

// tick drops what nobody used since the last tick.
func (t *topic) tick() (freed int) {
	c := t.catchup
	if c == nil || c.reading || len(c.waiting)+len(c.asking)+len(c.behind) > 0 {
		return 0
	}
	if !c.idle {
		c.idle = true
		return 0
	}
	t.catchup = nil
	return c.pageBytes
}

// clear empties the ring and the page.
func (t *topic) clear() (freed int) {
	freed = t.ringBytes
	t.ring, t.ringBytes = nil, 0
	if t.catchup != nil {
		freed -= t.catchup.setPage(nil)
	}
	return freed
}

// find returns the message with the given offset from the ring or the page, or nil.
func (t *topic) find(offset uint64) *frame {
	if n := uint64(len(t.ring)); n > 0 && offset <= t.head && offset+n > t.head {
		return t.ring[n-1-(t.head-offset)]
	}
	c := t.catchup
	if c == nil || len(c.page) == 0 {
		return nil
	}
	if first := c.page[0].offset; offset >= first && offset-first < uint64(len(c.page)) {
		c.idle = false
		return c.page[offset-first]
	}
	return nil
}

// covers reports whether everything after the cursor is at hand.
func (t *topic) covers(after uint64) bool {
	return after >= t.head || after+uint64(len(t.ring)) >= t.head
}

func (t *topic) add(sub *subscription) {
	sub.index = len(t.subs)
	t.subs = append(t.subs, sub)
	t.unused = 0
}

func (t *topic) remove(sub *subscription) {
	last := len(t.subs) - 1
	t.subs[sub.index] = t.subs[last]
	t.subs[sub.index].index = sub.index
	t.subs[last] = nil
	t.subs = t.subs[:last]
	sub.state = ended
}
