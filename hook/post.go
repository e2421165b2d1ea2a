package hook

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

const (
	maxHeader = 16 << 10        // bytes of an answer's header
	maxWait   = 5 * time.Minute // that a Retry-After is honoured
)

func newClient() *http.Client {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.MaxIdleConnsPerHost = maxReviews + 1
	t.MaxResponseHeaderBytes = maxHeader
	return &http.Client{
		Transport: t,
		// Where a request goes is what the operator wrote, and nothing that an answer says.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// A statusError is an answer other than 2xx.
type statusError struct {
	status int
	wait   time.Duration // what Retry-After asked for; 0 for nothing
}

func (e *statusError) Error() string {
	text := fmt.Sprintf("the back end answered %d %s", e.status, http.StatusText(e.status))
	if e.status/100 == 3 {
		text += ": redirects are not followed"
	}
	return text
}

// post sends a body once and returns what was answered: its first bytes, up to one more than most.
func (h *Hook) post(ctx context.Context, id string, body []byte, most int) ([]byte, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, h.url, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	timestamp, signature := h.sign(id, time.Now(), body)
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("User-Agent", "rookery")
	// The standard writes its headers in lower case; HTTP does not distinguish.
	r.Header.Set("webhook-id", id)
	r.Header.Set("webhook-timestamp", timestamp)
	r.Header.Set("webhook-signature", signature)
	w, err := h.client.Do(r)
	if err != nil {
		var wrapped *url.Error
		if errors.As(err, &wrapped) {
			err = wrapped.Err // without the URL, which may hold a secret
		}
		return nil, err
	}
	defer w.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(w.Body, int64(most)+1))
	if w.StatusCode/100 != 2 {
		return nil, &statusError{w.StatusCode, retryAfter(w.Header.Get("Retry-After"), time.Now())}
	}
	return answer, err
}

// retryAfter reads the header: seconds, or a date. It is 0 for what is neither.
func retryAfter(s string, now time.Time) (wait time.Duration) {
	if seconds, err := strconv.ParseUint(s, 10, 31); err == nil {
		wait = time.Duration(seconds) * time.Second
	} else if at, err := http.ParseTime(s); err == nil {
		wait = at.Sub(now)
	}
	return min(max(wait, 0), maxWait)
}
