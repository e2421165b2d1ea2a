package faults_test

import (
	"fmt"
	"net"
	"path/filepath"
	"testing"

	"github.com/rookery-chat/rookery/internal/processtest"
	"github.com/rookery-chat/rookery/internal/redistest"
)

// Each form in which an operator may name Redis: two nodes that are told it carry messages from
// one to the other.
func TestRedisForms(t *testing.T) {
	ask := func(s *redistest.Server, words ...any) {
		t.Helper()
		if _, err := s.Ask(words...); err != nil {
			t.Fatalf("%v: %v", words, err)
		}
	}
	for _, row := range []struct {
		name string
		make func(t *testing.T) (flags []string)
	}{
		{"a server with a password", func(t *testing.T) []string {
			s := redistest.Start(t)
			ask(s, "config", "set", "requirepass", "p@ss")
			return []string{"--redis=redis://:p%40ss@" + s.Addr}
		}},
		{"a server over TLS", func(t *testing.T) []string {
			dir := t.TempDir()
			cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
			certify(t, cert, key, 1)
			s := redistest.Start(t, "--tls-cert-file", cert, "--tls-key-file", key, "--tls-ca-cert-file", cert, "--tls-auth-clients", "no")
			addr := processtest.FreeAddr(t)
			_, port, _ := net.SplitHostPort(addr)
			ask(s, "config", "set", "tls-port", port)
			t.Setenv("SSL_CERT_FILE", cert)
			return []string{"--redis=rediss://" + addr}
		}},
		{"Sentinels with passwords", func(t *testing.T) []string {
			g := redistest.StartGroup(t, 1, 3)
			for _, s := range g.Servers {
				ask(s, "config", "set", "masterauth", "server", "requirepass", "server")
			}
			for _, s := range g.Sentinels {
				ask(s, "sentinel", "set", "main", "auth-pass", "server")
				ask(s, "sentinel", "config", "set", "sentinel-pass", "sentinel")
				ask(s, "acl", "setuser", "default", "resetpass", ">sentinel")
			}
			return []string{fmt.Sprintf("--redis=redis+sentinel://:server@%s,%s,%s/main?sentinel_password=sentinel",
				g.Sentinels[0].Addr, g.Sentinels[1].Addr, g.Sentinels[2].Addr)}
		}},
		{"several servers of a cluster", func(t *testing.T) []string {
			c := redistest.StartCluster(t, 2, false)
			return []string{"--redis=" + c.Servers[0].URL(), "--redis=" + c.Servers[1].URL()}
		}},
		{"a cluster by the environment", func(t *testing.T) []string {
			c := redistest.StartCluster(t, 2, false)
			t.Setenv("ROOKERY_REDIS", c.Servers[0].URL()+" "+c.Servers[1].URL())
			return nil
		}},
	} {
		t.Run(row.name, func(t *testing.T) {
			flags := row.make(t)
			a, b := enter(t, serve(t, nil, flags...).URL(), "alice"), enter(t, serve(t, nil, flags...).URL(), "bob")
			a.join("lobby", nil)
			b.join("lobby", nil)
			a.say("lobby", "one")
			b.say("lobby", "two")
			a.awaitTexts("lobby", []string{"one", "two"})
			b.awaitTexts("lobby", []string{"one", "two"})
			a.say("@bob", "psst")
			b.awaitTexts("@bob", []string{"psst"})
		})
	}
}
