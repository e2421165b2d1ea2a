// Package presence tells who is online across the nodes of a cluster.
package presence

import (
	"context"
	"time"
)

// A Roster is who is in a topic at one version. Users is one page, in no order
// that means anything; Next is the cursor of the following page ("" at the end).
type Roster struct {
	Epoch   string
	Version uint64
	Online  int
	Users   []string
	Next    string
}

// A Change is one step of a roster, from Version-1 to Version.
type Change struct {
	Epoch   string
	Version uint64
	Online  int
	Joined  []string
	Left    []string
}

// ParseChange reads the payload under which a Change travels as a signal of its topic.
func ParseChange(payload []byte) (Change, error) { panic("TODO") }

// Presence is one node's part in the cluster's presence. It counts the node's own
// sessions per (topic, user); the cluster sees only the first and the last of them.
type Presence interface {
	// Run renews the node's lease, sends what Join and Leave declared, reaps dead nodes
	// and repairs what a restart of Redis lost, until ctx is done. It leaves the lease to
	// lapse: who does not come back elsewhere is then reaped.
	Run(ctx context.Context) error
	// Join declares one more session of user in topic, and waits until the cluster
	// knows the user as present. When ctx ends first it returns an error; the
	// declaration stands until Leave all the same, and is sent later.
	Join(ctx context.Context, topic, user string) error
	// Leave takes one session back. The last one's leave is sent after grace, unless a
	// Join came in between. It does not wait.
	Leave(topic, user string, grace time.Duration)
	// Roster reads a topic's roster from the cluster, page by page (limit users each,
	// approximately); cursor "" is the first page.
	Roster(ctx context.Context, topic, cursor string, limit int) (Roster, error)
	Stats() Stats
}

// Stats counts since the start.
type Stats struct {
	Scripts      uint64 // round trips to Redis for presence
	Reaped       uint64 // incarnations of other nodes that this node removed
	Incarnations uint64 // of this node
	Reconciled   uint64 // repairs after Redis lost something
}
