package chat

import (
	"fmt"
	"hash/fnv"
	"slices"
	"strconv"
	"strings"

	tea "charm.land/bubbletea/v2"
	"charm.land/lipgloss/v2"
	"github.com/charmbracelet/x/ansi"

	"github.com/rookery-chat/rookery/wire"
)

// The columns beside the messages, and the width of the screen from which on they are shown.
const (
	listWidth   = 18
	listFrom    = 50
	peopleWidth = 18
	peopleFrom  = 76
)

var (
	bold   = lipgloss.NewStyle().Bold(true)
	faint  = lipgloss.NewStyle().Faint(true)
	alert  = lipgloss.NewStyle().Bold(true).Foreground(lipgloss.Yellow)
	status = lipgloss.NewStyle().Reverse(true)
)

// View draws the screen. It is part of tea.Model.
func (m *model) View() tea.View {
	v := tea.View{AltScreen: true}
	if m.width <= 0 || m.height <= 0 {
		return v
	}
	height := max(m.height-2, 0)
	rows := m.middle(height)
	if m.width >= listFrom {
		beside(m.list(height), listWidth, rows, m.middleWidth(), true)
	}
	if m.width >= peopleFrom {
		beside(m.people(height), peopleWidth, rows, m.width-peopleWidth-1, false)
	}
	if m.height > 1 {
		rows = append(rows, status.Render(cell(m.link.String(), m.width)))
	}
	rows = append(rows, ansi.Truncate(m.input.View(), m.width, ""))
	v.Content = strings.Join(rows, "\n")
	return v
}

// beside puts a column of a width before or behind rows, which are rest wide.
func beside(column []string, width int, rows []string, rest int, before bool) {
	for i, row := range rows {
		if before {
			rows[i] = cell(column[i], width) + faint.Render("│") + row
		} else {
			rows[i] = cell(row, rest) + faint.Render("│") + cell(column[i], width)
		}
	}
}

// cell makes s fill just width columns.
func cell(s string, width int) string {
	s = ansi.Truncate(s, width, "…")
	return s + strings.Repeat(" ", max(width-ansi.StringWidth(s), 0))
}

func (m *model) middleWidth() int {
	w := m.width
	if m.width >= listFrom {
		w -= listWidth + 1
	}
	if m.width >= peopleFrom {
		w -= peopleWidth + 1
	}
	return w
}

// bodyHeight is the number of rows for messages.
func (m *model) bodyHeight() int { return max(m.height-3, 1) }

// list draws the talks, with what is unread in each.
func (m *model) list(height int) []string {
	rows := []string{bold.Render("rooms")}
	first := max(slices.Index(m.talks, m.at)-max(height-2, 0), 0) // the one shown is always listed
	for _, t := range m.talks[first:] {
		name, style := "  "+title(t.name), lipgloss.NewStyle()
		if t == m.at {
			name, style = "> "+title(t.name), bold
		}
		if t.out {
			style = faint
		}
		if n := t.unread(); n > 0 {
			count := " (" + strconv.Itoa(n) + ")"
			rows = append(rows, alert.Render(ansi.Truncate(name, listWidth-len(count), "…")+count))
			continue
		}
		rows = append(rows, style.Render(ansi.Truncate(name, listWidth, "…")))
	}
	return fill(rows, height)
}

// title is a talk's name, as it is shown.
func title(name string) string {
	switch name {
	case wire.Everyone:
		return "(everyone)"
	case "@":
		return "(server)"
	}
	return Printable(name)
}

// people draws who is in the room.
func (m *model) people(height int) []string {
	if m.at == nil || !m.crowd.known {
		return fill(nil, height)
	}
	rows := []string{bold.Render("people")}
	for i, name := range m.crowd.roster.Members {
		if len(rows) == height-1 && i < len(m.crowd.roster.Members)-1 {
			break
		}
		rows = append(rows, nameStyle(name).Render(ansi.Truncate(Printable(name), peopleWidth, "…")))
	}
	if more := m.crowd.roster.Online - (len(rows) - 1); more > 0 {
		rows = append(rows, faint.Render(fmt.Sprintf("and %d more", more)))
	}
	return fill(rows, height)
}

// middle draws the talk shown.
func (m *model) middle(height int) []string {
	if m.at == nil {
		return fill([]string{"You are in no room: /join ROOM enters one, /help tells more."}, height)
	}
	head := bold.Render(title(m.at.name))
	if m.crowd.known {
		head += faint.Render(fmt.Sprintf(" · %d online", m.crowd.roster.Online))
	}
	if n := m.at.unread(); m.at.back > 0 && n > 0 {
		head += alert.Render(fmt.Sprintf(" · %d new below", n))
	} else if m.at.back > 0 {
		head += faint.Render(" · PgDn for newer messages")
	}
	return fill(append([]string{ansi.Truncate(head, m.middleWidth(), "…")}, m.body(height-1)...), height)
}

// body draws the messages: from the newest that is shown upwards, because only so many fit.
func (m *model) body(height int) []string {
	t, height := m.at, max(height, 0)
	rows := make([]string, 0, height+t.back) // the lowest first
	add := func(block []string) {
		for _, row := range slices.Backward(block) {
			rows = append(rows, row)
		}
	}
	for _, p := range slices.Backward(t.pending) {
		add(m.pendingBlock(p))
	}
	for i := len(t.lines) - 1; i >= 0 && len(rows) < height+t.back; i-- {
		add(m.rows(t, i))
	}
	if len(rows) < height+t.back {
		rows = append(rows, faint.Render(cell(m.above(t), m.middleWidth())))
	}
	rows = rows[min(t.back, len(rows)):]
	rows = rows[:min(height, len(rows))]
	slices.Reverse(rows)
	return append(make([]string, height-len(rows)), rows...) // the newest stands at the bottom
}

// rows draws line i of t.
func (m *model) rows(t *talk, i int) []string {
	l, width := &t.lines[i], m.middleWidth()
	if l.rows != nil && l.width == width {
		return l.rows
	}
	l.width = width
	switch l.kind {
	case said:
		l.rows = block(clockTime(l.time), nameStyle(l.from).Render(l.from)+": "+l.text, width)
	case notice:
		l.rows = block("    *", faint.Render(l.text), width)
	case gap:
		l.rows = block("  ---", alert.Render(l.text), width)
	}
	return l.rows
}

func (m *model) pendingBlock(p pending) []string {
	from := nameStyle(m.link.user).Render(Printable(m.link.user)) + ": "
	if p.stored {
		return block("     ", from+Printable(p.text), m.middleWidth())
	}
	return block("  ...", from+faint.Render(Printable(p.text)), m.middleWidth())
}

func (m *model) pendingRows(t *talk) (n int) {
	for _, p := range t.pending {
		n += len(m.pendingBlock(p))
	}
	return n
}

// block wraps text beside what stands before its first row.
func block(before, text string, width int) []string {
	indent := ansi.StringWidth(before) + 1
	rows := strings.Split(lipgloss.Wrap(text, max(width-indent, 1), ""), "\n")
	for i, row := range rows {
		if i == 0 {
			rows[i] = faint.Render(before) + " " + row
		} else {
			rows[i] = strings.Repeat(" ", indent) + row
		}
		rows[i] = ansi.Truncate(rows[i], width, "")
	}
	return rows
}

// nameStyle gives each name a colour of its own.
func nameStyle(name string) lipgloss.Style {
	colours := [...]lipgloss.Style{
		bold.Foreground(lipgloss.Green), bold.Foreground(lipgloss.Blue), bold.Foreground(lipgloss.Magenta), bold.Foreground(lipgloss.Cyan),
		bold.Foreground(lipgloss.BrightGreen), bold.Foreground(lipgloss.BrightBlue), bold.Foreground(lipgloss.BrightMagenta), bold.Foreground(lipgloss.BrightCyan),
	}
	h := fnv.New32a()
	h.Write([]byte(name))
	return colours[h.Sum32()%uint32(len(colours))]
}

// fill makes rows just height long.
func fill(rows []string, height int) []string {
	for len(rows) < height {
		rows = append(rows, "")
	}
	return rows[:max(height, 0)]
}
