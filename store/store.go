// Package store keeps small durable facts about users and topics: at present, how far
// each user has read. One file a backend implements all of them, and its .lua files are
// named after the method that they serve; storetest is what both backends promise.
package store

import (
	"context"
	"time"
)

// A Store is shared by the nodes of a cluster. Its methods may be called from many goroutines at once.
//
// A read offset belongs to (topic, user, epoch), and only moves forward. Offsets are
// below 2^53; epochs, which are a bus's, are not empty and have no colon. A store keeps one
// read offset for each (topic, user): that of the epoch that came last. Nodes that are late
// to hear of a new epoch cannot take it back, for marks in the epoch before are ignored.
//
// A store may forget a topic in which nobody's read offset moved for 90 days.
type Store interface {
	// MarkRead moves user's read offset in topic's epoch forward to offset. It returns
	// the read offset that stands then, and whether this call moved it. A new epoch starts
	// at 0; in one that was left behind nothing moves, and 0 stands. After an error the offset
	// may have moved or not: to repeat the call is safe.
	MarkRead(ctx context.Context, topic, user, epoch string, offset uint64) (stands uint64, moved bool, err error)
	// ReadOffsets returns user's read offset in each topic, given its epoch: 0 where there is none.
	ReadOffsets(ctx context.Context, user string, epochs map[string]string) (map[string]uint64, error)
}

// readLife is how long a topic's read offsets are kept after one of them moved, at least.
const readLife = 90 * 24 * time.Hour
