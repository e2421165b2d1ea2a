package node

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/rookery-chat/rookery/proxy"
	"github.com/rookery-chat/rookery/wire"
)

const (
	acceptWait    = 5 * time.Millisecond // after an error of the listener, doubled each time
	acceptWaitMax = time.Second
	refusals      = 100         // connections that are told at once why they are not taken
	refusalTime   = time.Second // for such a peer to take it
)

// ServeTCP takes raw TCP sessions from ln until ctx is done, and closes it: the frames of
// rookery.v1, one a line. The sessions themselves end with Run, as all others. It returns
// nil when ctx is done, else what broke the listener.
func (n *Node) ServeTCP(ctx context.Context, ln net.Listener) error {
	defer ln.Close()
	stop := context.AfterFunc(ctx, func() { ln.Close() })
	defer stop()
	var starting sync.WaitGroup
	defer starting.Wait()
	slots := make(chan struct{}, refusals)
	wait := acceptWait
	for {
		conn, err := ln.Accept()
		switch {
		case err == nil:
			wait = acceptWait
			starting.Go(func() { n.startTCP(ctx, conn, slots) })
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, net.ErrClosed):
			return err
		default: // no file descriptors, perhaps
			slog.Warn("raw TCP: accept", "err", err)
			select {
			case <-ctx.Done():
			case <-time.After(wait):
			}
			wait = min(2*wait, acceptWaitMax)
		}
	}
}

// startTCP starts a session on a connection, or refuses it. A trusted
// proxy may take its time to tell whose connection it is.
func (n *Node) startTCP(ctx context.Context, conn net.Conn, slots chan struct{}) {
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	s, done, e := n.take(proxy.AddrPort(conn.RemoteAddr()), lineKind{})
	if e != nil {
		select {
		case slots <- struct{}{}:
			e.tellTCP(conn)
			<-slots
		default: // a storm: it must not cost more than those who are in
			conn.Close()
		}
		return
	}
	defer done()
	bare, early, err := proxy.Unwrap(conn)
	if err != nil {
		conn.Close()
		n.metrics.refused.Add(1)
		s.depart()
		return
	}
	n.rhythm.keepAlive(bare)
	s.socket = newSocket(bare, early)
	s.socket.halfClose = true
	s.input = &lineInput{socket: s.socket, most: n.maxFrame}
	n.metrics.connections.Add(1)
	n.metrics.taken.Add(1)
	s.start()
}

// tellTCP is tell for a raw TCP connection, which it closes.
func (e *notNow) tellTCP(conn net.Conn) {
	g := wire.Goodbye{Code: wire.CloseInternal.String(), Reconnect: true, After: int(e.after / time.Millisecond)}
	conn.SetDeadline(time.Now().Add(refusalTime))
	conn.Write(endLine(g.Append(endLine(e.Append(nil)))))
	newSocket(conn, nil).linger()
}
