package hook

import (
	"context"
	"time"
)

const (
	MaxReviews = maxReviews
	MaxWaiting = maxWaiting
	ReviewTime = reviewTime
)

// Hurry has a hook look into its journal, and try again, without long pauses.
func (h *Hook) Hurry(first, most time.Duration) {
	h.rhythm = rhythm{poll: time.Millisecond, idle: time.Millisecond, first: first, most: most}
}

var RetryAfter = retryAfter

// Judge reads a back end's answer.
func (h *Hook) Judge(answer []byte) ([]byte, error) { return h.judge(answer) }

// Ask is Review with the error that the log is told.
func (h *Hook) Ask(ctx context.Context) ([]byte, error) {
	return h.review(ctx, Publish{Data: []byte("1")})
}
