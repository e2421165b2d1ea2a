// Package store keeps small durable facts about users and topics: how far each user has
// read, who is banned or muted where, and which timers there are. What a fact is stands in the
// file of its name (mark.go, sanction.go, timer.go), how a backend keeps it in memory.go, redis.go
// and the files that begin so, and each .lua file is named after the method that it serves;
// storetest is what both backends promise.
package store

import (
	"context"
	"time"
)

// A Store is shared by the nodes of a cluster. Its methods may be called from many goroutines
// at once. After an error what was asked for may be done or not: to repeat the call is safe.
//
// A read offset belongs to (topic, user, epoch), and only moves forward. Offsets are
// below 2^53; epochs, which are a bus's, are not empty and have no colon. A store keeps one
// read offset for each (topic, user): that of the epoch that came last. Nodes that are late
// to hear of a new epoch cannot take it back, for marks in the epoch before are ignored.
//
// A store may forget a topic in which nobody's read offset moved for 90 days. Sanctions and
// timers have no such life: they stand until they expire, fire for the last time or are taken back.
//
// Sanctions and timers go by the store's clock, which nodes share.
type Store interface {
	// MarkRead moves user's read offset in topic's epoch forward to offset. It returns
	// the read offset that stands then, and whether this call moved it. A new epoch starts
	// at 0; in one that was left behind nothing moves, and 0 stands.
	MarkRead(ctx context.Context, topic, user, epoch string, offset uint64) (stands uint64, moved bool, err error)
	// ReadOffsets returns user's read offset in each topic, given its epoch: 0 where there is none.
	ReadOffsets(ctx context.Context, user string, epochs map[string]string) (map[string]uint64, error)
	// ReadBy returns how far each of users has read topic in epoch. Who has read nothing is missing.
	ReadBy(ctx context.Context, topic, epoch string, users []string) (map[string]uint64, error)

	// Impose makes s stand, in place of one of the same kind, topic and user.
	Impose(ctx context.Context, s Sanction) error
	// Lift takes a sanction back, and tells whether there was one that stood.
	Lift(ctx context.Context, kind Kind, topic, user string) (bool, error)
	// Sanctions returns all that stand, in no order, and their version, if the version is
	// another than known; otherwise nil and known. Each change has a version of its own;
	// "" is that of a store in which none was ever imposed. That a sanction expires is no
	// change: whoever keeps what Sanctions returned heeds each one's Until.
	Sanctions(ctx context.Context, known string) (all []Sanction, version string, err error)

	// AddTimer adds t, in place of one of the same ID. A time that is past is due at once.
	AddTimer(ctx context.Context, t Timer) error
	// DeleteTimer takes a timer out, and tells whether there was one.
	DeleteTimer(ctx context.Context, id string) (bool, error)
	// Timers returns at most limit timers, in the byte order of their IDs, and the cursor of
	// the next page: "" after the last one, as before the first.
	Timers(ctx context.Context, cursor string, limit int) (page []Timer, next string, err error)
	// Claim leases at most limit timers that are due, the longest due first: until lease is
	// over nobody else gets them. Whoever has claimed a timer publishes its message under a
	// key made of its ID and Count, then calls Fired. Those whose holder died are claimed again
	// with the same count, so that nothing is lost, and the key sees that nothing is doubled.
	//
	// next is when the earliest other timer is due, or its lease ends, by the caller's clock; zero
	// when there is none. It is past when limit left some out. The claimed ones are not
	// in it: Claim again after Fired.
	Claim(ctx context.Context, lease time.Duration, limit int) (due []Timer, next time.Time, err error)
	// Fired advances a claimed timer from count to count+1: to its next time, or out of the
	// store when it fires once. When another has advanced it already, or it was deleted or
	// replaced, nothing changes. Times that a repeating timer has missed are skipped, not made
	// up for: it is due next at the first time after now that is whole Everys after its first.
	Fired(ctx context.Context, id string, count uint64) error

	// DeleteUser forgets user's read offsets and sanctions, in all topics. What other calls
	// write about user meanwhile may stay.
	DeleteUser(ctx context.Context, user string) error
	// DeleteTopic forgets all users' read offsets and sanctions in topic. Its timers stay.
	DeleteTopic(ctx context.Context, topic string) error
}

// readLife is how long a topic's read offsets are kept after one of them moved, at least.
const readLife = 90 * 24 * time.Hour
