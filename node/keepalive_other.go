//go:build !linux

package node

// unconfirmedTimeout is 0: there is no such socket option here.
const unconfirmedTimeout = 0
