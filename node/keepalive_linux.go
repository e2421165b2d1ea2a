package node

import "golang.org/x/sys/unix"

// unconfirmedTimeout is the socket option for how long sent data may stay unconfirmed. The
// kernel's own patience is a quarter of an hour.
const unconfirmedTimeout = unix.TCP_USER_TIMEOUT

// peerEnded is the event of a peer that ended its side.
const peerEnded = unix.POLLRDHUP
