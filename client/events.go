package client

import (
	"context"
	"iter"
	"time"

	"github.com/rookery-chat/rookery/wire"
)

// An Event is one of
//
//   - [*Connected], [*Disconnected]: the connection came and went
//   - [*wire.Message]: a message of a topic, each once and in the order of its offsets
//   - [*wire.Reset]: the topic's log could not be followed: unless Recovered, messages are
//     missing before the next one
//   - [*wire.Signal], [*wire.Presence], [*wire.Read]: not stored; what happens while the
//     connection is away is not made up for
//   - [*Left]: the session is not in a topic any more, though the program did not leave it
//   - [*wire.Error]: the node complains about something that no call waits for
type Event any

// Connected tells that a connection stands and that each of its topics goes on where it was.
type Connected struct {
	Session string
	User    string
	Node    string
	// Topics holds the node's answer for each topic that was resumed. In one where Recovered
	// is false, messages were missed; a [*wire.Reset] for it follows.
	Topics map[string]wire.Joined
}

// Disconnected tells that a connection was lost or a try to make one failed.
type Disconnected struct {
	Err   error
	Delay time.Duration // until the next try
}

// Left tells that the node took the session out of a topic, or did not let it back in.
type Left struct {
	Topic string
	Err   *wire.Error
}

// Events returns the events, in order, until ctx is done or Run has returned and all its
// events are handed over. Handing over moves the cursors (see [Client.Cursors]).
//
// A program has to read its events, even those that do not interest it: they wait in a
// buffer (256 KiB), and while that is full nothing is read from the connection.
// Then calls still work (up to 16 MiB of events read ahead of their replies; then they fail
// with [ErrBacklog]), so they may be made from within the loop. When several goroutines
// range over Events, each event goes to one of them.
func (c *Client) Events(ctx context.Context) iter.Seq[Event] {
	return func(yield func(Event) bool) {
		for {
			event, ok := c.queue.pop(ctx)
			if !ok || !yield(event) {
				return
			}
		}
	}
}

// Cursors returns, for each topic that the client is in, the position of the last message
// that Events handed over. A program that stores them and starts again with them as
// [Options.Resume] misses nothing that the logs still hold.
func (c *Client) Cursors() map[string]wire.Position {
	cursors := c.queue.cursors()
	c.mu.Lock()
	defer c.mu.Unlock()
	for topic := range cursors {
		if c.topics[topic] == nil {
			delete(cursors, topic)
		}
	}
	return cursors
}
