package chat

import (
	"fmt"
	"slices"
	"strings"

	tea "charm.land/bubbletea/v2"

	"github.com/rookery-chat/rookery/wire"
)

// commandHelp is what /help says of the commands that enterLine knows.
var commandHelp = []string{
	"/join ROOM        enter a room",
	"/leave            leave the room shown, or close the talk",
	"/msg NAME [TEXT]  talk to one user, wherever that user is",
	"/who              who is in the room",
	"/quit             leave",
	"//TEXT            send a line that begins with a /",
}

// enterLine does what a typed line says.
func (m *model) enterLine(line string) tea.Cmd {
	if !strings.HasPrefix(line, "/") {
		m.say(m.at, line)
		return nil
	}
	command, rest, _ := strings.Cut(line[1:], " ")
	rest = strings.TrimSpace(rest)
	switch {
	case strings.HasPrefix(command, "/"):
		m.say(m.at, line[1:])
	case command == "quit":
		return m.leave()
	case command == "help":
		for _, help := range slices.Concat(commandHelp, keyHelp) {
			m.tell(help)
		}
	case command == "join" && rest != "":
		m.enter(rest)
	case command == "leave":
		m.exit()
	case command == "msg" && rest != "":
		name, text, _ := strings.Cut(rest, " ")
		m.direct(name, strings.TrimSpace(text))
	case command == "who":
		if m.at == nil || !isRoom(m.at.name) || !m.ask(who{m.at.name}) {
			m.tell("/who tells who is in a room: show one first, with Tab or /join ROOM")
		}
	default:
		m.tell("no such command, or it lacks something; /help tells them all")
	}
	return nil
}

// say sends text to a talk.
func (m *model) say(t *talk, text string) {
	if t == nil {
		m.tell("not sent: you are in no room; /join ROOM enters one")
		return
	}
	m.lastID++
	if !m.ask(publish{id: m.lastID, topic: t.name, text: text}) {
		m.tell("not sent: too many lines are waiting")
		return
	}
	t.pending = append(t.pending, pending{id: m.lastID, text: text})
	t.back, t.wanted = 0, 0
}

func (m *model) published(p published) tea.Cmd {
	t := m.find(p.topic)
	if t != nil {
		i := slices.IndexFunc(t.pending, func(w pending) bool { return w.id == p.id })
		switch {
		case p.err != nil:
			if i >= 0 {
				t.pending = slices.Delete(t.pending, i, i+1)
			}
			m.notice(t, fmt.Sprintf("not sent: %q: %s", p.text, p.err))
		case i >= 0:
			t.pending[i].stored, t.pending[i].offset = true, p.got.Offset
			t.arrived(t.last(), isRoom(t.name))
		}
		if p.err == nil && p.got.Reached != nil && *p.got.Reached == 0 {
			m.notice(t, strings.TrimPrefix(t.name, "@")+" is not online and will find it later")
		}
	}
	if m.leaving && len(m.unsent()) == 0 {
		return tea.Quit
	}
	return nil
}

// direct shows the talk with one user, and sends text there.
func (m *model) direct(name, text string) {
	inbox, err := wire.ParseTopic("@" + strings.TrimPrefix(name, "@"))
	if err != nil {
		m.tell(err.Error())
		return
	}
	m.at = m.talk(inbox)
	if text != "" {
		m.say(m.at, text)
	}
}

// enter shows a room, and enters it.
func (m *model) enter(name string) {
	room, err := wire.ParseTopic(name)
	switch {
	case err != nil:
		m.tell("cannot enter " + name + ": " + err.Error())
	case !isRoom(room):
		m.tell("cannot enter " + name + ": it is no room; /msg NAME talks to a user")
	case !m.ask(join{room: room, recent: m.recent}):
		m.tell("cannot enter " + room + ": too many lines are waiting")
	default:
		m.at = m.talk(room)
	}
}

func (m *model) joined(j joined) {
	t := m.find(j.room)
	if t == nil {
		return
	}
	log := m.log(j.room)
	if j.err != nil {
		if log.oldest == 0 { // we never were in it
			m.forget(t)
		}
		m.tell("cannot enter " + j.room + ": " + j.err.Error())
		return
	}
	t.out = false
	m.crowd.stale = true
	log.marked = max(log.marked, j.got.Read)
	t.read = max(t.read, j.got.Read)
	if log.oldest == 0 || j.got.After+1 < log.oldest {
		log.oldest = j.got.After + 1
		log.whole = j.got.After == 0
	}
}

// exit leaves the room shown, or closes the talk.
func (m *model) exit() {
	switch {
	case m.at == nil:
		m.tell("you are in no room")
	case !isRoom(m.at.name) || m.at.out:
		m.forget(m.at)
	case !m.ask(leave{m.at.name}):
		m.tell("not left: too many lines are waiting")
	}
}

func (m *model) left(l left) {
	t := m.find(l.room)
	switch {
	case l.err != nil:
		m.tell("not left: " + l.err.Error())
	case t != nil:
		m.forget(t)
	}
}

func (m *model) present(p present) {
	if p.err != nil {
		m.tell("cannot tell who is in " + p.room + ": " + p.err.Error())
		return
	}
	slices.Sort(p.roster.Members)
	m.tell(fmt.Sprintf("in %s: %d online (%s)", p.room, p.roster.Online, strings.Join(p.roster.Members, ", ")))
}
