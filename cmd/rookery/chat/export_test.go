package chat

import (
	"fmt"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"

	"github.com/rookery-chat/rookery/client"
	"github.com/rookery-chat/rookery/wire"
)

const Most = most

// NewModel returns a model whose requests are told to asked, as "publish {id:1 topic:lobby …}".
func NewModel(o Options, asked func(string) bool, roster func(string) (wire.Roster, bool)) tea.Model {
	return newModel(o, func(r request) bool {
		return asked(strings.TrimPrefix(fmt.Sprintf("%T %+v", r, r), "chat."))
	}, roster)
}

// Unsent is what the model still has to send, and Kept how many lines it holds of a talk.
func Unsent(m tea.Model) []string       { return m.(*model).unsent() }
func Kept(m tea.Model, talk string) int { return len(m.(*model).find(talk).lines) }

// What the model hears.

func Event(e client.Event, at time.Time) tea.Msg { return happened{e, at} }

func Tick(at time.Time) tea.Msg { return tick(at) }

func Joined(room string, got wire.Joined, err error) tea.Msg { return joined{room, &got, err} }

func Left(room string, err error) tea.Msg { return left{room, err} }

func Published(id int, topic, text string, got wire.Published, err error) tea.Msg {
	return published{publish{id, topic, text}, &got, err}
}

func Page(topic string, before uint64, got wire.History, err error) tea.Msg {
	return page{history{topic: topic, before: before}, &got, err}
}
