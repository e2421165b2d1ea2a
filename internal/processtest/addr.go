package processtest

import (
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
)

var given sync.Map // the ports that FreePort returned

// FreePort returns a port of a host, or of all addresses where host is empty, on which nobody listens. No test of
// this process is given it again; and no connection will have it as its own, for Linux gives them ports from 32768
// on. So it is still free a moment later, and one server after the other can have it.
func FreePort(tb testing.TB, host string) string {
	tb.Helper()
	for range 1000 {
		port := fmt.Sprint(10000 + rand.IntN(22768))
		if _, taken := given.LoadOrStore(port, true); taken {
			continue
		}
		if l, err := net.Listen("tcp", net.JoinHostPort(host, port)); err == nil {
			l.Close()
			return port
		}
	}
	tb.Fatal("no free port")
	return ""
}

// FreeAddr is FreePort with loopback: for what cannot choose a port itself, and tell.
func FreeAddr(tb testing.TB) string {
	tb.Helper()
	const loopback = "127.0.0.1"
	return net.JoinHostPort(loopback, FreePort(tb, loopback))
}
