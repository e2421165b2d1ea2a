package bench

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/rookery-chat/rookery/wire"
)

// A target is one server, with the request that upgrades a connection to it.
type target struct {
	url     string
	addr    netip.AddrPort
	request []byte
}

// The key and its answer are those of RFC 6455, section 1.3: the answer shows that the server is one of
// WebSockets, and need not be computed for each connection.
const (
	upgradeKey    = "dGhlIHNhbXBsZSBub25jZQ=="
	upgradeAnswer = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
)

func newTarget(ctx context.Context, text string) (*target, error) {
	u, err := url.Parse(text)
	if err != nil {
		return nil, fmt.Errorf("--url %s: %w", text, err)
	}
	switch {
	case u.Scheme == "wss":
		return nil, fmt.Errorf("--url %s: encryption is not measured: give the ws:// address behind it", text)
	case u.Scheme != "ws" || u.Host == "":
		return nil, fmt.Errorf("--url %s: want an address like ws://127.0.0.1:8000/ws", text)
	}
	port := 80
	if u.Port() != "" {
		if port, err = strconv.Atoi(u.Port()); err != nil || port > 65535 {
			return nil, fmt.Errorf("--url %s: the port is not a number up to 65535", text)
		}
	}
	addrs, err := net.DefaultResolver.LookupNetIP(ctx, "ip", u.Hostname())
	if err != nil {
		return nil, fmt.Errorf("--url %s: %w", text, err)
	}
	if u.Path == "" {
		u.Path = "/ws"
	}
	return &target{
		url:  text,
		addr: netip.AddrPortFrom(addrs[0].Unmap(), uint16(port)),
		request: fmt.Appendf(nil, "GET %s HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
			"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: %s\r\nSec-WebSocket-Protocol: %s\r\n\r\n",
			u.RequestURI(), u.Host, upgradeKey, wire.Subprotocol),
	}, nil
}

// sources are the local addresses that connections come from, in turn: one address has no more
// than 28,000 ports for one server.
type sources struct {
	first netip.Addr // invalid: the kernel chooses
	count uint32
	next  uint32
}

// loopbackSources are taken where all servers are on this machine.
const loopbackSources = "127.0.0.2-127.0.0.33"

func newSources(text string, targets []*target) (*sources, error) {
	if text == "" {
		for _, t := range targets {
			if !t.addr.Addr().Is4() || !t.addr.Addr().IsLoopback() {
				return &sources{}, nil
			}
		}
		text = loopbackSources
	}
	from, to, ok := strings.Cut(text, "-")
	first, err1 := netip.ParseAddr(from)
	last, err2 := netip.ParseAddr(to)
	if !ok || err1 != nil || err2 != nil || !first.Is4() || !last.Is4() || last.Less(first) {
		return nil, fmt.Errorf("--source-range %s: want two IPv4 addresses of this machine, such as %s", text, loopbackSources)
	}
	return &sources{first: first, count: toInt(last) - toInt(first) + 1}, nil
}

func toInt(a netip.Addr) uint32 { b := a.As4(); return binary.BigEndian.Uint32(b[:]) }

// take returns the next source, nil when the kernel is to choose.
func (s *sources) take() unix.Sockaddr {
	if !s.first.IsValid() {
		return nil
	}
	var sa unix.SockaddrInet4
	binary.BigEndian.PutUint32(sa.Addr[:], toInt(s.first)+s.next%s.count)
	s.next++
	return &sa
}

// dial begins to connect, and returns the socket: it can be written when it is connected or has failed.
func (t *target) dial(from unix.Sockaddr) (fd int, err error) {
	family := unix.AF_INET
	var to unix.Sockaddr
	if ip := t.addr.Addr(); ip.Is4() {
		to = &unix.SockaddrInet4{Port: int(t.addr.Port()), Addr: ip.As4()}
	} else {
		family = unix.AF_INET6
		to = &unix.SockaddrInet6{Port: int(t.addr.Port()), Addr: ip.As16()}
	}
	fd, err = unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, t.explain(err)
	}
	unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	if from != nil {
		unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1)
		err = unix.Bind(fd, from)
	}
	if err == nil {
		err = unix.Connect(fd, to)
	}
	if err != nil && err != unix.EINPROGRESS {
		unix.Close(fd)
		return -1, t.explain(err)
	}
	return fd, nil
}

// explain says what to do about a connection that could not be made.
func (t *target) explain(err error) error {
	advice := ""
	switch err {
	case unix.ECONNREFUSED:
		advice = ": is a server listening there?"
	case unix.EMFILE, unix.ENFILE:
		advice = ": raise ulimit -n, or ask for fewer sessions"
	case unix.EADDRNOTAVAIL:
		advice = ": out of source ports or addresses: give more with --source-range"
	}
	return fmt.Errorf("cannot connect to %s: %w%s", t.url, err, advice)
}
