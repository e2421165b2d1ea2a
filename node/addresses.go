package node

import (
	"fmt"
	"log/slog"
	"net/netip"
	"time"

	"golang.org/x/time/rate"

	"github.com/rookery-chat/rookery/wire"
)

// addresses holds those who call to what one address may do. IPv6 addresses count by their /64,
// which is what one subscriber has. Three stand for callers who cannot be told apart, and are not
// limited: trusted proxies that say nothing of theirs, this machine (where a proxy that nobody
// was told of, or a test of load, may run), and what is no IP address.
type addresses struct {
	node   *Node               // Fixed at construction.
	ledger *ledger[netip.Addr] // Fixed at construction.
	hint   rate.Sometimes      // for the log
}

const (
	badToken      = 20               // handshakes that one bad token costs: 5 a second remain, of the default
	sessionsRetry = 10 * time.Second // for who has to wait until a session of its address ends
)

// key is what an address is counted by; ok is false when it is not limited.
func (as *addresses) key(a netip.Addr) (key netip.Addr, ok bool) {
	if !a.IsValid() || a.IsLoopback() || as.node.proxies.Contains(a) {
		return netip.Addr{}, false
	}
	if a.Is6() {
		p, _ := a.Prefix(64) // fails for no IPv6 address
		a = p.Addr()
	}
	return a, true
}

// enter counts a session of an address in, and the handshake that it costs, or returns why not. Who
// was counted in must leave.
func (as *addresses) enter(a netip.Addr) *notNow {
	key, ok := as.key(a)
	if !ok {
		return nil
	}
	n := as.node
	now := time.Since(n.started)
	limit, wait := "", time.Duration(0)
	as.ledger.change(key, now, func(a account) account {
		switch early := a.rate.early(now, burst); {
		case early > 0:
			limit, wait = "ip_handshakes", early
		case a.open >= n.limits.IPSessions:
			limit, wait = "ip_sessions", sessionsRetry
		default:
			a.rate.take(now, 1, n.limits.IPHandshakes)
			a.open++
		}
		return a
	})
	if limit == "" {
		return nil
	}
	n.metrics.limited(limit)
	as.hint.Do(func() {
		slog.Warn("an address goes beyond its limit; if it is a load balancer's, name it among the trusted proxies", "limit", limit, "address", a)
	})
	return &notNow{wire.Error{Code: wire.RateLimited, Retry: true, Message: fmt.Sprintf("too many connections from %s: come back later", a)}, wait}
}

// leave undoes enter, but for the handshake.
func (as *addresses) leave(a netip.Addr) {
	if key, ok := as.key(a); ok {
		as.ledger.change(key, time.Since(as.node.started), func(a account) account {
			a.open--
			return a
		})
	}
}

// charge makes an address pay for as many handshakes.
func (as *addresses) charge(a netip.Addr, handshakes int) {
	if key, ok := as.key(a); ok {
		now := time.Since(as.node.started)
		as.ledger.change(key, now, func(a account) account {
			a.rate.take(now, handshakes, as.node.limits.IPHandshakes)
			return a
		})
	}
}

// overdrawn reports whether an address has to wait.
func (as *addresses) overdrawn(a netip.Addr) (over bool) {
	if key, ok := as.key(a); ok {
		now := time.Since(as.node.started)
		as.ledger.change(key, now, func(a account) account {
			over = a.rate.early(now, burst) > 0
			return a
		})
	}
	return over
}
