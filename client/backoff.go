package client

import (
	"context"
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"
)

const (
	backoffBase = 250 * time.Millisecond
	backoffCap  = 20 * time.Second
	hintCap     = 5 * time.Minute // the longest delay that a server can ask for
	settled     = 5 * time.Second // a connection that stood this long forgives the failures before it
)

// A backoff says how long to wait before the next try: exponential with full jitter
// (https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/), so that
// many clients who lost the same node do not come back as one wave.
type backoff struct {
	jitter func(limit time.Duration) time.Duration // a random duration in [0, limit)
	tries  int
}

// next returns the delay before the next try. A positive hint is what the server asked
// for: the delay is not shorter, and up to half as long again.
func (b *backoff) next(hint time.Duration) time.Duration {
	limit := backoffBase << min(b.tries, 16)
	b.tries++
	d := b.jitter(min(limit, backoffCap))
	if hint <= 0 {
		return d
	}
	hint = min(hint, hintCap)
	return max(d, hint+b.jitter(hint/2+backoffBase))
}

func jitter(limit time.Duration) time.Duration { return rand.N(limit) }

// retryAfter reads the Retry-After of an HTTP answer, in seconds or as a date
// (RFC 9110, 10.2.3); 0 when there is none.
func retryAfter(h http.Header, now time.Time) time.Duration {
	v := h.Get("Retry-After")
	if s, err := strconv.ParseUint(v, 10, 32); err == nil {
		return time.Duration(s) * time.Second
	}
	if t, err := http.ParseTime(v); err == nil {
		return max(0, t.Sub(now))
	}
	return 0
}

// sleep waits for d, or until ctx is done: then it returns false.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
