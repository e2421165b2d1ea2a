package auth_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"math/big"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/rookery-chat/rookery/auth"
)

const secret = "a secret of more than thirty-two bytes"

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func publicPEM(key crypto.PublicKey) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: must(x509.MarshalPKIXPublicKey(key))})
}

func sign(method jwt.SigningMethod, key any, claims jwt.MapClaims, header ...string) string {
	t := jwt.NewWithClaims(method, claims)
	for i := 0; i+1 < len(header); i += 2 {
		t.Header[header[i]] = header[i+1]
	}
	return must(t.SignedString(key))
}

func good() jwt.MapClaims {
	return jwt.MapClaims{"sub": "alice", "exp": time.Now().Add(time.Hour).Unix()}
}

func with(name string, value any) jwt.MapClaims {
	c := good()
	if value == nil {
		delete(c, name)
	} else {
		c[name] = value
	}
	return c
}

func TestMint(t *testing.T) {
	t.Parallel()
	v := must(auth.New(t.Context(), auth.Options{Secret: secret}))
	p := auth.Grant([]string{"team:*"}, nil, []string{"**"})
	for _, granted := range []*auth.Permissions{nil, &p} {
		id, err := v.Verify(must(auth.Mint(secret, "alice", time.Hour, granted)))
		if err != nil || id.User != "alice" || time.Until(id.Expires) < 50*time.Minute {
			t.Fatalf("%+v, %v", id, err)
		}
		if got := id.MayJoin("team:red"); got != (granted != nil) {
			t.Errorf("granted %v: may join team:red: %v", granted, got)
		}
		if id.Granted() != (granted != nil) || auth.Open().MayJoin("lobby") == id.MayJoin("lobby") {
			t.Errorf("granted %v: %+v", granted, id.Permissions)
		}
	}
}

// Tokens that must not pass, and what is said of them.
func TestHostileTokens(t *testing.T) {
	t.Parallel()
	rsaKey := must(rsa.GenerateKey(rand.Reader, 2048))
	other := must(rsa.GenerateKey(rand.Reader, 2048))
	ecKey := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	ec384 := must(ecdsa.GenerateKey(elliptic.P384(), rand.Reader))
	edPublic, edKey, _ := ed25519.GenerateKey(rand.Reader)
	rsaPEM := publicPEM(rsaKey.Public())

	bySecret := must(auth.New(t.Context(), auth.Options{Secret: secret, Audience: "chat", Issuer: "us"}))
	byRSA := must(auth.New(t.Context(), auth.Options{Key: rsaPEM}))
	byEC := must(auth.New(t.Context(), auth.Options{Key: publicPEM(ecKey.Public())}))
	byEd := must(auth.New(t.Context(), auth.Options{Key: publicPEM(edPublic)}))

	hs := func(name string, value any) string {
		c := with(name, value)
		if name != "aud" {
			c["aud"] = "chat"
		}
		if name != "iss" {
			c["iss"] = "us"
		}
		return sign(jwt.SigningMethodHS256, []byte(secret), c)
	}
	fine := hs("x", 1)
	if _, err := bySecret.Verify(fine); err != nil {
		t.Fatalf("a good token: %v", err)
	}
	parts := strings.Split(fine, ".")
	none := sign(jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, good())
	forged := func(header string) string {
		return base64.RawURLEncoding.EncodeToString([]byte(header)) + "." + parts[1] + "."
	}
	for _, row := range []struct {
		name  string
		v     *auth.Verifier
		token string
		says  string
	}{
		{"empty", bySecret, "", "malformed"},
		{"no dots", bySecret, "abc", "malformed"},
		{"two parts", bySecret, parts[0] + "." + parts[1], "malformed"},
		{"four parts", bySecret, fine + ".x", "malformed"},
		{"not base64", bySecret, "!.!.!", "malformed"},
		{"huge", bySecret, strings.Repeat("a", 1<<20), "longer"},
		{"no signature", bySecret, parts[0] + "." + parts[1] + ".", "signature"},
		{"signature of another", bySecret, parts[0] + "." + parts[1] + "." + strings.Split(hs("y", 2), ".")[2], "signature"},
		{"changed claims", bySecret, parts[0] + "." + base64.RawURLEncoding.EncodeToString([]byte(`{"sub":"root","exp":9999999999}`)) + "." + parts[2], "signature"},
		{"alg none", bySecret, none, "signature"},
		{"alg None", bySecret, forged(`{"alg":"None"}`), "signature"},
		{"alg missing", bySecret, forged(`{}`), "signature"},
		{"alg a number", bySecret, forged(`{"alg":1}`), "signature"},
		{"HS384", bySecret, sign(jwt.SigningMethodHS384, []byte(secret), good()), "signature"},
		{"HS512", bySecret, sign(jwt.SigningMethodHS512, []byte(secret), good()), "signature"},
		{"another secret", bySecret, sign(jwt.SigningMethodHS256, []byte(secret+"x"), good()), "signature"},
		{"RS256 for a secret", bySecret, sign(jwt.SigningMethodRS256, rsaKey, good()), "signature"},
		{"expired", bySecret, hs("exp", time.Now().Add(-time.Minute).Unix()), "expired"},
		{"no exp", bySecret, hs("exp", nil), "exp"},
		{"exp a string", bySecret, hs("exp", "tomorrow"), "malformed"},
		{"exp in milliseconds", bySecret, hs("exp", time.Now().Add(time.Hour).UnixMilli()), "seconds"},
		{"exp in nanoseconds", bySecret, hs("exp", time.Now().Add(time.Hour).UnixNano()), "seconds"},
		{"exp negative", bySecret, hs("exp", -1), "expired"},
		{"not yet", bySecret, hs("nbf", time.Now().Add(time.Hour).Unix()), "not valid yet"},
		{"no sub", bySecret, hs("sub", nil), "sub"},
		{"sub empty", bySecret, hs("sub", ""), "sub"},
		{"sub a number", bySecret, hs("sub", 7), "malformed"},
		{"other audience", bySecret, hs("aud", "mail"), "audience"},
		{"no audience", bySecret, hs("aud", nil), "claim"},
		{"other issuer", bySecret, hs("iss", "them"), "issuer"},
		{"no issuer", bySecret, hs("iss", nil), "claim"},
		{"rookery no object", bySecret, hs("rookery", "all"), "malformed"},
		{"rookery lists no lists", bySecret, hs("rookery", map[string]any{"join": "lobby"}), "malformed"},
		{"HS256 with the public key as secret", byRSA, sign(jwt.SigningMethodHS256, rsaPEM, good()), "signature"},
		{"RS256 by another key", byRSA, sign(jwt.SigningMethodRS256, other, good()), "signature"},
		{"PS256", byRSA, sign(jwt.SigningMethodPS256, rsaKey, good()), "signature"},
		{"none for RSA", byRSA, none, "signature"},
		{"RS256 for EC", byEC, sign(jwt.SigningMethodRS256, rsaKey, good()), "signature"},
		{"ES384 for P-256", byEC, sign(jwt.SigningMethodES384, ec384, good()), "signature"},
		{"HS256 for EC", byEC, sign(jwt.SigningMethodHS256, []byte(secret), good()), "signature"},
		{"HS256 for Ed25519", byEd, sign(jwt.SigningMethodHS256, []byte(edPublic), good()), "signature"},
		{"a key in the header", byRSA, sign(jwt.SigningMethodRS256, other, good(), "jku", "https://evil.example/keys", "kid", "../../dev/null"), "signature"},
	} {
		_, err := row.v.Verify(row.token)
		if err == nil {
			t.Errorf("%s: passed", row.name)
			continue
		}
		if !strings.Contains(err.Error(), row.says) {
			t.Errorf("%s: says %q, want something of %q", row.name, err, row.says)
		}
		if len(row.token) > 20 && strings.Contains(err.Error(), row.token[:20]) {
			t.Errorf("%s: the error repeats the token", row.name)
		}
	}
	for name, pass := range map[string]struct {
		v     *auth.Verifier
		token string
	}{
		"RS256": {byRSA, sign(jwt.SigningMethodRS256, rsaKey, good())},
		"ES256": {byEC, sign(jwt.SigningMethodES256, ecKey, good())},
		"EdDSA": {byEd, sign(jwt.SigningMethodEdDSA, edKey, good())},
	} {
		if id, err := pass.v.Verify(pass.token); err != nil || id.User != "alice" {
			t.Errorf("%s: %+v, %v", name, id, err)
		}
	}
	if _, err := bySecret.Verify(hs("exp", time.Now().Add(-time.Minute).Unix())); !errors.Is(err, auth.ErrExpired) {
		t.Errorf("expired: %v", err)
	}
}

func TestBadOptions(t *testing.T) {
	t.Parallel()
	small := must(rsa.GenerateKey(rand.Reader, 1024))
	_, private, _ := ed25519.GenerateKey(rand.Reader)
	for name, o := range map[string]auth.Options{
		"nothing":          {},
		"two ways":         {Secret: secret, JWKS: "https://x.example/"},
		"short secret":     {Secret: "short"},
		"a PEM secret":     {Secret: string(publicPEM(private.Public()))},
		"no PEM":           {Key: []byte("hello")},
		"private key":      {Key: pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: must(x509.MarshalPKCS8PrivateKey(private))})},
		"weak RSA":         {Key: publicPEM(small.Public())},
		"broken PEM":       {Key: pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: []byte{1, 2, 3}})},
		"JWKS no URL":      {JWKS: "keys.json"},
		"JWKS unreachable": {JWKS: "http://127.0.0.1:1/keys"},
	} {
		if _, err := auth.New(t.Context(), o); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// A key set is asked again when a token names a key that it did not have, but not by everyone's whim.
func TestJWKS(t *testing.T) {
	t.Parallel()
	first, second := must(rsa.GenerateKey(rand.Reader, 2048)), must(rsa.GenerateKey(rand.Reader, 2048))
	var keys atomic.Value
	var asked atomic.Int32
	entry := func(kid string, k *rsa.PrivateKey) map[string]string {
		return map[string]string{"kty": "RSA", "kid": kid, "alg": "RS256", "use": "sig",
			"n": base64.RawURLEncoding.EncodeToString(k.N.Bytes()), "e": base64.RawURLEncoding.EncodeToString(big.NewInt(int64(k.E)).Bytes())}
	}
	keys.Store([]map[string]string{entry("one", first)})
	var broken atomic.Bool
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		if broken.Load() {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		json.NewEncoder(w).Encode(map[string]any{"keys": keys.Load()})
	}))
	defer server.Close()
	v := must(auth.New(t.Context(), auth.Options{JWKS: server.URL}))
	if _, err := v.Verify(sign(jwt.SigningMethodRS256, first, good(), "kid", "one")); err != nil {
		t.Fatal(err)
	}
	keys.Store([]map[string]string{entry("one", first), entry("two", second)})
	if _, err := v.Verify(sign(jwt.SigningMethodRS256, second, good(), "kid", "two")); err != nil {
		t.Fatalf("after a rotation: %v", err)
	}
	unknown := sign(jwt.SigningMethodRS256, second, good(), "kid", "three")
	for range 20 {
		// It may be a key since a moment ago.
		if _, err := v.Verify(unknown); !errors.Is(err, auth.ErrUnavailable) {
			t.Fatalf("an unknown key, when the set was asked already: %v", err)
		}
	}
	if n := asked.Load(); n > 3 {
		t.Errorf("20 tokens of an unknown key made %d requests", n)
	}
	for name, token := range map[string]string{
		"without kid":         sign(jwt.SigningMethodRS256, first, good()),
		"another key's kid":   sign(jwt.SigningMethodRS256, first, good(), "kid", "two"),
		"HS256 with a kid":    sign(jwt.SigningMethodHS256, []byte(secret), good(), "kid", "one"),
		"RS512 for RS256 use": sign(jwt.SigningMethodRS512, first, good(), "kid", "one"),
	} {
		if _, err := v.Verify(token); err == nil || errors.Is(err, auth.ErrUnavailable) {
			t.Errorf("%s: %v", name, err)
		}
	}

	v = must(auth.New(t.Context(), auth.Options{JWKS: server.URL}))
	if _, err := v.Verify(unknown); err == nil || errors.Is(err, auth.ErrUnavailable) {
		t.Errorf("a key that is not in a set that has just been asked: %v", err)
	}
	v = must(auth.New(t.Context(), auth.Options{JWKS: server.URL}))
	broken.Store(true)
	if _, err := v.Verify(unknown); !errors.Is(err, auth.ErrUnavailable) {
		t.Errorf("an unknown key, when the set cannot be asked: %v", err)
	}
	if _, err := v.Verify(sign(jwt.SigningMethodRS256, first, good(), "kid", "one")); err != nil {
		t.Errorf("a known key, when the set cannot be asked: %v", err)
	}
}

func TestMatch(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		pattern, topic string
		want           bool
	}{
		{"lobby", "lobby", true}, {"lobby", "lobby2", false}, {"lobby", "Lobby", false}, {"", "lobby", false},
		{"team:*", "team:", true}, {"team:*", "team:red", true}, {"team:*", "tea", false}, {"team:*", "xteam:red", false},
		{"*:log", "a:log", true}, {"*:log", "a:logs", false}, {"a*b*c", "a1b2c", true}, {"a*b*c", "abc", true}, {"a*b*c", "acb", false},
		{"a*a", "a", false}, {"a*a", "aa", true}, {"*b*", "abc", true}, {"*b*", "ac", false},
		{"*", "lobby", true}, {"*", "@bob", false}, {"*", "*", false}, {"**", "*", true}, {"**", "lobby", false}, {"**", "@bob", false},
		{"@*", "@bob", true}, {"@*", "bob", false}, {"@bob", "@bob", true}, {"@bob", "@bobby", false}, {"@b*", "@bobby", true},
		{"***", "lobby", true}, {"***", "*", false},
	} {
		if got := auth.Match(row.pattern, row.topic); got != row.want {
			t.Errorf("Match(%q, %q) = %v", row.pattern, row.topic, got)
		}
	}
}
