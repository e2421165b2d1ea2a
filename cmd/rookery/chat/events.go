package chat

import (
	"slices"
	"strings"
	"time"

	"github.com/rookery-chat/rookery/client"
	"github.com/rookery-chat/rookery/wire"
)

// event takes one event of the client.
func (m *model) event(h happened) {
	m.link.now = h.at
	switch e := h.event.(type) {
	case *wire.Message:
		m.message(e)
	case *wire.Presence:
		m.presence(e)
	case *wire.Read:
		m.readElsewhere(e)
	case *wire.Reset:
		m.reset(e)
	case *client.Connected:
		if m.link.connected(e) {
			m.openInbox(e.Topics[wire.Inbox(e.User)])
		}
	case *client.Disconnected:
		m.link.disconnected(e)
	case *client.Left:
		if t := m.find(e.Topic); t != nil {
			t.out = true
			m.notice(t, "out of "+e.Topic+": "+e.Err.Message)
		}
	case *wire.Error:
		m.tell("the node says: " + e.Message)
	}
}

// openInbox asks for the newest direct messages, and for all that are unread, at the first
// connection: the inbox itself tells only what comes from now on.
func (m *model) openInbox(inbox wire.Joined) {
	topic := wire.Inbox(m.link.user)
	log := m.log(topic)
	log.oldest, log.marked = inbox.After+1, inbox.Read
	log.whole = inbox.After == 0
	for _, t := range m.talks {
		if wire.IsInbox(t.name) {
			t.read = inbox.Read
		}
	}
	if unread := inbox.After - min(inbox.Read, inbox.After); m.recent > 0 {
		m.load(topic, max(m.recent, int(min(unread, maxPage))))
	}
}

// message shows one message, at the end of its talk.
func (m *model) message(msg *wire.Message) {
	log := m.log(msg.Topic)
	if log.oldest == 0 {
		log.oldest = msg.Offset
	}
	if kept(msg, m.link.user) {
		return
	}
	t := m.talk(m.home(msg))
	l := m.line(msg)
	if l.mine {
		t.settle(Text(msg.Data))
	}
	m.add(t, l)
	t.arrived(msg.Offset, isRoom(t.name))
}

// home names the talk that a message belongs to.
func (m *model) home(msg *wire.Message) string {
	switch {
	case msg.Topic != wire.Inbox(m.link.user):
		return msg.Topic
	case msg.To != "":
		return wire.Inbox(msg.To)
	}
	return wire.Inbox(msg.From) // "@", which nobody's is, when the server sent it
}

func (m *model) line(msg *wire.Message) line {
	from := Printable(msg.From)
	if from == "" {
		from = "(server)"
	}
	text := strings.NewReplacer("\r\n", " ↵ ", "\n", " ↵ ", "\t", "    ").Replace(Text(msg.Data))
	return line{
		offset: msg.Offset,
		time:   time.UnixMilli(msg.Time),
		from:   from,
		text:   Printable(text),
		mine:   msg.From != "" && msg.From == m.link.user,
	}
}

// settle takes away what waits to come back, now that it is here.
func (t *talk) settle(text string) {
	if i := slices.IndexFunc(t.pending, func(p pending) bool { return p.text == text }); i >= 0 {
		t.pending = slices.Delete(t.pending, i, i+1)
	}
}

// arrived takes away what must have come back: in a room, the offsets tell.
func (t *talk) arrived(offset uint64, room bool) {
	if room {
		t.pending = slices.DeleteFunc(t.pending, func(p pending) bool { return p.stored && p.offset <= offset })
	}
}

func (m *model) presence(e *wire.Presence) {
	t := m.find(e.Topic)
	if t == nil {
		return
	}
	m.crowd.stale = true
	notMe := func(list []string) []string {
		return slices.DeleteFunc(slices.Clone(list), func(name string) bool { return name == m.link.user })
	}
	if joined := notMe(e.Joined); len(joined) > 0 {
		m.notice(t, names(joined)+" joined")
	}
	if left := notMe(e.Left); len(left) > 0 {
		m.notice(t, names(left)+" left")
	}
}

// readElsewhere takes what the user read on another device.
func (m *model) readElsewhere(e *wire.Read) {
	if e.From != m.link.user {
		return
	}
	m.log(e.Topic).marked = max(m.log(e.Topic).marked, e.Offset)
	for _, t := range m.talks {
		if m.topic(t) == e.Topic {
			t.read = max(t.read, e.Offset)
		}
	}
}

// reset tells where messages are missing. Offsets may begin anew behind it.
func (m *model) reset(e *wire.Reset) {
	if e.Recovered {
		return
	}
	m.logs[e.Topic] = &log{oldest: e.After + 1, whole: true}
	for _, t := range m.talks {
		if m.topic(t) != e.Topic {
			continue
		}
		t.read = min(t.read, e.After)
		t.pending = slices.DeleteFunc(t.pending, func(p pending) bool { return p.stored })
		m.add(t, line{kind: gap, time: m.link.now, text: "messages are missing here: the log no longer holds them"})
	}
	what := e.Topic
	if wire.IsInbox(what) {
		what = "your inbox"
	}
	if m.link.note != "" {
		m.link.note += "; "
	}
	m.link.note += "messages of " + Printable(what) + " were missed"
}
