package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/rookery-chat/rookery/proxy"
)

// listeners are the addresses that a node serves.
type listeners struct {
	public, admin net.Listener
	tcp, push     net.Listener // nil when they are off
}

// listen opens the node's addresses.
func (c *serveCmd) listen(ctx context.Context, proxies proxy.Trusted) (l listeners, err error) {
	defer func() {
		if err != nil {
			l.close()
		}
	}()
	var k *keyPair
	if c.TLSCert != "" {
		k = &keyPair{cert: c.TLSCert, key: c.TLSKey}
		if _, err := k.get(nil); err != nil {
			return l, fmt.Errorf("--tls-cert, --tls-key: %w", err)
		}
	}
	if l.public, err = listenLate(ctx, c.Listen); err != nil {
		return l, fmt.Errorf("--listen: %w", err)
	}
	l.public = open(l.public, proxies, k, "http/1.1")
	if c.TCP != "" {
		if l.tcp, err = listen(ctx, c.TCP); err != nil {
			return l, fmt.Errorf("--tcp: %w", err)
		}
		l.tcp = open(l.tcp, proxies, k)
		slog.Info("raw TCP", "addr", l.tcp.Addr().String())
	}
	if l.admin, err = listen(ctx, c.Admin); err != nil {
		return l, fmt.Errorf("--admin: %w", err)
	}
	if c.Push != "" {
		if l.push, err = listen(ctx, c.Push); err != nil {
			return l, fmt.Errorf("--push: %w", err)
		}
		slog.Info("push port", "addr", l.push.Addr().String())
	}
	return l, nil
}

// open makes a listener one for users: what trusted proxies send before the caller's bytes, and
// then TLS if there is a certificate, are taken off.
func open(l net.Listener, proxies proxy.Trusted, k *keyPair, protocols ...string) net.Listener {
	l = proxy.Listen(l, proxies)
	if k == nil {
		return l
	}
	return tls.NewListener(l, &tls.Config{GetCertificate: k.get, NextProtos: protocols})
}

func (l listeners) close() {
	for _, one := range []net.Listener{l.public, l.tcp, l.admin, l.push} {
		if one != nil {
			one.Close()
		}
	}
}

func listen(ctx context.Context, addr string) (net.Listener, error) {
	return listenConfig().Listen(ctx, "tcp", addr)
}

// listenLate is listen for peers who speak first: their connections are accepted with what they say, so that nobody has to
// be woken twice. Who says nothing for a second is accepted then.
func listenLate(ctx context.Context, addr string) (net.Listener, error) {
	lc := listenConfig()
	lc.Control = func(_, _ string, c syscall.RawConn) error { return c.Control(deferAccept) }
	return lc.Listen(ctx, "tcp", addr)
}

func listenConfig() *net.ListenConfig {
	// Sessions have their own heartbeat: the kernel's probes would cost more than it does.
	return &net.ListenConfig{KeepAlive: -1}
}

// reachable is where others find a listener: at this machine's name, when it listens everywhere.
func reachable(addr net.Addr) string {
	host, port, err := net.SplitHostPort(addr.String())
	if ip := net.ParseIP(host); err != nil || ip == nil || !ip.IsUnspecified() {
		return addr.String()
	}
	name, err := os.Hostname()
	if err != nil {
		return addr.String()
	}
	return net.JoinHostPort(name, port)
}

// ownPagesOnly is for a node that takes everybody because only this machine reaches it: a browser
// on it does too, and a site of the world may give its own name this machine's address
// (DNS rebinding). Its pages then say that they are the node's own, under a name that is not.
func ownPagesOnly(h http.Handler, origins []string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host := r.Host
		if name, _, err := net.SplitHostPort(host); err == nil {
			host = name
		}
		host = strings.Trim(host, "[]")
		if r.Header.Get("Origin") != "" && !loopback(strings.ToLower(host)) && !slices.Contains(origins, host) {
			http.Error(w, "this node serves pages on its own machine: start it with --auth-secret, --auth-key, --auth-jwks or --anonymous to be reached under another name", http.StatusForbidden)
			return
		}
		h.ServeHTTP(w, r)
	})
}

// checkListeners refuses addresses that would open the node to the world by mistake.
func (c *serveCmd) checkListeners() error {
	listeners := []struct{ flag, addr string }{{"--listen", c.Listen}, {"--admin", c.Admin}}
	if c.Push != "" {
		listeners = append(listeners, struct{ flag, addr string }{"--push", c.Push})
	}
	if c.TCP != "" {
		listeners = append(listeners, struct{ flag, addr string }{"--tcp", c.TCP})
	}
	for _, l := range listeners {
		host, _, err := net.SplitHostPort(l.addr)
		if err != nil {
			return fmt.Errorf("%s %q: want host:port, such as 127.0.0.1:8000: %w", l.flag, l.addr, err)
		}
		if loopback(host) {
			continue
		}
		switch {
		case l.flag == "--admin" && len(c.APIKey) == 0:
			return fmt.Errorf("--admin %s is reachable by others: say who may use it with --api-key, or make it a loopback address", l.addr)
		case l.flag == "--push" && c.PushSecret == "":
			return fmt.Errorf("--push %s is reachable by others: say who may use it with --push-secret, or make it a loopback address", l.addr)
		case (l.flag == "--listen" || l.flag == "--tcp") && !c.Anonymous && !c.authenticated():
			return fmt.Errorf("%s %s is reachable by others: say who may come in with --auth-secret, --auth-key or --auth-jwks, or add --anonymous to let anyone in under any name", l.flag, l.addr)
		}
	}
	if (c.TLSCert == "") != (c.TLSKey == "") {
		return errors.New("--tls-cert and --tls-key go together")
	}
	return nil
}

func loopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

func newServer(h http.Handler) *http.Server {
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       30 * time.Second,
		WriteTimeout:      30 * time.Second,
		IdleTimeout:       60 * time.Second,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(slog.Default().Handler(), slog.LevelDebug),
	}
}
