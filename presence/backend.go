package presence

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
)

// A backend is the cluster as one node reaches it: the primitive steps, each atomic
// and safe to repeat. A step whose outcome is unknown (any error but the ones below)
// may have happened, and may even happen later.
//
// Every step that changes what an incarnation has in the cluster carries a turn. Turns
// of one lane only grow, and a step whose lane has seen a later turn is refused with
// errStale: a step that was thought lost cannot arrive late and undo its successors.
type backend interface {
	// partition names the part of the cluster that a topic is in. What the cluster
	// loses, it loses of whole partitions.
	partition(topic string) string
	// lane names the group of topics that this topic belongs to. The steps of one lane
	// travel together; lanes fail apart.
	lane(topic string) string

	// renew renews the lease of a member, or takes it.
	renew(ctx context.Context, m member) (renewal, error)
	// primaries tells which primaries a Redis Cluster has, by their histories; "" where renew tells all there is to know.
	primaries(ctx context.Context) (string, error)
	// reserve adds topics to the index of those that an incarnation may have users in.
	// It fails with errNoLease for an incarnation that was never renewed.
	reserve(ctx context.Context, m member, lane string, turn uint64, topics []string) error
	// release takes topics out of the index, in which the incarnation has no users.
	release(ctx context.Context, m member, lane string, turn uint64, topics []string) error
	// reserved reads the index, of all lanes.
	reserved(ctx context.Context, m member, lane string, turn uint64) ([]string, error)

	// open leaves a trace of the incarnation in each of the partitions.
	open(ctx context.Context, m member, turn uint64, partitions []string) error
	// change moves users of an incarnation in and out of topics. Each delta tells its own
	// errors. They are errLost in a partition without a trace of the incarnation: never
	// opened, or lost since.
	change(ctx context.Context, m member, turn uint64, deltas []*delta)
	// present reads which users of an incarnation are in each of the topics, and opens their partitions.
	present(ctx context.Context, m member, turn uint64, topics []string) ([][]string, error)

	// condemn marks a suspect as dead when it has not been renewed since, and claims the
	// reaping of it: the topics it returns are to be reaped, and then named as done in the
	// next call, until none is left and the suspect is forgotten.
	condemn(ctx context.Context, me member, s suspect, done []string) (topics []string, v verdict, err error)
	// sever cuts the live connections of a member.
	sever(ctx context.Context, m member) error
	// reap takes all users of a condemned incarnation out of the topics, and the
	// incarnation can never have any there again.
	reap(ctx context.Context, dead member, topics []string) error

	roster(ctx context.Context, topic, cursor string, limit int) (Roster, error)
	online(ctx context.Context, topics []string) ([]int, error)
	members(ctx context.Context) ([]member, error)
	// steps counts the scripts or steps run so far.
	steps() uint64
}

// A member is one incarnation of a node. Both parts are fixed while it lives.
type member struct {
	inc  string // 64 random bits
	name string // the node's Options.ConnName
}

// A renewal is what a member learns with its lease.
type renewal struct {
	known  bool      // the member had a lease before this renewal, lapsed or not
	run    string    // which life of Redis answered
	lapsed []suspect // members whose lease has lapsed
}

// A suspect is a member as it was last renewed.
type suspect struct {
	member
	stamp string // of that renewal
}

// A verdict is the answer to condemn.
type verdict int

const (
	spared    verdict = iota // alive after all, or somebody else's to reap, or forgotten
	condemned                // there are topics to reap
	buried                   // everything is reaped: this was the last step
)

// A delta is what a node changes in one topic. No user is in it twice.
type delta struct {
	topic    string
	leave    []string
	join     []string
	leaveErr error
	joinErr  error
}

var (
	errCondemned = errors.New("this incarnation of the node was condemned")
	errStale     = errors.New("a later turn was here before")
	errNoLease   = errors.New("this incarnation has no lease yet")
	errLost      = errors.New("the cluster lost what it had of this incarnation")
)

// maxUsers is how many users one script moves at most: it bounds how long Redis is
// busy with it, and the size of a Change.
const maxUsers = 500

// maxTopics is how many topics one call of the backend names at most, where the node
// has to hold the answer.
const maxTopics = 500

// newID returns 64 random bits in hexadecimal, for an incarnation or an epoch.
func newID() string {
	var b [8]byte
	rand.Read(b[:])
	return hex.EncodeToString(b[:])
}
