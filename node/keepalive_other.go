//go:build !linux

package node

// unconfirmedTimeout is 0: there is no such socket option here.
const unconfirmedTimeout = 0

// peerEnded is no event here: only that of both sides is.
const peerEnded = 0
