// Package bus carries messages between the nodes of a cluster and keeps each
// topic's recent log.
package bus

import (
	"context"
	"errors"
	"time"
)

// A Position names one place in one topic's log: offset Offset in the life Epoch
// of the log. Offset 0 is the place before the first message.
type Position struct {
	Epoch  string
	Offset uint64
}

// A Draft is a message that is not stored yet.
type Draft struct {
	Payload []byte   // a non-empty JSON object; opaque to the bus
	User    string   // with Key: who publishes ("" for a server)
	Key     string   // makes the publish safe to repeat for 2 minutes, scoped to (topic, User, Key); "" lets the bus choose one
	Except  []string // sessions that get a skip instead
}

// A Receipt tells where a message was stored.
type Receipt struct {
	Position
	Time      int64 // Unix milliseconds, by the bus's clock
	Duplicate bool  // the key was known: Position is that of the first publish
	Receivers int   // attachments that were subscribed to the topic just then
}

// An Entry is one stored message. A nil Payload is a message that was removed.
type Entry struct {
	Offset  uint64
	Time    int64 // Unix milliseconds
	Payload []byte
	Except  []string
}

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
func (p Page) Judge(cursor Position) (after uint64, reason string, recovered bool) {
	panic("TODO")
}

// ErrUnavailable is wrapped by errors after which the caller cannot know whether
// the call took effect, or knows that it did not: repeat it later, a publish under the same key.
var ErrUnavailable = errors.New("bus unavailable")

// A Bus is one node's attachment to the cluster. For every subscribed topic the
// Handler sees contiguous offsets, each once, or a Reset: gaps, reconnects and
// failovers are healed from the log inside the bus.
type Bus interface {
	// Run receives until ctx is done, and returns when all its goroutines have ended.
	// It is called once; every other method may be called before, but the calls that need
	// the cluster's answer on a subscription then wait.
	Run(ctx context.Context, h Handler) error
	// Subscribe asks for topics; each is live once Handler.Subscribed was called for it.
	// It may return before that. It retries by itself until Unsubscribe.
	Subscribe(ctx context.Context, topics ...string) error
	// Unsubscribe ends delivery: after it returned, the Handler hears nothing more of the topics.
	Unsubscribe(ctx context.Context, topics ...string) error
	Publish(ctx context.Context, topic string, d Draft) (Receipt, error)
	// Signal sends payload to every attachment that is subscribed to the topic now, stored nowhere.
	Signal(ctx context.Context, topic string, payload []byte) error
	// Read returns entries after the offset after, at most limit of them and 256 KiB
	// (but at least one when there is one). When the log no longer holds after+1, the
	// page begins at First.
	Read(ctx context.Context, topic string, after uint64, limit int) (Page, error)
	Stats() Stats
}

// A Handler hears what a Bus receives. Per topic the calls come in one order, from
// one goroutine at a time; none of them may block.
type Handler interface {
	// Subscribed: the topic is live from the position at; the next Message has offset
	// at.Offset+1. It is called again after live delivery was interrupted and has been
	// healed (Messages or a Reset that healed it come first): signals in between may be lost.
	Subscribed(topic string, at Position)
	Message(topic string, e Entry)
	Signal(topic string, payload []byte)
	// Reset: the log's life changed or it was trimmed beyond the last delivered
	// message. The next Message has offset at.Offset+1 in at.Epoch. Reason and
	// recovered are as Page.Judge has them.
	Reset(topic string, at Position, reason string, recovered bool)
}

// Stats counts since the start of an attachment.
type Stats struct {
	Heard      time.Time // when the last probe came back (now, for a bus in memory)
	Reconnects uint64    // live connections that had to be made anew
	Gaps       uint64    // holes in the live stream that were healed from the log
	Resets     uint64
}
