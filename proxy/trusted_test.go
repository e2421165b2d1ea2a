package proxy_test

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/rookery-chat/rookery/proxy"
)

func trust(t testing.TB, list ...string) proxy.Trusted {
	t.Helper()
	p, err := proxy.ParseTrusted(list)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// An operator names networks, addresses or loopback; what would trust too much, or nothing, is
// refused with a word on what to write.
func TestParseTrusted(t *testing.T) {
	t.Parallel()
	p := trust(t, "10.1.2.3/8", "192.0.2.7", " 2001:db8::/32", "loopback")
	for a, want := range map[string]bool{
		"10.200.0.1": true, "11.0.0.1": false, "192.0.2.7": true, "192.0.2.8": false,
		"2001:db8::1": true, "2001:db9::1": false, "127.9.9.9": true, "::1": true, "::2": false,
	} {
		if got := p.Contains(netip.MustParseAddr(a)); got != want {
			t.Errorf("%s is trusted: %v", a, got)
		}
	}
	for _, bad := range []string{"", "10.0.0.0/33", "example.com", "10.0.0.1:80", "fe80::1%eth0", "0.0.0.0/0", "::/0", "::ffff:10.0.0.1", "::ffff:10.0.0.0/104", "loopback,10.0.0.1"} {
		if p, err := proxy.ParseTrusted([]string{bad}); err == nil {
			t.Errorf("%q was taken for %v", bad, p)
		} else if !strings.Contains(err.Error(), bad) {
			t.Errorf("%q: the error names it not: %v", bad, err)
		}
	}
}

// Whoever calls is the last address that no trusted proxy has, as far as trusted proxies say it.
func TestCaller(t *testing.T) {
	t.Parallel()
	p := trust(t, "10.0.0.0/8", "2001:db8:1::/48")
	for name, row := range map[string]struct {
		peer      string
		forwarded []string
		want      string
	}{
		"nothing between":               {"203.0.113.7:5000", nil, "203.0.113.7:5000"},
		"one proxy":                     {"10.0.0.1:9", []string{"203.0.113.7"}, "203.0.113.7:0"},
		"two proxies":                   {"10.0.0.1:9", []string{"203.0.113.7, 10.0.0.2"}, "203.0.113.7:0"},
		"two proxies, a line each":      {"10.0.0.1:9", []string{"203.0.113.7", "10.0.0.2"}, "203.0.113.7:0"},
		"many lines":                    {"10.0.0.1:9", []string{"6.6.6.6, 203.0.113.7,10.0.0.3", "10.0.0.2"}, "203.0.113.7:0"},
		"a port":                        {"10.0.0.1:9", []string{"203.0.113.7:81"}, "203.0.113.7:81"},
		"IPv6":                          {"[2001:db8:1::1]:9", []string{"2001:db8:2::5"}, "[2001:db8:2::5]:0"},
		"IPv6 in brackets":              {"10.0.0.1:9", []string{"[2001:db8:2::5]"}, "[2001:db8:2::5]:0"},
		"IPv6 with a port":              {"10.0.0.1:9", []string{"[2001:db8:2::5]:4711"}, "[2001:db8:2::5]:4711"},
		"IPv6 with a zone":              {"10.0.0.1:9", []string{"fe80::1%eth0"}, "[fe80::1]:0"},
		"IPv4 in IPv6":                  {"[::ffff:10.0.0.1]:9", []string{"::ffff:203.0.113.7"}, "203.0.113.7:0"},
		"IPv4 in IPv6, trusted":         {"10.0.0.1:9", []string{"203.0.113.7, ::ffff:10.0.0.2"}, "203.0.113.7:0"},
		"only proxies: the first":       {"10.0.0.1:9", []string{"10.0.0.3, 10.0.0.2"}, "10.0.0.3:0"},
		"nothing forwarded":             {"10.0.0.1:9", nil, "10.0.0.1:9"},
		"spoofed, nothing between":      {"203.0.113.7:5000", []string{"1.2.3.4"}, "203.0.113.7:5000"},
		"spoofed as a proxy":            {"203.0.113.7:5000", []string{"1.2.3.4, 10.0.0.1"}, "203.0.113.7:5000"},
		"spoofed before the truth":      {"10.0.0.1:9", []string{"1.2.3.4, 203.0.113.7"}, "203.0.113.7:0"},
		"spoofed proxies":               {"10.0.0.1:9", []string{"1.2.3.4, 10.0.0.9, 203.0.113.7"}, "203.0.113.7:0"},
		"spoofed in a line of its own":  {"10.0.0.1:9", []string{"1.2.3.4", "203.0.113.7"}, "203.0.113.7:0"},
		"garbage before the truth":      {"10.0.0.1:9", []string{"\x00,,', 203.0.113.7"}, "203.0.113.7:0"},
		"garbage alone":                 {"10.0.0.1:9", []string{"unknown"}, "10.0.0.1:9"},
		"garbage after the truth":       {"10.0.0.1:9", []string{"203.0.113.7, garbage"}, "10.0.0.1:9"},
		"garbage behind a second proxy": {"10.0.0.1:9", []string{"unknown, 10.0.0.2"}, "10.0.0.2:0"},
		"an empty line":                 {"10.0.0.1:9", []string{""}, "10.0.0.1:9"},
		"an empty element":              {"10.0.0.1:9", []string{"203.0.113.7,"}, "10.0.0.1:9"},
		"a name":                        {"10.0.0.1:9", []string{"localhost"}, "10.0.0.1:9"},
		"a bad port":                    {"10.0.0.1:9", []string{"203.0.113.7:99999"}, "10.0.0.1:9"},
		"a number":                      {"10.0.0.1:9", []string{"3405803783"}, "10.0.0.1:9"},
		"octal":                         {"10.0.0.1:9", []string{"0203.0.113.7"}, "10.0.0.1:9"},
		"brackets alone":                {"10.0.0.1:9", []string{"[]"}, "10.0.0.1:9"},
	} {
		if got := p.Caller(netip.MustParseAddrPort(row.peer), row.forwarded); got != netip.MustParseAddrPort(row.want) {
			t.Errorf("%s: %s, want %s", name, got, row.want)
		}
	}
	if got := p.Caller(netip.AddrPort{}, []string{"1.2.3.4"}); got.IsValid() {
		t.Errorf("of an unknown peer: %s", got)
	}
	if got := proxy.Trusted(nil).Caller(netip.MustParseAddrPort("127.0.0.1:9"), []string{"1.2.3.4"}); got.String() != "127.0.0.1:9" {
		t.Errorf("when nobody is trusted: %s", got)
	}
}

// Whatever a caller writes into the header, what its proxy adds decides.
func FuzzCaller(f *testing.F) {
	f.Add("1.2.3.4, 10.0.0.1")
	f.Add("[2001:db8::1]:80,,\"")
	f.Add("10.0.0.1:1, ::ffff:10.0.0.1%x")
	p := trust(f, "10.0.0.0/8")
	proxyAddr, truth := netip.MustParseAddrPort("10.0.0.1:9"), netip.MustParseAddr("203.0.113.7")
	f.Fuzz(func(t *testing.T, written string) {
		for _, forwarded := range [][]string{{written + ", 203.0.113.7"}, {written, "203.0.113.7"}, {written, "203.0.113.7, 10.0.0.2"}} {
			if got := p.Caller(proxyAddr, forwarded); got.Addr() != truth {
				t.Errorf("%q makes it %s", forwarded, got)
			}
		}
		caller := netip.AddrPortFrom(truth, 5)
		if got := p.Caller(caller, []string{written}); got != caller {
			t.Errorf("%q of a caller makes it %s", written, got)
		}
		if got := p.Caller(proxyAddr, []string{written}); !got.IsValid() || got.Addr().Is4In6() || got.Addr().Zone() != "" {
			t.Errorf("%q of a proxy makes it %s", written, got)
		}
	})
}
