package bus

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/rookery-chat/rookery/internal/nowait"
)

// ParseURLs turns the URLs under which an operator names Redis into the options of a
// client that NewRedis takes (made by redis.NewUniversalClient):
//
//	redis://[user:password@]host[:6379][/db]                              a single server
//	redis+cluster://[user:password@]host[:6379],host…                     a cluster, by some of its nodes
//	redis+sentinel://[user:password@]host[:26379],host…/master-name[/db]  what Sentinels watch
//
// Several redis:// URLs name a cluster too. With rediss the connections are TLS; the system's
// certificates count, and those that SSL_CERT_FILE names. Sentinels that want a password of
// their own get ?sentinel_username= and ?sentinel_password=. Errors show no passwords.
func ParseURLs(urls []string) (*redis.UniversalOptions, error) {
	if len(urls) == 0 {
		return nil, errors.New("no Redis URL is given: try redis://localhost:6379")
	}
	var opts *redis.UniversalOptions
	for _, s := range urls {
		o, err := parseURL(s)
		switch {
		case err != nil:
			return nil, err
		case opts == nil:
			opts = o
		case o.MasterName != "" || opts.MasterName != "":
			return nil, errors.New("name all Sentinels in one URL, separated by commas")
		case o.Username != opts.Username || o.Password != opts.Password || (o.TLSConfig == nil) != (opts.TLSConfig == nil):
			return nil, errors.New("several Redis URLs name one cluster: they must agree in user, password and TLS")
		default:
			opts.Addrs = append(opts.Addrs, o.Addrs...)
			opts.DB = max(opts.DB, o.DB)
		}
	}
	if len(opts.Addrs) > 1 && opts.MasterName == "" {
		opts.IsClusterMode = true
	}
	if opts.IsClusterMode && opts.DB != 0 {
		return nil, errors.New("a Redis Cluster has database 0 only: leave the number away")
	}

	opts.MaxRetries = -1 // the bus repeats what may be repeated
	opts.DialTimeout = 3 * time.Second
	opts.ReadTimeout = 3 * time.Second
	opts.WriteTimeout = 3 * time.Second
	opts.ContextTimeoutEnabled = true
	opts.DialerRetries = 1
	opts.Dialer = dialer(opts.TLSConfig, opts.DialTimeout)
	return opts, nil
}

func parseURL(s string) (*redis.UniversalOptions, error) {
	if !strings.Contains(s, "://") { // it may be a password
		return nil, errors.New("a Redis URL has no scheme: it should look like redis://host:6379")
	}
	u, hosts, err := splitURL(s)
	if err != nil { // its text would show the password
		return nil, errors.New("a Redis URL cannot be parsed: it should look like redis://user:password@host:6379, with special characters of the password percent-encoded")
	}
	query := u.Query()
	u.RawQuery = "" // errors show the rest
	scheme, kind, _ := strings.Cut(u.Scheme, "+")
	if scheme != "redis" && scheme != "rediss" || kind != "" && kind != "cluster" && kind != "sentinel" {
		return nil, fmt.Errorf("Redis URL %s: the scheme should be redis, rediss, redis+cluster or redis+sentinel", u.Redacted())
	}
	bad := func(format string, args ...any) (*redis.UniversalOptions, error) {
		return nil, fmt.Errorf("Redis URL %s: %s", u.Redacted(), fmt.Sprintf(format, args...))
	}

	opts := &redis.UniversalOptions{Username: u.User.Username(), IsClusterMode: kind == "cluster"}
	opts.Password, _ = u.User.Password()
	port := "6379"
	if kind == "sentinel" {
		port = "26379"
	}
	for _, h := range hosts {
		if h.Hostname() == "" {
			return bad("a host is missing")
		}
		p := h.Port()
		if p == "" {
			p = port
		}
		opts.Addrs = append(opts.Addrs, net.JoinHostPort(h.Hostname(), p))
	}
	if kind == "" && len(opts.Addrs) > 1 {
		return bad("several hosts need the scheme redis+cluster or redis+sentinel")
	}
	if scheme == "rediss" {
		opts.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	}

	path := strings.Split(strings.Trim(u.Path, "/"), "/")
	if kind == "sentinel" {
		opts.MasterName, path = path[0], path[1:]
		if opts.MasterName == "" {
			return bad("the path should be the name of the master that the Sentinels watch")
		}
		for name, values := range query {
			switch name {
			case "sentinel_username":
				opts.SentinelUsername = values[0]
			case "sentinel_password":
				opts.SentinelPassword = values[0]
			default:
				return nil, fmt.Errorf("Redis URL of Sentinels: unknown parameter %q", name)
			}
		}
	} else if len(query) > 0 {
		return nil, errors.New("a Redis URL has no parameters: leave out what follows the question mark")
	}
	if len(path) > 1 {
		return bad("the path has too many parts")
	}
	if len(path) == 1 && path[0] != "" {
		if opts.DB, err = strconv.Atoi(path[0]); err != nil || opts.DB < 0 {
			return bad("the database should be a number")
		}
	}
	return opts, nil
}

// splitURL parses a URL that may name several hosts.
func splitURL(s string) (u *url.URL, hosts []*url.URL, err error) {
	scheme, rest, _ := strings.Cut(s, "://")
	end := len(rest)
	if i := strings.IndexAny(rest, "/?#"); i >= 0 {
		end = i
	}
	start := strings.LastIndex(rest[:end], "@") + 1
	first, more, _ := strings.Cut(rest[start:end], ",")
	if u, err = url.Parse(scheme + "://" + rest[:start] + first + rest[end:]); err != nil {
		return nil, nil, err
	}
	hosts = []*url.URL{u}
	for host := range strings.SplitSeq(more, ",") {
		if more == "" {
			break
		}
		h, err := url.Parse("redis://" + host)
		if err != nil {
			return nil, nil, err
		}
		hosts = append(hosts, h)
	}
	return u, hosts, nil
}

// dialer dials so that closing a connection also discards what was not sent yet:
// otherwise the kernel would go on sending it for minutes, and a publish that was given
// up could still arrive when its key is long forgotten.
func dialer(config *tls.Config, timeout time.Duration) func(context.Context, string, string) (net.Conn, error) {
	d := &net.Dialer{Timeout: timeout, KeepAliveConfig: net.KeepAliveConfig{
		Enable: true, Idle: 15 * time.Second, Interval: 5 * time.Second, Count: 3,
	}}
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := d.DialContext(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		if tcp, ok := c.(*net.TCPConn); ok {
			tcp.SetLinger(0)
		}
		c = nowait.NewConn(c)
		if config == nil {
			return c, nil
		}
		config := config.Clone()
		config.ServerName, _, _ = net.SplitHostPort(addr)
		t := tls.Client(c, config)
		ctx, cancel := context.WithTimeout(ctx, timeout)
		defer cancel()
		if err := t.HandshakeContext(ctx); err != nil {
			c.Close()
			return nil, err
		}
		return t, nil
	}
}
