// Package proxy finds out who is really calling when proxies stand before a node. What they
// say of a caller, in the PROXY protocol or in X-Forwarded-For, is believed only of those that
// the operator trusts: anybody can say it.
package proxy

import (
	"fmt"
	"net/netip"
	"strings"
)

// Trusted are the networks of the proxies whose word on a caller's address is believed.
type Trusted []netip.Prefix

// ParseTrusted reads networks (10.0.0.0/8), single addresses, and the word loopback.
func ParseTrusted(list []string) (Trusted, error) {
	var t Trusted
	for _, s := range list {
		if s = strings.TrimSpace(s); s == "loopback" {
			t = append(t, netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128"))
			continue
		}
		p, err := netip.ParsePrefix(s)
		if a, e := netip.ParseAddr(s); e == nil && a.Zone() == "" {
			p, err = netip.PrefixFrom(a, a.BitLen()), nil
		}
		switch {
		case err != nil:
			return nil, fmt.Errorf("%q is no network: want one such as 10.1.0.0/16, an address, or loopback", s)
		case p.Bits() == 0:
			return nil, fmt.Errorf("%s would believe everybody: name the networks of your proxies", s)
		case p.Addr().Is4In6():
			return nil, fmt.Errorf("write %s as an IPv4 network, without ::ffff: before it", s)
		}
		t = append(t, p.Masked())
	}
	return t, nil
}

// Contains reports whether an address is one of a trusted proxy.
func (t Trusted) Contains(a netip.Addr) bool {
	for _, p := range t {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// Caller returns who sent a request that came from peer with the values of X-Forwarded-For. Each
// proxy has added, at the end, where it had the request from: so they are read from there, as long
// as the address before was a trusted proxy's. What comes further left anybody may have
// written. The port is 0 where nobody told it.
func (t Trusted) Caller(peer netip.AddrPort, forwarded []string) netip.AddrPort {
	caller := netip.AddrPortFrom(peer.Addr().Unmap(), peer.Port())
	for i := len(forwarded) - 1; i >= 0; i-- {
		for rest, more := forwarded[i], true; more; {
			if !t.Contains(caller.Addr()) {
				return caller
			}
			var last string
			if comma := strings.LastIndexByte(rest, ','); comma >= 0 {
				rest, last = rest[:comma], rest[comma+1:]
			} else {
				last, more = rest, false
			}
			before, ok := parseForwarded(strings.TrimSpace(last))
			if !ok {
				return caller // its proxy knows no better, or is set up badly: the caller is behind it
			}
			caller = before
		}
	}
	return caller
}

// parseForwarded reads one address of X-Forwarded-For, which no standard describes: proxies
// write it with and without port, IPv6 with and without brackets.
func parseForwarded(s string) (netip.AddrPort, bool) {
	ap, err := netip.ParseAddrPort(s)
	if err != nil {
		if strings.HasPrefix(s, "[") && strings.HasSuffix(s, "]") {
			s = s[1 : len(s)-1]
		}
		a, err := netip.ParseAddr(s)
		if err != nil {
			return netip.AddrPort{}, false
		}
		ap = netip.AddrPortFrom(a, 0)
	}
	return netip.AddrPortFrom(ap.Addr().Unmap().WithZone(""), ap.Port()), true
}
