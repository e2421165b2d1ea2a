// Package bench is a load generator: many sessions of a cluster in one process, which
// measures what they cost the servers and checks that every delivery arrives, once and in order.
//
// Its own cost must not hide the servers', so a pool keeps all of its sessions on one goroutine:
// an epoll loop (poll.go) that reads into one buffer, splits frames in place (frame.go), finds offsets and times in
// them by looking at bytes (scan.go), and sends frames that were made before. Whatever is rare goes through
// package wire.
//
// A scenario (fanout.go, rooms.go, publish.go, topics.go, gather.go, idle.go, connect.go, resume.go, churn.go) opens a pool's sessions,
// runs the loop until what it waits for has happened, and fills in a Report. Baseline is a server to measure beside:
// as little as can be done to deliver the same frames.
package bench
