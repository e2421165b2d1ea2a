package wire

import "encoding/json"

// A Position names one place in one topic's log: the message Offset of the log's
// life Epoch. Offsets start at 1; offset 0 is the place before the first message.
type Position struct {
	Epoch  string `json:"epoch"`
	Offset uint64 `json:"offset"`
}

// A Command is one frame from a client, of any type. Fields that the type does
// not use are zero.
type Command struct {
	Type     string // "hello", "join", "leave", "publish", "signal", "history", "members", "read", "ping"
	ID       uint64 // 0 when the client wants no reply
	Topic    string // normalised to NFC
	Token    string
	User     string // normalised to NFC
	Was      string // hello: the session that this one continues
	Resume   map[string]Position
	After    *Position
	Recent   int
	Presence bool
	Data     json.RawMessage // compacted; nil when the frame has none
	Key      string
	NoEcho   bool // "echo":false
	Before   uint64
	Limit    int
	Offset   uint64
	Cursor   string // members: where the page before ended
	Reads    bool   // members: how far each of them has read, too
}

// Welcome answers a hello.
type Welcome struct {
	ID        uint64
	Session   string
	User      string
	Node      string
	Heartbeat int // seconds
	MaxFrame  int // bytes
	Topics    map[string]Joined
}

// Joined is the answer to one join: within Welcome.Topics for each resumed topic,
// and within OK.
type Joined struct {
	Position         // the head of the log
	After     uint64 // the session's cursor: its next message is After+1
	Recovered bool
	Read      uint64  // the user's read offset
	Roster    *Roster // only when presence was asked for
	Err       *Error  // only within Welcome: the topic was not joined
}

// A Roster is who is in a topic, as of one version of it. More is set when Members was cut.
// Next is the cursor of the following page ("" when there is none).
type Roster struct {
	Version uint64
	Online  int
	Members []string
	More    bool
	Next    string

	encoded []byte // what appendFields appends; nil before Encode
}

// Encode makes the JSON of a roster that many frames will hold, once for all of them. From then on
// the roster must not change.
func (r *Roster) Encode() { r.encoded = r.appendFields(nil) }

// Published is the answer to one publish. Reached is set for inboxes only: the number
// of nodes on which the user is online.
type Published struct {
	Position
	Duplicate bool
	Reached   *int
}

// OK answers a command that has no frame of its own. At most one of Joined and Published is set.
type OK struct {
	ID    uint64
	Topic string // "" for a ping
	*Joined
	*Published
}

// Message is one stored message as a member gets it.
type Message struct {
	Topic   string
	Offset  uint64
	From    string
	Session string
	To      string // only in the sender's own copy of a direct message
	Time    int64  // Unix milliseconds
	Data    json.RawMessage
}

// Signal is an unstored message.
type Signal struct {
	Topic   string
	From    string
	Session string
	Data    json.RawMessage
}

// Presence tells who came and who went since the frame or roster before, or, where that
// cannot be told by name, the roster anew.
type Presence struct {
	Topic   string
	Version uint64
	Online  int
	Joined  []string
	Left    []string
	Roster  *Roster // takes the place of what was known before; then Joined and Left are empty
}

// Read tells that a user has read up to Offset.
type Read struct {
	Topic  string
	From   string
	Offset uint64
}

// Skip stands in for a message that this session does not get.
type Skip struct {
	Topic  string
	Offset uint64
}

// Reset tells that the log could not be followed from where the session was.
type Reset struct {
	Topic string
	Position
	After     uint64
	Reason    string // "trimmed" or "epoch"
	Recovered bool
}

// Goodbye comes before the server closes a connection on purpose.
type Goodbye struct {
	Code      string
	Reconnect bool
	After     int // milliseconds to wait before reconnecting
}

// History answers history.
type History struct {
	ID       uint64
	Topic    string
	Messages []Message
	More     bool
}

// Members answers members.
type Members struct {
	ID    uint64
	Topic string
	Roster
	Reads map[string]uint64 // user -> read offset, only when asked for; who has read nothing is missing
}
