package bus

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"strconv"
	"time"
)

// A Position names one place in one topic's log: offset Offset in the life Epoch
// of the log. Offset 0 is the place before the first message.
type Position struct {
	Epoch  string
	Offset uint64
}

// A Draft is a message that is not stored yet. Its slices belong to the bus from
// Publish on: nobody may change them any more.
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

// ErrUnavailable is wrapped by errors after which the caller cannot know whether
// the call took effect, or knows that it did not: repeat it later, a publish under the same key.
var ErrUnavailable = errors.New("bus unavailable")

// A Bus is one node's attachment to the cluster. For every subscribed topic the
// Handler sees contiguous offsets, each once, or a Reset: gaps, reconnects and
// failovers are healed from the log inside the bus.
//
// All methods may be called from many goroutines at once, but not out of a Handler
// call, nor with a lock held that a Handler call takes.
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
	// Publish stores d under the topic's next offset, then hands it to every attachment that
	// is subscribed. The bus itself repeats it while the outcome is unknown, for at most 5 s.
	Publish(ctx context.Context, topic string, d Draft) (Receipt, error)
	// PublishAll is Publish for several messages of one topic, in one step: nobody else's comes between
	// them, and none is stored without those before it. After an error any of them may be stored.
	PublishAll(ctx context.Context, topic string, drafts []Draft) ([]Receipt, error)
	// Signal sends payload to every attachment that is subscribed to the topic now, stored
	// nowhere, and tells how many those are.
	Signal(ctx context.Context, topic string, payload []byte) (receivers int, err error)
	// Read returns entries after the offset after, at most limit of them and 256 KiB
	// (but at least one when there is one). When the log no longer holds after+1, the
	// page begins at First. With limit 0 it has no entries.
	Read(ctx context.Context, topic string, after uint64, limit int) (Page, error)
	// Remove takes a message out of the log: from then on it is read as an Entry without a
	// payload (or not at all, once it is the oldest). Nothing happens when the log does not hold it.
	Remove(ctx context.Context, topic string, offset uint64) error
	// Clear takes all messages out of the log. Offsets go on.
	Clear(ctx context.Context, topic string) error
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
	Heard      time.Time // when the last probe came back (now, for a bus in memory; zero before the first)
	Reconnects uint64    // live connections that had to be made anew
	Gaps       uint64    // holes in the live stream that were healed from the log
	Resets     uint64
	Behind     int // topics that are not level with their logs now: just subscribed, or with a hole to heal
}

// Options adjust a bus; the zero value of each field means its default.
type Options struct {
	// Prefix begins the names of all keys and live channels in Redis, so that several
	// clusters can share one server: "rookery:" by default. It may not contain braces.
	Prefix string
	// LogLength is how many messages a topic's log keeps (a few more, in Redis): 1000 by default.
	LogLength int
	// LogAge is how long after its last message a log is kept: 24 h by default.
	LogAge time.Duration
	// LogFor, if set, gives LogLength and LogAge for each topic; 0 means the default.
	LogFor func(topic string) (length int, age time.Duration)
	// Logger is told what an operator should know: slog.Default by default.
	Logger *slog.Logger
}

// keyLife is how long a publish may be repeated under its key.
const keyLife = 2 * time.Minute

// positionLife is how long a topic's position outlives its last use, at least: a
// topic that is forgotten starts a new epoch.
const positionLife = 7 * 24 * time.Hour

// withDefaults returns o with every field set; o may be nil.
func (o *Options) withDefaults() Options {
	var d Options
	if o != nil {
		d = *o
	}
	d.Prefix = cmp.Or(d.Prefix, "rookery:")
	d.LogLength = cmp.Or(d.LogLength, 1000)
	d.LogAge = cmp.Or(d.LogAge, 24*time.Hour)
	d.Logger = cmp.Or(d.Logger, slog.Default())
	return d
}

// logBounds returns the bounds of one topic's log.
func (o *Options) logBounds(topic string) (length int, age time.Duration) {
	if o.LogFor != nil {
		length, age = o.LogFor(topic)
	}
	return cmp.Or(length, o.LogLength), cmp.Or(age, o.LogAge)
}

// newEpoch returns 64 random bits, fit to be told apart from every other epoch.
func newEpoch() string { return strconv.FormatUint(rand.Uint64(), 36) }

// checkDrafts returns what is wrong with drafts.
func checkDrafts(drafts []Draft) error {
	for _, d := range drafts {
		if len(d.Payload) == 0 {
			return errEmptyPayload
		}
	}
	return nil
}

var errEmptyPayload = errors.New("bus: a message needs a payload")
