package main

import "golang.org/x/sys/unix"

// deferAccept has the kernel keep a listener's connections until they have something to be read, or a second is over. Where
// it cannot, they come at once.
func deferAccept(fd uintptr) { unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_DEFER_ACCEPT, 1) }
