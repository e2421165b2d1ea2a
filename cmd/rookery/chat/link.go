package chat

import (
	"fmt"
	"time"

	"github.com/rookery-chat/rookery/client"
	"github.com/rookery-chat/rookery/wire"
)

// A link is what is known of the connection.
type link struct {
	node  string // which serves us; "" while none does
	user  string // our name; "" before the first connection
	why   string // why there is no connection
	retry time.Time
	lost  time.Time // when the connection was lost; zero before
	note  string    // what the newest connection brought
	now   time.Time
}

// connected notes a connection, and tells whether it is the first.
func (l *link) connected(e *client.Connected) (first bool) {
	first = l.user == ""
	l.node, l.user, l.why = e.Node, e.User, ""
	if first {
		return true
	}
	l.note = fmt.Sprintf("back after %s", l.now.Sub(l.lost).Round(time.Second))
	if recovered(e.Topics) {
		l.note += ": nothing was missed"
	} // else a Reset tells, for each topic
	return false
}

func (l *link) disconnected(e *client.Disconnected) {
	if l.node != "" {
		l.lost = l.now
	}
	l.node, l.note = "", ""
	l.why, l.retry = Printable(e.Err.Error()), l.now.Add(e.Delay)
}

// recovered tells whether nothing was missed in topics.
func recovered(topics map[string]wire.Joined) bool {
	for _, joined := range topics {
		if joined.Err != nil || !joined.Recovered {
			return false
		}
	}
	return true
}

// String is the status line.
func (l *link) String() string {
	s := "connecting"
	switch {
	case l.node != "":
		s = Printable(l.user) + " on node " + Printable(l.node)
	case l.why != "" && l.user == "":
		s = "no connection: " + l.why
	case l.why != "":
		s = "connection lost: " + l.why
	}
	if l.node == "" && l.why != "" {
		s += fmt.Sprintf("; trying again in %d s", max(int(l.retry.Sub(l.now).Seconds()+0.999), 0))
	}
	if l.note != "" {
		s += " · " + l.note
	}
	return s
}
