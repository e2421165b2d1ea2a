package presence

import (
	"context"
	"time"
)

// A Roster is who is in a topic at one version. Users is one page, in no order
// that means anything; Next is the cursor of the following page ("" at the end).
//
// A roster of one page is atomic: Users is who was in the topic at Version, and has
// Online names. Several pages are not: Version and Online are those of the moment
// each page was read, a user who came or went meanwhile may be missing or be there,
// and a user may be on two pages.
//
// A topic in which nobody has been for a day or longer has no Epoch, and Version 0.
type Roster struct {
	Epoch   string
	Version uint64
	Online  int
	Users   []string
	Next    string
}

// A Change is one step of a roster, from Version-1 to Version, after which Online
// users are in the topic. It may name nobody.
//
// Versions count within an Epoch, and never go back in it. An epoch that differs from
// the last one says that the roster may have lost steps (Redis restarted, or a replica
// took over): read the [Roster] anew, as after a gap between versions. Where Redis lost
// everything, the nodes declare their users again within about two seconds, so a reader
// who wants to show nobody as gone who is not waits that long before it reads.
type Change struct {
	Epoch   string
	Version uint64
	Online  int
	Joined  []string
	Left    []string
}

// Presence is one node's part in the cluster's presence. It counts the node's own
// sessions per (topic, user); the cluster sees only the first and the last of them.
type Presence interface {
	// Run renews the node's lease, sends what Join and Leave declared, reaps dead nodes
	// and repairs what a restart of Redis lost, until ctx is done. It leaves the lease to
	// lapse: who does not come back elsewhere is then reaped. It is called once.
	Run(ctx context.Context) error
	// Join declares one more session of user in topic, and waits until the cluster
	// knows the user as present. When ctx ends first it returns an error; the
	// declaration stands until Leave all the same, and is sent later. Only after
	// [ErrName] there is nothing to take back.
	Join(ctx context.Context, topic, user string) error
	// Leave takes one session back. The last one's leave is sent after grace, unless a
	// Join came in between. It does not wait. For a user without sessions here, whose
	// grace still runs, it can only shorten the grace.
	Leave(topic, user string, grace time.Duration)
	// Roster reads a topic's roster from the cluster, page by page (limit users each,
	// approximately); cursor "" is the first page. A first page takes in the whole
	// roster when that has at most limit users.
	Roster(ctx context.Context, topic, cursor string, limit int) (Roster, error)
	// Online counts the users in each of the topics, without reading who they are.
	Online(ctx context.Context, topics ...string) ([]int, error)
	// Nodes lists the nodes that hold a lease, by the names they gave themselves
	// ([Options].ConnName), or by incarnation where there is no name. A node that died
	// is in it until it is reaped.
	Nodes(ctx context.Context) ([]string, error)
	Stats() Stats
}

// Stats counts since the start.
type Stats struct {
	Scripts      uint64 // scripts that Redis was asked to run for presence (steps, for a cluster in memory)
	Reaped       uint64 // incarnations of other nodes that this node removed
	Incarnations uint64 // of this node
	Reconciled   uint64 // repairs after Redis lost something
}

// Timing is how fast nodes are missed. All nodes of a cluster must have the same.
type Timing struct {
	Lease   time.Duration // a lease not renewed for this long has lapsed: 4 s
	Renew   time.Duration // between renewals: 1 s
	Margin  time.Duration // how long a lapsed lease is watched before its node is condemned: 1.5 s
	Serving time.Duration // how long Redis must have served a node before that node condemns others: 5 s
}

// linger is how long a topic without users stays reserved, in case somebody comes back.
func (t Timing) linger() time.Duration { return 8 * t.Lease }

var defaultTiming = Timing{
	Lease:   4 * time.Second,
	Renew:   time.Second,
	Margin:  1500 * time.Millisecond,
	Serving: 5 * time.Second,
}
