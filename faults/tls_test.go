package faults_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/rookery-chat/rookery/wire"
)

// certify writes a certificate for 127.0.0.1 and its key, and returns who trusts it.
func certify(t *testing.T, cert, key string, serial int64) *x509.CertPool {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: "rookery"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	parsed, _ := x509.ParseCertificate(der)
	pool.AddCert(parsed)
	for file, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: secret}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return pool
}

// Over TLS, where the node has no socket of its own to write to without waiting, all is the
// same: also for a reader that is slow. A renewed certificate is taken without a restart.
func TestTLS(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	pool := certify(t, cert, key, 1)
	node := serve(t, nil, "--tls-cert="+cert, "--tls-key="+key, "--limit-bytes=100000000")
	dial := func(pool *x509.CertPool, user string) *websocket.Conn {
		t.Helper()
		client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}}
		conn, _, err := websocket.Dial(t.Context(), "wss://"+node.Addr+"/ws", &websocket.DialOptions{HTTPClient: client})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.CloseNow(); client.CloseIdleConnections() })
		conn.SetReadLimit(1 << 20)
		for _, c := range []wire.Command{{Type: "hello", ID: 1, User: user}, {Type: "join", ID: 2, Topic: "lobby"}} {
			if err := conn.Write(t.Context(), websocket.MessageText, c.Append(nil)); err != nil {
				t.Fatal(err)
			}
		}
		return conn
	}
	messages := func(conn *websocket.Conn, count int) {
		t.Helper()
		for next := uint64(1); next <= uint64(count); {
			_, b, err := conn.Read(t.Context())
			if err != nil {
				t.Fatalf("before message %d: %v", next, err)
			}
			if m, ok := parse(b).(*wire.Message); ok {
				if m.Offset != next {
					t.Fatalf("message %d comes before %d", m.Offset, next)
				}
				next++
			}
		}
	}
	slow, talker := dial(pool, "slow"), dial(pool, "talker")
	for {
		_, b, err := slow.Read(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if ok, is := parse(b).(*wire.OK); is && ok.ID == 2 {
			break
		}
	}
	const count = 900 // of 20 KiB: far more than sockets hold
	data := []byte(`"` + strings.Repeat("x", 20<<10) + `"`)
	sent := make(chan error, 1)
	go func() {
		for i := range count {
			c := wire.Command{Type: "publish", Topic: "lobby", Data: data, Key: fmt.Sprint(i)}
			if err := talker.Write(t.Context(), websocket.MessageText, c.Append(nil)); err != nil {
				sent <- err
				return
			}
		}
		sent <- nil
	}()
	messages(talker, count)
	if err := <-sent; err != nil {
		t.Fatal(err)
	}
	messages(slow, count)

	pool = certify(t, cert, key, 2)
	later := time.Now().Add(time.Second) // a file system may not tell times apart that are near
	os.Chtimes(cert, later, later)
	dial(pool, "new")
}
