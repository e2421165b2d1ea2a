package api

import (
	"context"
	"encoding/json"
	"errors"
	"time"
)

// A Backend is the cluster as the server API and the push port see it. All methods may
// be called from many goroutines at once, and return soon after ctx is done.
//
// Topics and users come checked and in NFC; data comes compacted, and belongs to the
// Backend. Limits are at least 1. What is told to the nodes (Join to Unmute) may take
// effect a moment after the call returned.
//
// Errors: one that wraps [ErrUnavailable] says that the cluster did not answer and the
// same call may succeed later; [ErrNotFound] that what was named is not there. A
// *wire.Error is told to the caller as it is; every other error is logged, and the
// caller hears that something went wrong inside.
type Backend interface {
	// Publish stores m in a topic's log and delivers it.
	Publish(ctx context.Context, topic string, m Message) (Receipt, error)
	// Signal delivers data to who is in the topic now, and stores nothing. from may be "".
	Signal(ctx context.Context, topic, from string, data json.RawMessage) error
	// History reads messages after an offset, oldest first. A topic that never had a
	// message is an empty page, not an error.
	History(ctx context.Context, topic string, after uint64, limit int) (Page, error)
	// DeleteMessage takes the content out of one message; a skip remains. It is no error
	// when the log does not hold it.
	DeleteMessage(ctx context.Context, topic string, offset uint64) error
	// DeleteTopic takes all messages out of a topic's log. Offsets go on, and so members, read
	// offsets, bans and mutes stay.
	DeleteTopic(ctx context.Context, topic string) error

	// Topics lists, page by page and in byte order, the topics that sessions are in now, on any
	// node. Cursor "" is the first page.
	Topics(ctx context.Context, cursor string, limit int) (TopicPage, error)
	// Members reads who is in a topic, page by page.
	Members(ctx context.Context, topic, cursor string, limit int) (Roster, error)
	// Nodes lists the live nodes, in the order of their ids.
	Nodes(ctx context.Context) ([]Node, error)
	// Shed has a node send a percentage of its sessions, from 1 to 100, away to other nodes, and
	// returns how many. ErrNotFound: there is no such node.
	Shed(ctx context.Context, node string, percent int) (int, error)
	// Sessions lists a user's sessions on all nodes: none when the user is not online. Silent
	// is on how many nodes more the user is online that did not answer in time.
	Sessions(ctx context.Context, user string) (sessions []Session, silent int, err error)

	// Join lets all sessions that a user has now join a topic. ErrNotFound: the user has none.
	Join(ctx context.Context, topic, user string) error
	// Remove lets all sessions of a user leave a topic. They may join again: see Ban.
	Remove(ctx context.Context, topic, user string) error
	// Kick ends all sessions of a user.
	Kick(ctx context.Context, user string) error
	// KickSession ends one session. ErrNotFound: no node has it.
	KickSession(ctx context.Context, session string) error
	// DeleteUser forgets a user: sessions, inbox, read offsets, bans and mutes.
	DeleteUser(ctx context.Context, user string) error
	// Ban removes a user from a topic and lets nobody of that name in until then; the
	// zero time is for ever. The topic Everyone is the whole cluster.
	Ban(ctx context.Context, topic, user string, until time.Time) error
	Unban(ctx context.Context, topic, user string) error
	// Mute lets a user read a topic but not publish or signal to it until then; the zero time is for ever.
	Mute(ctx context.Context, topic, user string, until time.Time) error
	Unmute(ctx context.Context, topic, user string) error

	// AddTimer stores t, and returns it with its ID and its first Next. The backend
	// publishes t.Data to t.Topic when it is due, once in the cluster.
	AddTimer(ctx context.Context, t Timer) (Timer, error)
	// Timers lists, page by page, the timers that will still fire.
	Timers(ctx context.Context, cursor string, limit int) (TimerPage, error)
	// DeleteTimer ends a timer. ErrNotFound: there is none of that id.
	DeleteTimer(ctx context.Context, id string) error
}

// Errors that a [Backend]'s errors wrap.
var (
	ErrUnavailable = errors.New("the cluster did not answer")
	ErrNotFound    = errors.New("not found")
)

// A Message is to be published.
type Message struct {
	Data   json.RawMessage
	From   string   // who it is from, as members see it: a user's name or ""
	Key    string   // makes the publish safe to repeat for 2 minutes, scoped to (topic, From, Key); may be ""
	Except []string // sessions that get a skip instead
}

// A Receipt tells where a message was stored.
type Receipt struct {
	Epoch     string
	Offset    uint64
	Duplicate bool // the key was known: the position is that of the first publish
	Reached   int  // inboxes: the nodes on which the user is online now; 0 for other topics
}

// A Page is a part of a topic's log.
type Page struct {
	Epoch    string
	First    uint64 // the oldest message that the log holds; 0 when it holds none
	Head     uint64 // the newest offset
	Messages []Stored
	More     bool // there are messages after the last one of these
}

// A Stored message is one of a log.
type Stored struct {
	Offset  uint64
	Time    int64 // Unix milliseconds
	From    string
	Session string
	To      string          // only in a sender's own copy of a direct message
	Data    json.RawMessage // nil: the message was removed
}

// A Roster is one page of who is in a topic. Next is the cursor of the following page, "" at the end.
type Roster struct {
	Version uint64
	Online  int
	Users   []string
	Next    string
}

// A TopicPage is one page of the list of topics.
type TopicPage struct {
	Topics []Topic
	Next   string
	Silent int // nodes that did not answer in time: topics that only they have are missing
}

// A Topic is one line of the list of topics.
type Topic struct {
	Name   string
	Online int // users in it; 1 for inboxes
}

// A Node is one node of the cluster. Of one that is silent only the ID is known.
type Node struct {
	ID       string
	State    string // ready, unready (it does not reach the cluster), draining or silent (it did not answer in time)
	Address  string // where sessions find it
	Since    time.Time
	Version  string
	Sessions int
	Users    int // with a session on it
}

// A Session is one connection of a user.
type Session struct {
	ID      string
	Node    string
	Address string    // where it calls from, as trusted proxies have it
	Since   time.Time // when it connected
	Version string    // of its node
	Client  string    // what the peer says it is (User-Agent), or ""
}

// A Timer publishes to a topic by itself: every so often, or once.
type Timer struct {
	ID    string
	Topic string
	Data  json.RawMessage
	Every time.Duration // 0: once
	Next  time.Time     // when it fires next; zero in AddTimer with Every: after the first interval
}

// A TimerPage is one page of the list of timers.
type TimerPage struct {
	Timers []Timer
	Next   string
}
