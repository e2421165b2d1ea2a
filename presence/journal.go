package presence

import (
	"context"
	"time"
)

// A Journal keeps what changes in all rosters of a cluster, until somebody has told it
// to the world outside. The script that makes a change writes it down too: so it is there
// once, whichever node dies, and whichever answer is lost. Redis keeps it; what Redis
// loses, the journal loses, and the rosters begin new epochs.
//
// One node of the cluster at a time has the journal and tells it, so that changes of one
// topic are told in their order.
type Journal interface {
	// Claim makes the journal this node's, or keeps it so, for [ClaimTime], and tells
	// whether that succeeded: it fails while another node has it.
	Claim(ctx context.Context) (bool, error)
	// Pending reads the oldest records, some of each partition, by their time. Where a part
	// of the cluster does not answer, it returns the records of the others and an error.
	Pending(ctx context.Context) ([]Record, error)
	// Told takes records out.
	Told(ctx context.Context, records []Record) error
	// Release gives the journal back, if it is this node's.
	Release(ctx context.Context) error
}

// A Record is one change that names somebody, or says that changes were lost.
type Record struct {
	ID     string    // in this cluster, nothing else has or had it
	Time   time.Time // of the change, by the clock of Redis, in milliseconds
	Topic  string
	Change Change
	Lost   int // in place of the change: so many older ones were more than the journal keeps

	partition string
	entry     string // its id there
}

// ClaimTime is how long a claim lasts.
const ClaimTime = 15 * time.Second

// maxRecords is how many records of one partition are read at a time.
const maxRecords = 100
