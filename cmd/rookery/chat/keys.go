package chat

import (
	"slices"
	"strconv"
	"strings"

	tea "charm.land/bubbletea/v2"
)

// keyHelp is what /help says of the keys that key knows beside those that edit the line.
var keyHelp = []string{
	"Tab, Shift+Tab  next and previous talk (also Ctrl+N, Ctrl+P)",
	"PgUp, PgDn      older and newer messages",
	"Up, Down        lines typed before",
	"Ctrl+C          leave (also Ctrl+D)",
}

func (m *model) key(k tea.KeyPressMsg) (cmd tea.Cmd) {
	switch k.String() {
	case "ctrl+c":
		return m.leave()
	case "ctrl+d":
		if m.input.Value() == "" {
			return m.leave()
		}
	case "ctrl+z":
		return tea.Suspend
	case "ctrl+l":
		return tea.ClearScreen
	case "enter":
		line := strings.TrimSpace(m.input.Value())
		m.input.Reset()
		if line == "" {
			return nil
		}
		m.typed = append(slices.DeleteFunc(m.typed, func(s string) bool { return s == line }), line)
		m.recalled = len(m.typed)
		return m.enterLine(line)
	case "up":
		m.recall(-1)
		return nil
	case "down":
		m.recall(1)
		return nil
	case "tab", "ctrl+n", "alt+down":
		m.turn(1)
		return nil
	case "shift+tab", "ctrl+p", "alt+up":
		m.turn(-1)
		return nil
	case "pgup":
		m.scroll(max(m.bodyHeight()-1, 1))
		return nil
	case "pgdown":
		m.scroll(-max(m.bodyHeight()-1, 1))
		return nil
	}
	m.input, cmd = m.input.Update(k)
	return cmd
}

// recall brings back a line that was typed before.
func (m *model) recall(step int) {
	m.recalled = min(max(m.recalled+step, 0), len(m.typed))
	m.input.Reset()
	if m.recalled < len(m.typed) {
		m.input.SetValue(m.typed[m.recalled])
		m.input.CursorEnd()
	}
}

// turn shows the talk that is step places on in the list.
func (m *model) turn(step int) {
	if n := len(m.talks); n > 0 {
		m.at = m.talks[(slices.Index(m.talks, m.at)+step+n)%n]
	}
}

// leave ends the program once all is sent, and at once when it is asked again.
func (m *model) leave() tea.Cmd {
	waiting := len(m.unsent())
	if waiting == 0 || m.leaving {
		return tea.Quit
	}
	m.leaving = true
	m.tell("lines not sent yet: " + strconv.Itoa(waiting) + "; leaving when they are, or at once with Ctrl+C")
	return nil
}
