// Package presence tells who is online across the nodes of a cluster.
//
// A node counts its own sessions per topic and user; the cluster sees only the first
// and the last of them, and counts the nodes. The step after which a user is in a topic
// at all, and the one after which the user no longer is, become a [Change]: the
// roster's next version. Nodes that die are reaped by the others, nodes that were
// thought dead come back, and what a restart of Redis lost is put in order again.
//
// [NewMemory] is a cluster in one process, [NewRedis] one that meets in Redis. Both are
// the same node half (local.go, lane.go, lease.go, grace.go) over two backends.
//
// # The node's half
//
// Join and Leave only write down what is wanted: the number of sessions of each
// (topic, user), and until when a grace lasts. Per user a state says what the cluster is
// known to have: absent, present, or unsure. A lane's rounds send whatever differs, and
// nothing else. So a step that failed, or whose answer was lost, needs no care of its
// own: the user is unsure, and the next round sends what is wanted then.
//
// # Goroutines
//
//	Run ─┬─ renewals  renews the lease each second; sees leases that lapsed, and a Redis that was restarted
//	     ├─ watch     in a Redis Cluster: sees other primaries come (ends at once elsewhere)
//	     ├─ judge     watches lapsed leases, condemns, reaps
//	     ├─ expiries  ends graces; one timer for all
//	     └─ lane.run  one a lane: rounds. One lane for a single Redis; in a Redis Cluster one a
//	                  partition, so that a primary that is away holds up only its own topics
//
// Run waits for all of them. Callers of Join wait in their own goroutine, for a channel
// that all joins of one topic and round share.
//
// # Locks
//
// local.mu guards all declarations and states; it is never held during a step of a
// backend. Memory.mu is the cluster's; notify is called with it held. Never both at once.
//
// # What the cluster has
//
//	nodes    every member (incarnation and node name) by its last renewal: all leases
//	lease    of an incarnation: the mark that it is condemned, who reaps it, last turns
//	topics   of an incarnation: the index of topics that it may have users in
//	roster   of a topic: epoch, version, and the history (history.lua) of the Redis that wrote them
//	online   of a topic: user -> number of incarnations that have the user
//	users    of a topic and an incarnation: who they are
//	fence    of a partition and an incarnation: its last turn, or that it is dead
//	journal  of a partition: changes that nobody has told outside yet, where that is wanted
//
// The first three are in one slot, the others in their topic's partition, and no script
// touches two slots. In Redis the keys are <prefix>{presence}:presence:… and
// <prefix>{tag}:presence:…; the .lua files say of what kind.
//
// # Why it is right
//
// Counts. A user enters users only together with +1 in online, and leaves it only
// together with -1, in one script. So online[user] is the number of incarnations whose
// users have the user, however often a step is repeated; and joined and left alternate,
// since each is told by the script that moves the count between 0 and 1, under the next
// version.
//
// Journal. The script that moves a count between 0 and 1 writes that down in the journal
// too: what is told outside is what happened, once, with no care for answers that are lost
// and nodes that die.
//
// Order. Only its lane changes the users of an incarnation in a topic, one round after
// the other, and no round has a user twice. Steps carry the round's turn, and the fence
// refuses a turn smaller than the last: a step that was given up, and then arrives late,
// does nothing. (With a timeout, Redis may well run the abandoned step after its
// repetition, which came by another connection.)
//
// Reaping is complete. A lane first leaves a trace in the partition (open: the fence),
// then adds the topic to the index (reserve), then moves users, which needs the trace.
// Reserve is refused to an incarnation that is condemned or has no lease. Hence, as long
// as Redis loses nothing: whoever reads the index after the mark was set sees every topic
// that ever gets a user. Reap makes the fence dead in the script that takes users out, so
// what arrives after it is refused. And an index is forgotten only when all its topics
// were reaped. The reaper holds a claim for as long as a lease lasts, which saves the
// others the work; that any number of them may do it at once follows from the counts.
//
// Nobody is condemned for what Redis did. A node condemns only when Redis has answered
// all its own renewals for 5 s without a gap, and then only a lease that had lapsed and
// stayed untouched for 1.5 s by the judge's own clock; the script compares the stamp. So
// after an outage all nodes have five renewals' time, and a step of Redis's clock lasts
// only until the next renewal. A dead node's users are gone after 4 + 1.5 s, and up to
// 1 s for the judge to look.
//
// Redis lost something. A renewal that finds no lease, another history, or another set of
// primaries (in a cluster), and a step that misses its trace: each has the lanes compare.
// A comparison reads the users that the cluster has of this incarnation, with a new turn,
// reserves the topics again, and queues what differs; users that are right already make
// no event. As the history differs from the one in the roster, the first script on a topic,
// whichever it is, begins a new epoch and tells so: versions that the lost Redis had
// handed out are never handed out again in their epoch. If everything was lost, trace and
// index are lost together: a move needs a trace made since, and the index entry was made
// after the trace.
//
// # What it does not do
//
// Redis Cluster has no order among primaries. If the primary of the leases fails over
// and loses an index entry, and within the about 2 s until the comparison the node dies
// too, its users stay in that roster. The same holds for a step of a dead incarnation
// that is still on its way when Redis loses the tombstone. A partition that lost its data
// without a restart (FLUSHALL) is noticed when something changes in it.
//
// A roster that is lost while nobody is in it any more tells nobody: there is no node
// left that would speak for it.
package presence
