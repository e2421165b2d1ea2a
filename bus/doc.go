// Package bus carries messages between the nodes of a cluster and keeps each
// topic's recent log.
//
// A [Bus] is one node's attachment to the cluster. [NewMemory] makes a cluster within
// one process, [NewRedis] an attachment to one in Redis; package bustest is the suite that both pass.
//
// # Position
//
// A topic is a log. Each message gets the next offset, and the log's life, its epoch,
// changes whenever a server might hand out an offset again: so an (epoch, offset) names one message
// for ever. Offsets go on over a change of epoch when the log survived it. [Page.Judge] tells
// where a cursor goes on, for the bus's own subscriptions and for the sessions of a node alike.
//
// # Redis
//
// A topic belongs to one of 64 partitions, whose keys and live channels carry one hash tag:
//
//	rookery:{tag}:meta:<topic>     hash: epoch, offset (the head), history (of which server; see
//	                               fence.lua), epoch0, offset0 (where the epoch before ended), extended
//	rookery:{tag}:log:<topic>      stream: ids are offset-0, the field m is a record (see live.go)
//	rookery:{tag}:key:<hash>       what a publish under that key was answered
//	rookery:{tag}:history:id       the server's history, for 100 ms, in one process; not replicated
//	rookery:{tag}:live:<topic>     channel: messages and signals
//	rookery:{tag}:probe:<random>   channel: an attachment's probes of itself
//
// Publishing is one script and one round trip, which publishes share that come at the same time, and live
// delivery is its last step. A group, the messages of one caller for one topic, is stored in one step. Live delivery is not
// trusted: a [subscription] is a cursor over the log, and whatever hints at a hole (an offset,
// another epoch, any end of the connection, a sweep over all positions) makes it ask the log.
//
// # Goroutines
//
//	Run ─┬─ link.run      keeps one connection: dials, waits for the three below, dials again
//	     │   ├─ receive   blocks in PubSub.Receive, hands on what comes; never waits for Redis otherwise
//	     │   ├─ write     sends SSUBSCRIBE and SUNSUBSCRIBE, asks for the positions of what was confirmed
//	     │   └─ watch     sends a probe each second, as publishes go, ends the connection when they stay out
//	     ├─ sweep         looks at the positions of one partition after the other
//	     └─ heals         up to 8, while there are holes: read the log on, deliver
//
// There is one link, or one for each partition in a Redis Cluster. Run waits for all of these.
// Besides them there are the flushers of the batchers and the publishers (again those of one set of queues, or
// of one for each partition), a few each, which send the commands of
// all callers in shared pipelines, and their publishes in shared calls of a script. They exist only while somebody waits for an answer.
//
// The Handler is called by receive, write and heals, always with the subscription's lock
// held, and by nobody else. In memory it is called by whoever publishes, with the lock of the
// partition held.
//
// # Locks, in order
//
//	link.changes → subscription.mu → crew.mu
//	link.changes → link.mu
//
// link.mu is a leaf, as are crew.mu and conn.mu. A Handler call may take locks of its own, so
// nobody may call a Bus with such a lock held.
package bus
