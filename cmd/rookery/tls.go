package main

import (
	"crypto/tls"
	"log/slog"
	"os"
	"sync"
	"time"
)

// A keyPair is a certificate in two files, read again when one of them has changed: so
// renewing it needs no restart.
type keyPair struct {
	cert, key string // files. Fixed at construction.

	mu      sync.Mutex
	loaded  *tls.Certificate // Guarded by mu.
	changed time.Time        // of the newer file, when it was loaded. Guarded by mu.
}

// get implements tls.Config.GetCertificate. Files that cannot be used, as when they are being
// replaced just now, leave the certificate before them in use.
func (k *keyPair) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	changed, err := k.newer()
	if err == nil && k.loaded != nil && changed.Equal(k.changed) {
		return k.loaded, nil
	}
	var pair tls.Certificate
	if err == nil {
		pair, err = tls.LoadX509KeyPair(k.cert, k.key)
	}
	switch {
	case err == nil:
		k.loaded, k.changed = &pair, changed
	case k.loaded == nil:
		return nil, err
	default:
		slog.Warn("certificate not read again; going on with the one before", "err", err)
	}
	return k.loaded, nil
}

// newer returns when the newer of the files was changed.
func (k *keyPair) newer() (time.Time, error) {
	a, err := os.Stat(k.cert)
	if err != nil {
		return time.Time{}, err
	}
	b, err := os.Stat(k.key)
	if err != nil {
		return time.Time{}, err
	}
	if a.ModTime().After(b.ModTime()) {
		return a.ModTime(), nil
	}
	return b.ModTime(), nil
}
