package node

import (
	"sync"
	"time"
)

// A ledger keeps an account for each of many keys, and forgets those that are even: so it is as
// large as the keys that are active now, however many there ever were. Nobody has to look after
// it: a new account pays, now and then, for sweeping out the old.
type ledger[K comparable] struct {
	mu       sync.Mutex
	accounts map[K]account // Guarded by mu.
	sweepAt  int           // so many accounts are swept before there is another. Guarded by mu.
}

// An account is what one key has used.
type account struct {
	rate meter
	open int // sessions
}

// even reports whether an account says no more than a new one would.
func (a account) even(now time.Duration) bool { return a.open == 0 && time.Duration(a.rate) <= now }

// sweepLeast is a number of accounts that is not worth sweeping.
const sweepLeast = 1024

func newLedger[K comparable]() *ledger[K] {
	return &ledger[K]{accounts: make(map[K]account), sweepAt: sweepLeast}
}

// change makes of a key's account what do returns for it. now is the time since the node's start.
func (l *ledger[K]) change(key K, now time.Duration, do func(account) account) {
	l.mu.Lock()
	defer l.mu.Unlock()
	a, known := l.accounts[key]
	a = do(a)
	if a.even(now) {
		delete(l.accounts, key)
		return
	}
	if !known && len(l.accounts) >= l.sweepAt {
		l.sweep(now)
	}
	l.accounts[key] = a
}

// sweep keeps the accounts that are not even, in a map of their size: a map that grew never gets
// smaller. The caller holds mu.
func (l *ledger[K]) sweep(now time.Duration) {
	kept := make(map[K]account)
	for key, a := range l.accounts {
		if !a.even(now) {
			kept[key] = a
		}
	}
	l.accounts, l.sweepAt = kept, max(2*len(kept), sweepLeast)
}

func (l *ledger[K]) len() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.accounts)
}
