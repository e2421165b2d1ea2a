// Package store keeps small durable facts.
package store

import "context"

// A Store is shared by the nodes of a cluster.
type Store interface {
	// MarkRead moves user's read offset in topic's epoch forward to offset. It returns
	// the read offset that stands then, and whether this call moved it. A new epoch starts at 0.
	MarkRead(ctx context.Context, topic, user, epoch string, offset uint64) (uint64, bool, error)
	// ReadOffsets returns user's read offset in each topic, given its epoch: 0 where there is none.
	ReadOffsets(ctx context.Context, user string, epochs map[string]string) (map[string]uint64, error)
}
