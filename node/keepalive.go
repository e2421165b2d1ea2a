package node

import (
	"net"

	"golang.org/x/sys/unix"
)

// keepAlive makes the kernel find out within r.lost that a peer is dead: by probes while
// there is nothing to send, and else by what the peer does not confirm. It costs the node nothing.
func (r rhythm) keepAlive(conn net.Conn) {
	tcp := kernelConn(conn)
	if tcp == nil {
		return
	}
	const probes = 3
	tcp.SetKeepAliveConfig(net.KeepAliveConfig{Enable: true, Idle: r.lost - probes*r.tick, Interval: r.tick, Count: probes})
	raw, err := tcp.SyscallConn()
	if err != nil || unconfirmedTimeout == 0 {
		return
	}
	raw.Control(func(fd uintptr) {
		unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unconfirmedTimeout, int(r.lost.Milliseconds()))
	})
}

// kernelConn returns the TCP connection itself, under TLS and what else there is; nil without one.
func kernelConn(conn net.Conn) *net.TCPConn {
	for {
		over, ok := conn.(interface{ NetConn() net.Conn })
		if !ok {
			tcp, _ := conn.(*net.TCPConn)
			return tcp
		}
		conn = over.NetConn()
	}
}

// unconfirmed is how many bytes the kernel has for a connection that its peer has not confirmed.
func unconfirmed(conn net.Conn) (bytes int) {
	tcp := kernelConn(conn)
	if tcp == nil {
		return 0
	}
	if raw, err := tcp.SyscallConn(); err == nil {
		raw.Control(func(fd uintptr) { bytes, _ = unix.IoctlGetInt(int(fd), unix.TIOCOUTQ) })
	}
	return bytes
}
