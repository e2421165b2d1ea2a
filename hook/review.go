package hook

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/rookery-chat/rookery/wire"
)

const (
	maxReviews = 64              // under way at a time
	maxWaiting = 1000            // for one of those to end
	reviewTime = 2 * time.Second // for one, the waiting included
	maxReason  = 500             // bytes that are told of why a publish was refused
)

// A Publish is what a session wants to say.
type Publish struct {
	Topic   string          `json:"topic"`
	User    string          `json:"user"`
	Session string          `json:"session"`
	Key     string          `json:"key,omitempty"` // what the user's client gave
	Data    json.RawMessage `json:"data"`
}

var errFull = errors.New("too many publishes wait for their review")

// Review asks the back end about a publish, and returns the data to store: the publish's own
// or what the back end puts in its place. An error is a *wire.Error for the session: forbidden
// when the back end refuses, unavailable when it cannot be asked.
func (h *Hook) Review(ctx context.Context, p Publish) (json.RawMessage, error) {
	begin := time.Now()
	data, err := h.review(ctx, p)
	h.metrics.took.Observe(time.Since(begin).Seconds())
	var refusal *wire.Error
	switch {
	case errors.As(err, &refusal):
		h.metrics.reviewed("refused")
		return nil, refusal
	case err != nil:
		outcome := "failed"
		if errors.Is(err, errFull) {
			outcome = "overflow"
		}
		h.metrics.reviewed(outcome)
		h.reviews.Warn("hook: a publish could not be reviewed", "passes", h.open, "err", err)
		if h.open {
			return p.Data, nil
		}
		return nil, &wire.Error{Code: wire.Unavailable, Retry: true, Message: "the publish could not be reviewed: try again with the same key"}
	case data == nil:
		h.metrics.reviewed("passed")
		return p.Data, nil
	}
	h.metrics.reviewed("rewritten")
	return data, nil
}

// review returns what the back end wants in place of the data, nil for nothing.
func (h *Hook) review(ctx context.Context, p Publish) (json.RawMessage, error) {
	select {
	case h.places <- struct{}{}:
		defer func() { <-h.places }()
	default:
		return nil, errFull
	}
	ctx, cancel := context.WithTimeout(ctx, reviewTime)
	defer cancel()
	select {
	case h.slots <- struct{}{}:
		defer func() { <-h.slots }()
	case <-ctx.Done():
		return nil, fmt.Errorf("no answers to earlier publishes: %w", ctx.Err())
	}
	body, err := json.Marshal(struct {
		Type string `json:"type"`
		Publish
	}{"publish", p})
	if err != nil {
		return nil, err
	}
	// Each question has an id of its own, so that no back end takes one for another that it has answered.
	most := h.maxData + 4<<10
	answer, err := h.post(ctx, "publish_"+rand.Text(), body, most)
	if err != nil {
		return nil, err
	}
	answer = bytes.TrimSpace(answer)
	if len(answer) > most {
		return nil, fmt.Errorf("the back end's answer has more than %d bytes", most)
	}
	return h.judge(answer)
}

// judge reads an answer: {}, {"data":…} or {"refuse":"reason"}.
func (h *Hook) judge(answer []byte) (json.RawMessage, error) {
	var a struct {
		Data   json.RawMessage `json:"data"`
		Refuse *string         `json:"refuse"`
	}
	// Strict, because whoever answers something else has not understood the question.
	d := json.NewDecoder(bytes.NewReader(answer))
	d.DisallowUnknownFields()
	if err := d.Decode(&a); err != nil || int(d.InputOffset()) < len(answer) || answer[0] != '{' || a.Data != nil && a.Refuse != nil {
		return nil, errors.New(`the back end's answer is neither {} nor {"data":…} nor {"refuse":"reason"}`)
	}
	if a.Refuse != nil {
		reason := strings.ToValidUTF8((*a.Refuse)[:min(len(*a.Refuse), maxReason)], "")
		if reason == "" {
			reason = "refused"
		}
		return nil, &wire.Error{Code: wire.Forbidden, Message: reason}
	}
	if a.Data == nil {
		return nil, nil
	}
	data, err := wire.ParseData(a.Data)
	if err != nil {
		return nil, fmt.Errorf("the back end's data: %v", err) // no refusal of this publish
	}
	if len(data) > h.maxData {
		return nil, fmt.Errorf("the back end's data has %d bytes, more than %d", len(data), h.maxData)
	}
	return data, nil
}
