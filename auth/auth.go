// Package auth turns tokens into identities: who somebody is, and what they may do.
//
// Tokens are JSON Web Tokens (RFC 7519). The claims that count are
//
//	sub      the user; required
//	exp      required: a session ends then, unless it brings a fresh token
//	nbf      if there
//	aud, iss if configured
//	rookery  {"join":["lobby","team:*"],"publish":[…],"signal":[…]}: see Permissions
package auth

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/MicahParks/keyfunc/v3"
	"github.com/golang-jwt/jwt/v5"
)

// minSecret is the least length of an HS256 secret, in bytes: RFC 7518, section 3.2.
const minSecret = 32

// minRSA is the least length of an RSA key, in bits: RFC 7518, section 3.3.
const minRSA = 2048

// leeway is how far the clocks of who mints and who verifies may be apart.
const leeway = 5 * time.Second

// An Identity is what a good token says.
type Identity struct {
	User    string // as the token has it: not yet checked to be a name
	Expires time.Time
	Permissions
}

// Options are how tokens are verified. Exactly one of Secret, Key and JWKS is set.
type Options struct {
	Secret   string // for HS256: at least 32 bytes
	Key      []byte // a public key in PEM: RSA (RS256, RS384, RS512), EC P-256 (ES256), P-384 (ES384) or P-521 (ES512), Ed25519 (EdDSA)
	JWKS     string // URL of a JSON Web Key Set (RFC 7517); fetched at start, each hour, and when a token names a key that it does not have
	Audience string // what aud must contain; "" does not look
	Issuer   string // what iss must be; "" does not look
}

// A Verifier verifies tokens. Its methods may be called by any goroutine.
type Verifier struct {
	parser *jwt.Parser // Fixed at construction.
	key    jwt.Keyfunc // Fixed at construction.
}

// New returns a verifier. With a JWKS, ctx bounds the goroutine that refreshes it, and the first
// fetch must succeed.
func New(ctx context.Context, o Options) (*Verifier, error) {
	set := 0
	for _, given := range []bool{o.Secret != "", len(o.Key) > 0, o.JWKS != ""} {
		if given {
			set++
		}
	}
	if set != 1 {
		return nil, errors.New("give one of a secret, a key and a JWKS URL")
	}
	var algorithms []string
	var key jwt.Keyfunc
	var err error
	switch {
	case o.Secret != "":
		algorithms, key, err = fromSecret(o.Secret)
	case o.JWKS != "":
		algorithms, key, err = fromJWKS(ctx, o.JWKS)
	default:
		algorithms, key, err = fromPEM(o.Key)
	}
	if err != nil {
		return nil, err
	}
	opts := []jwt.ParserOption{jwt.WithValidMethods(algorithms), jwt.WithExpirationRequired(), jwt.WithLeeway(leeway), jwt.WithStrictDecoding()}
	if o.Audience != "" {
		opts = append(opts, jwt.WithAudience(o.Audience))
	}
	if o.Issuer != "" {
		opts = append(opts, jwt.WithIssuer(o.Issuer))
	}
	return &Verifier{parser: jwt.NewParser(opts...), key: key}, nil
}

func fromSecret(secret string) ([]string, jwt.Keyfunc, error) {
	switch {
	case strings.Contains(secret, "-----BEGIN"):
		// Whoever has the public key could otherwise sign with it.
		return nil, nil, errors.New("the secret is a PEM key: give it as a key")
	case len(secret) < minSecret:
		return nil, nil, fmt.Errorf("the secret has %d bytes: HS256 needs at least %d", len(secret), minSecret)
	}
	return []string{"HS256"}, func(*jwt.Token) (any, error) { return []byte(secret), nil }, nil
}

func fromPEM(text []byte) ([]string, jwt.Keyfunc, error) {
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, nil, errors.New("the key is not PEM: want -----BEGIN PUBLIC KEY-----")
	}
	if strings.Contains(block.Type, "PRIVATE") {
		return nil, nil, errors.New("the key is a private one: a node needs the public key only")
	}
	key, err := parsePublic(block)
	if err != nil {
		return nil, nil, fmt.Errorf("the key: %w", err)
	}
	algorithms, err := algorithmsOf(key)
	if err != nil {
		return nil, nil, err
	}
	return algorithms, func(*jwt.Token) (any, error) { return key, nil }, nil
}

func parsePublic(block *pem.Block) (any, error) {
	switch block.Type {
	case "CERTIFICATE":
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		return c.PublicKey, nil
	case "RSA PUBLIC KEY":
		return x509.ParsePKCS1PublicKey(block.Bytes)
	}
	return x509.ParsePKIXPublicKey(block.Bytes)
}

// algorithmsOf fixes what a key may be used for, whatever a token's header says.
func algorithmsOf(key any) ([]string, error) {
	switch key := key.(type) {
	case *rsa.PublicKey:
		if key.N.BitLen() < minRSA {
			return nil, fmt.Errorf("the RSA key has %d bits: want at least %d", key.N.BitLen(), minRSA)
		}
		return []string{"RS256", "RS384", "RS512"}, nil
	case *ecdsa.PublicKey:
		switch key.Curve {
		case elliptic.P256():
			return []string{"ES256"}, nil
		case elliptic.P384():
			return []string{"ES384"}, nil
		case elliptic.P521():
			return []string{"ES512"}, nil
		}
	case ed25519.PublicKey:
		return []string{"EdDSA"}, nil
	}
	return nil, errors.New("the key is of a kind that is not used here: want RSA, EC P-256, P-384 or P-521, or Ed25519")
}

func fromJWKS(ctx context.Context, address string) ([]string, jwt.Keyfunc, error) {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		return nil, nil, fmt.Errorf("JWKS URL %q: want https://host/path", address)
	}
	storage, err := fetchSet(ctx, address)
	if err != nil {
		return nil, nil, fmt.Errorf("JWKS %s: %w", address, err)
	}
	set, err := keyfunc.New(keyfunc.Options{Ctx: ctx, Storage: storage})
	if err != nil {
		return nil, nil, err
	}
	// A key set says for what algorithm each of its keys is; symmetric ones have no place in it.
	all := []string{"RS256", "RS384", "RS512", "ES256", "ES384", "ES512", "EdDSA"}
	return all, func(t *jwt.Token) (any, error) {
		key, err := set.KeyfuncCtx(ctx)(t)
		if err != nil {
			return nil, err
		}
		allowed, err := algorithmsOf(key)
		if err != nil {
			return nil, err
		}
		for _, a := range allowed {
			if a == t.Method.Alg() {
				return key, nil
			}
		}
		return nil, errors.New("the token's algorithm is not its key's")
	}, nil
}

type claims struct {
	jwt.RegisteredClaims
	Rookery *grants `json:"rookery,omitempty"`
}

// grants are the lists of the claim rookery. One that is missing grants nothing.
type grants struct {
	Join    []string `json:"join"`
	Publish []string `json:"publish"`
	Signal  []string `json:"signal"`
}

// maxToken bounds what is parsed, in bytes.
const maxToken = 16 << 10

// lastExpiry is the end of the year 9999, in Unix seconds. Later is a mistake, and some of it no time that Go can hold.
const lastExpiry = 253402300799

// Verify returns who the token's bearer is. Its errors say what is wrong, and nothing of the token.
func (v *Verifier) Verify(token string) (Identity, error) {
	if len(token) > maxToken {
		return Identity{}, errors.New("the token is longer than 16 KiB")
	}
	var c claims
	if _, err := v.parser.ParseWithClaims(token, &c, v.key); err != nil {
		return Identity{}, reason(err)
	}
	if c.Subject == "" {
		return Identity{}, errors.New("the token has no sub")
	}
	if c.ExpiresAt.Unix() > lastExpiry {
		return Identity{}, errors.New("the token ends after the year 9999: exp counts seconds, not smaller units")
	}
	id := Identity{User: c.Subject, Expires: c.ExpiresAt.Time}
	if c.Rookery != nil {
		id.Permissions = Permissions{granted: true, join: c.Rookery.Join, publish: c.Rookery.Publish, signal: c.Rookery.Signal}
	}
	return id, nil
}

// What Verify returns for a token that was good, and for one that may be good.
var (
	ErrExpired     = errors.New("the token has expired")
	ErrUnavailable = errors.New("the token's key is not known, and the key set cannot be asked just now: try again")
)

// reason tells what is wrong without repeating what the token holds.
func reason(err error) error {
	for _, r := range []struct{ is, say error }{
		{jwt.ErrTokenMalformed, errors.New("the token is malformed")},
		{ErrUnavailable, ErrUnavailable},
		{jwt.ErrTokenUnverifiable, errors.New("the token's signature cannot be verified: its key or algorithm is not ours")},
		{jwt.ErrTokenSignatureInvalid, errors.New("the token's signature or algorithm is wrong")},
		{jwt.ErrTokenExpired, ErrExpired},
		{jwt.ErrTokenNotValidYet, errors.New("the token is not valid yet")},
		{jwt.ErrTokenRequiredClaimMissing, errors.New("the token lacks a claim: exp is required")},
		{jwt.ErrTokenInvalidAudience, errors.New("the token is for another audience")},
		{jwt.ErrTokenInvalidIssuer, errors.New("the token is from another issuer")},
	} {
		if errors.Is(err, r.is) {
			return r.say
		}
	}
	return errors.New("the token is not valid")
}

// Mint signs a token with an HS256 secret, for development and tests. p may be nil: the server's
// rule for rooms then holds.
func Mint(secret, user string, life time.Duration, p *Permissions) (string, error) {
	if _, _, err := fromSecret(secret); err != nil {
		return "", err
	}
	now := time.Now()
	c := claims{RegisteredClaims: jwt.RegisteredClaims{Subject: user, IssuedAt: jwt.NewNumericDate(now), ExpiresAt: jwt.NewNumericDate(now.Add(life))}}
	if p != nil {
		c.Rookery = &grants{Join: p.join, Publish: p.publish, Signal: p.signal}
	}
	return jwt.NewWithClaims(jwt.SigningMethodHS256, c).SignedString([]byte(secret))
}
