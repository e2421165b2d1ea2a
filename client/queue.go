package client

import (
	"context"
	"maps"
	"sync"

	"github.com/rookery-chat/rookery/wire"
)

// Bounds of what is read but not handed to the application, in bytes.
const (
	softBound = 256 << 10 // beyond it the socket is no longer read …
	hardBound = 16 << 20  // … unless a call waits for a reply, which comes behind the events
	itemCost  = 256       // what an item costs beside its frame
)

// An item is one entry of the queue: an event, a step of a topic's cursor, or both.
type item struct {
	event Event         // nil: only the cursor moves
	topic string        // "": no cursor moves
	at    wire.Position // the cursor once the event is handed over
	size  int
}

// A queue holds the events between the connection and the application. It is bounded: when
// it is full, push waits, the socket is not read, TCP slows the node down, and the node's
// logs keep what is not delivered yet. Only while a call is under way does it grow further
// (to hardBound), so that a program may publish from within its loop over the events.
type queue struct {
	mu     sync.Mutex
	items  []item                   // Guarded by mu.
	size   int                      // Guarded by mu. Sum of the items' sizes.
	calls  int                      // Guarded by mu. Calls under way.
	handed map[string]wire.Position // Guarded by mu. Per topic, the cursor of what was handed over.
	closed bool                     // Guarded by mu. Nothing is pushed any more.
	full   chan struct{}            // Guarded by mu. Closed while the queue is at hardBound.

	room  chan struct{} // Capacity 1: push may try again.
	ready chan struct{} // Capacity 1: there may be an item, or the queue was closed.
}

func newQueue() *queue {
	return &queue{
		handed: make(map[string]wire.Position),
		full:   make(chan struct{}),
		room:   make(chan struct{}, 1),
		ready:  make(chan struct{}, 1),
	}
}

func wake(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// push appends it, when there is room. It returns ctx's error when that ends first.
func (q *queue) push(ctx context.Context, it item) error {
	it.size += itemCost
	for {
		if q.tryPush(it) {
			return nil
		}
		select {
		case <-q.room:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (q *queue) tryPush(it item) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	switch {
	case it.event == nil && len(q.items) == 0:
		q.hand(it)
		return true
	case q.size < softBound || q.calls > 0 && q.size < hardBound:
		q.items = append(q.items, it)
		q.size += it.size
		wake(q.ready)
		if q.size >= hardBound {
			close(q.full)
		}
		return true
	}
	return false
}

// hand moves the cursor to where it stands once it is handed over. mu is held.
func (q *queue) hand(it item) {
	if it.topic != "" {
		q.handed[it.topic] = it.at
	}
}

// pop takes the next event, and waits for one. It returns false when ctx is done or when
// the queue is closed and empty.
func (q *queue) pop(ctx context.Context) (Event, bool) {
	for ctx.Err() == nil {
		event, closed := q.tryPop()
		if event != nil || closed {
			return event, event != nil
		}
		select {
		case <-q.ready:
		case <-ctx.Done():
		}
	}
	return nil, false
}

// tryPop takes the items up to the first event.
func (q *queue) tryPop() (event Event, closed bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.items) > 0 {
		it := q.items[0]
		q.items[0] = item{}
		q.items = q.items[1:]
		if q.size >= hardBound && q.size-it.size < hardBound {
			q.full = make(chan struct{})
		}
		q.size -= it.size
		wake(q.room)
		q.hand(it)
		if it.event != nil {
			if len(q.items) > 0 || q.closed {
				wake(q.ready) // for another consumer
			}
			return it.event, false
		}
	}
	if q.closed {
		wake(q.ready)
	}
	return nil, q.closed
}

// enter and exit enclose a call that waits for a reply.
func (q *queue) enter() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.calls++
	wake(q.room)
}

func (q *queue) exit() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.calls--
}

// stuck returns a channel that is closed when the queue is at its hard bound.
func (q *queue) stuck() <-chan struct{} {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.full
}

func (q *queue) cursors() map[string]wire.Position {
	q.mu.Lock()
	defer q.mu.Unlock()
	return maps.Clone(q.handed)
}

func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	wake(q.ready)
}
