package chat

import (
	"slices"

	"github.com/rookery-chat/rookery/wire"
)

// maxPage is how many messages one answer to history holds at most.
const maxPage = 256

// scroll moves the screen by rows: back, or forth when rows is negative. What is not here
// is loaded.
func (m *model) scroll(rows int) {
	t := m.at
	if t == nil {
		return
	}
	t.wanted = max(t.back+rows, 0)
	m.follow(t)
}

// follow scrolls t as far back as the user wanted it, and asks for what that lacks.
func (m *model) follow(t *talk) {
	there := m.furthest(t)
	t.back = min(t.wanted, there)
	if log := m.log(m.topic(t)); t.wanted <= there || log.whole || !m.load(m.topic(t), 50) {
		if !log.loading {
			t.wanted = t.back
		}
	}
}

// furthest is how far back the lines that are here let the screen go.
func (m *model) furthest(t *talk) int {
	total := m.pendingRows(t)
	for i := range t.lines {
		total += len(m.rows(t, i))
	}
	return max(total-m.bodyHeight()+1, 0) // one more row: what there is above
}

// load asks for older messages of a topic. It returns false when it does not.
func (m *model) load(topic string, limit int) bool {
	log := m.log(topic)
	if log.loading || log.whole || log.oldest == 0 {
		return log.loading
	}
	log.loading = m.ask(history{topic: topic, before: log.oldest, limit: limit})
	return log.loading
}

// page takes older messages.
func (m *model) page(p page) {
	log := m.log(p.topic)
	if !log.loading || p.before != log.oldest {
		return // the log was reset meanwhile, or is another one
	}
	log.loading = false
	if p.err != nil {
		m.tell("cannot read what was before: " + p.err.Error())
		m.stop(p.topic)
		return
	}
	older := make(map[*talk][]line)
	for _, msg := range p.got.Messages { // oldest first
		if kept(&msg, m.link.user) {
			continue
		}
		t := m.talk(m.home(&msg))
		if first := t.first(); first == 0 || msg.Offset < first {
			older[t] = append(older[t], m.line(&msg))
		}
	}
	for t, lines := range older {
		t.lines = slices.Concat(lines, t.lines)
	}
	if len(p.got.Messages) > 0 {
		log.oldest = p.got.Messages[0].Offset
	}
	log.whole = !p.got.More || log.oldest == 1 || len(p.got.Messages) == 0
	if m.at != nil && m.topic(m.at) == p.topic && m.at.wanted > m.at.back {
		m.follow(m.at)
	}
}

// stop ends the wish for older messages of a topic.
func (m *model) stop(topic string) {
	for _, t := range m.talks {
		if m.topic(t) == topic {
			t.wanted = t.back
		}
	}
}

// first is the oldest offset of t; 0 when it has none.
func (t *talk) first() uint64 {
	for _, l := range t.lines {
		if l.offset > 0 {
			return l.offset
		}
	}
	return 0
}

// above is what the screen shows before the oldest line.
func (m *model) above(t *talk) string {
	log := m.log(m.topic(t))
	switch {
	case log.loading:
		return "loading older messages"
	case log.whole && t.name != wire.Everyone:
		return "nothing is before this"
	case log.oldest > 1:
		return "page up for older messages"
	}
	return ""
}
