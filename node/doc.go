// Package node is one edge of the cluster: it holds sessions, and brings them the
// messages of their topics.
//
// # Goroutines
//
//	Node.Run
//	├── bus.Run          calls interest (the bus's Handler), which never blocks
//	├── presence.Run
//	├── interest.run     tells the bus, in batches, which topics this node wants
//	├── rosters.run      sends coalesced presence frames when they are due
//	├── shard.run ×P     looks after sessions, cursors and rings; writes, and never waits
//	├── lot.run ×P       answers heartbeats of its shard's parked sessions, and gives them readers for all else
//	├── readers          one per session that says something: reads frames, runs their commands one at a time
//	├── socket's helper  only while a peer does not take its bytes: waits for it
//	└── helpers          reads of the log, loads of rosters: off the shards
//
// Run waits for all of them. A session's reader waits for its socket's helper when the connection ends.
// Listeners have owners of their own: whoever serves Handler, and calls ServeTCP.
//
// A session whose peer says nothing is parked (park.go): it has no reader, no stack and no buffers. Where a
// descriptor cannot be watched, as under TLS, its reader waits instead. What only the reader may
// touch is handed on when it parks the session, and is the next reader's once that is woken. For as long as
// it reads a session's bytes and answers its heartbeat, the lot is its reader.
//
// # From a publish to its readers
//
//	session reader ── command ── bus.Publish ─► log, live ─► bus.Run ─► interest ─► mailboxes
//	sockets ◄── one write per dirty session ◄── shard: append shared frame, mark, flush
//
// A session is a set of cursors over logs. A cursor that the topic's ring does not
// cover is behind, for whatever reason (it resumed, its peer is slow, a mailbox was
// full, the log's life changed), and catchup.go brings it back from the log.
//
// # Lock order
//
// shard.mu comes before all others, and who holds one of them does not ask for it: not even by shard.step,
// which does not wait for it, but may do then and there what needs the others. rosters.mu, interest.mu, socket.mu
// and lot.mu are never held together. mailbox.mu is a leaf: it may be taken under shard.mu, rosters.mu and
// interest.mu, and nothing is taken under it.
package node
