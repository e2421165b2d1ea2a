package chat

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"charm.land/bubbles/v2/textinput"
	tea "charm.land/bubbletea/v2"

	"github.com/rookery-chat/rookery/wire"
)

// A model is all that the screen knows. Bubble Tea's loop owns it: nothing is shared.
type model struct {
	ask    func(request) bool                     // Fixed at construction. Never waits; false when too much waits already.
	roster func(topic string) (wire.Roster, bool) // Fixed at construction. Who is in a room, as of the newest news.
	recent int                                    // Fixed at construction.

	width, height int
	input         textinput.Model
	typed         []string // what was typed before, for the up key
	recalled      int      // the place in typed; len(typed) while a new line is typed

	talks []*talk         // in the order in which they are listed
	at    *talk           // the one shown; nil when there is none
	logs  map[string]*log // by topic
	link  link
	crowd crowd

	lastID  int
	leaving bool  // the end was asked for, and waits until all is sent
	ended   error // why the client ended
}

// A talk is one entry of the list: a room, a user ("@bob", "@" for the server), or everyone.
type talk struct {
	name    string
	lines   []line    // oldest first
	pending []pending // typed here, and not back yet
	read    uint64    // messages up to this offset were seen
	back    int       // how many rows the screen is scrolled back; 0 shows the newest
	wanted  int       // how many rows to scroll back once older messages are here
	out     bool      // the node took us out of it
}

// A crowd is who is in the room shown. Sorting thousands of names takes a while, so it is
// asked for when it may have changed, and not for each message.
type crowd struct {
	of     *talk
	stale  bool
	roster wire.Roster
	known  bool
}

// A line is one thing to show in a talk. Its texts are printable.
type line struct {
	kind   lineKind
	offset uint64 // 0 for what is no message
	time   time.Time
	from   string
	text   string
	mine   bool

	rows  []string // drawn for width, or nil
	width int
}

type lineKind int

const (
	said   lineKind = iota
	notice          // something happened
	gap             // messages are missing here
)

// A pending is a message that was typed and has not come back in the order of the log.
type pending struct {
	id     int
	text   string // as typed
	stored bool
	offset uint64 // where it is stored; 0 in an inbox that is not ours
}

// A log is how much of a topic's log is here.
type log struct {
	oldest  uint64 // the offset before which there may be more; 0 while nothing is known
	whole   bool   // there is nothing before oldest
	loading bool
	marked  uint64 // the read offset that the cluster was told
}

// most bounds the lines of one talk; older ones are dropped, and loaded again when wanted.
const most = 2000

func newModel(o Options, ask func(request) bool, roster func(string) (wire.Roster, bool)) *model {
	m := &model{ask: ask, roster: roster, recent: o.Recent, logs: make(map[string]*log), input: textinput.New()}
	m.input.Prompt = "> "
	styles := m.input.Styles()
	styles.Cursor.Blink = false // it would keep a timer running
	m.input.SetStyles(styles)
	m.input.Focus()
	m.enter(o.Room)
	return m
}

// Init is part of tea.Model.
func (m *model) Init() tea.Cmd { return nil }

// Update takes whatever happens. It is part of tea.Model.
func (m *model) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	var cmd tea.Cmd
	switch msg := msg.(type) {
	case tea.WindowSizeMsg:
		m.width, m.height = msg.Width, msg.Height
		m.input.SetWidth(max(msg.Width-len(m.input.Prompt)-1, 1))
	case tea.KeyPressMsg:
		cmd = m.key(msg)
	case happened:
		m.event(msg)
	case tick:
		m.link.now = time.Time(msg)
		m.crowd.stale = true
		m.tellRead()
	case ended:
		m.ended = msg.err
		return m, tea.Quit
	case published:
		cmd = m.published(msg)
	case joined:
		m.joined(msg)
	case left:
		m.left(msg)
	case page:
		m.page(msg)
	case present:
		m.present(msg)
	default: // what was pasted, among others
		m.input, cmd = m.input.Update(msg)
	}
	m.look()
	return m, cmd
}

// look notes what the user sees now.
func (m *model) look() {
	t := m.at
	if t != m.crowd.of || m.crowd.stale {
		m.crowd = crowd{of: t}
		if t != nil && isRoom(t.name) {
			m.crowd.roster, m.crowd.known = m.roster(t.name)
		}
	}
	switch {
	case t == nil:
	case t.back == 0:
		t.read = max(t.read, t.last())
	default: // the screen may have become larger
		t.back = min(t.back, m.furthest(t))
	}
}

func isRoom(name string) bool { return name != wire.Everyone && !wire.IsInbox(name) }

// topic is where the messages of t come from.
func (m *model) topic(t *talk) string {
	if wire.IsInbox(t.name) {
		return wire.Inbox(m.link.user)
	}
	return t.name
}

func (m *model) log(topic string) *log {
	l := m.logs[topic]
	if l == nil {
		l = &log{}
		m.logs[topic] = l
	}
	return l
}

func (m *model) find(name string) *talk {
	for _, t := range m.talks {
		if t.name == name {
			return t
		}
	}
	return nil
}

// talk finds a talk, or begins it.
func (m *model) talk(name string) *talk {
	if t := m.find(name); t != nil {
		return t
	}
	t := &talk{name: name}
	if wire.IsInbox(name) {
		t.read = m.log(wire.Inbox(m.link.user)).marked
	}
	m.talks = append(m.talks, t)
	slices.SortFunc(m.talks, func(a, b *talk) int { // rooms come first
		order := strings.Compare(a.name, b.name)
		if isRoom(a.name) != isRoom(b.name) {
			order = cmp.Compare(btoi(isRoom(b.name)), btoi(isRoom(a.name)))
		}
		return order
	})
	return t
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

// forget takes a talk off the list, and shows the next one in its place.
func (m *model) forget(t *talk) {
	i := slices.Index(m.talks, t)
	if i < 0 {
		return
	}
	m.talks = slices.Delete(m.talks, i, i+1)
	if isRoom(t.name) {
		delete(m.logs, t.name)
	}
	if m.at == t {
		m.at = nil
		if len(m.talks) > 0 {
			m.at = m.talks[min(i, len(m.talks)-1)]
		}
	}
}

// last is the newest offset of t.
func (t *talk) last() uint64 {
	for _, l := range slices.Backward(t.lines) {
		if l.offset > 0 || l.kind == gap {
			return l.offset
		}
	}
	return 0
}

// unread counts the messages that the user has not seen.
func (t *talk) unread() (n int) {
	for _, l := range slices.Backward(t.lines) {
		switch {
		case l.kind == gap, l.offset > 0 && l.offset <= t.read:
			return n
		case l.offset > 0 && !l.mine:
			n++
		}
	}
	return n
}

// add puts l at the end of t.
func (m *model) add(t *talk, l line) {
	t.lines = append(t.lines, l)
	if t.back > 0 {
		t.back += len(m.rows(t, len(t.lines)-1)) // what is shown stays where it is
	}
	limit := most + most/4
	if t.back > 0 {
		limit *= 4 // what the user went back to should stay
	}
	if len(t.lines) > limit {
		m.drop(t)
	}
}

// drop forgets the oldest lines of t.
func (m *model) drop(t *talk) {
	old := t.lines[:len(t.lines)-most]
	t.lines = slices.Clone(t.lines[len(old):])
	if slices.ContainsFunc(t.lines, func(l line) bool { return l.kind == gap }) {
		return // what was before a gap cannot be loaded again
	}
	log := m.log(m.topic(t))
	for _, l := range slices.Backward(old) {
		if l.offset > 0 && l.offset >= log.oldest {
			log.oldest, log.whole = l.offset+1, false
		}
		if l.offset > 0 || l.kind == gap {
			return
		}
	}
}

// tell adds a notice to the talk shown.
func (m *model) tell(text string) {
	if m.at == nil {
		m.link.note = Printable(text)
		return
	}
	m.notice(m.at, text)
}

func (m *model) notice(t *talk, text string) {
	m.add(t, line{kind: notice, time: m.link.now, text: Printable(text)})
}

// tellRead tells the cluster what was read since it was told.
func (m *model) tellRead() {
	for _, r := range m.reads() {
		if m.ask(r) {
			m.log(r.topic).marked = r.offset
		}
	}
}

// reads lists the read offsets that the cluster was not told. That of the inbox stays before
// the first message that is unread, whoever sent it.
func (m *model) reads() (reads []markRead) {
	inbox := markRead{topic: wire.Inbox(m.link.user)}
	before := ^uint64(0)
	for _, t := range m.talks {
		switch {
		case wire.IsInbox(t.name):
			inbox.offset = max(inbox.offset, min(t.read, t.last()))
			for _, l := range t.lines {
				if l.offset > t.read && !l.mine {
					before = min(before, l.offset-1)
					break
				}
			}
		case isRoom(t.name) && !t.out && t.read > m.log(t.name).marked:
			reads = append(reads, markRead{t.name, t.read})
		}
	}
	if inbox.offset = min(inbox.offset, before); inbox.offset > m.log(inbox.topic).marked {
		reads = append(reads, inbox)
	}
	return reads
}

// unsent lists the messages of which nobody knows that they are stored.
func (m *model) unsent() (texts []string) {
	for _, t := range m.talks {
		for _, p := range t.pending {
			if !p.stored {
				texts = append(texts, p.text)
			}
		}
	}
	return texts
}
