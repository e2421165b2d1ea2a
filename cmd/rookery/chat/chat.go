// Package chat is rookery chat: people's end of a cluster, in a terminal.
//
// On a terminal, [Screen] shows rooms, people and messages; elsewhere [Lines] reads and
// prints lines, so that it works in a pipe.
//
// The screen is three parts. The model (model.go, events.go, commands.go, keys.go, scroll.go,
// link.go) takes what happens, one thing after the other, and does no I/O of its own: what it
// wants of the cluster it hands out as a request. Errands (errands.go) run the requests and
// bring back the answers. The view (view.go) draws the model. Screen (screen.go) owns the
// goroutines. Whatever others wrote passes [Printable] before it is drawn.
package chat

import (
	"os"

	"golang.org/x/term"
)

// Options say how a chat begins.
type Options struct {
	Room   string // the room to enter
	Recent int    // begin with so many of a room's newest messages
}

// OnTerminal tells whether a person sits at in and out, at a terminal that can move its cursor.
func OnTerminal(in, out *os.File) bool {
	kind := os.Getenv("TERM")
	return kind != "" && kind != "dumb" && term.IsTerminal(int(in.Fd())) && term.IsTerminal(int(out.Fd()))
}
