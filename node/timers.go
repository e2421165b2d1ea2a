package node

import (
	"context"
	"encoding/json"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"github.com/rookery-chat/rookery/store"
)

const (
	timerLease = time.Second            // so long a node that claimed a timer has to publish it
	timerEvery = 500 * time.Millisecond // the longest a node waits before it looks what is due
	timerBatch = 100                    // claimed at once
	timerFrom  = "timer"                // who its messages are from
)

// runTimers publishes the timers that this node gets to claim, until ctx is done. A node that
// dies in between leaves them to others: the key sees that nothing is published twice.
func (n *Node) runTimers(ctx context.Context) {
	for {
		due, next, err := n.store.Claim(ctx, timerLease, timerBatch)
		if err != nil && ctx.Err() == nil {
			slog.Debug("timers not claimed; trying again", "err", err)
		}
		for _, t := range due {
			if err := n.fire(ctx, t); err != nil && ctx.Err() == nil {
				n.failures.Warn("timer; trying again", "timer", t.ID, "err", err)
			}
		}
		wait := timerEvery
		if until := time.Until(next); !next.IsZero() && until < wait {
			wait = max(until, time.Millisecond)
		}
		if len(due) == timerBatch {
			wait = 0
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
	}
}

func (n *Node) fire(ctx context.Context, t store.Timer) error {
	ctx, cancel := context.WithTimeout(ctx, timerLease)
	defer cancel()
	_, err := n.Publish(ctx, t.Topic, Publication{
		Data: fillIn(t.Data, time.Now(), t.Count+1),
		From: timerFrom,
		Key:  "timer:" + t.ID + ":" + strconv.FormatUint(t.Count, 10),
	})
	if err != nil {
		return err
	}
	return n.store.Fired(ctx, t.ID, t.Count)
}

// fillIn puts the time (RFC 3339, UTC) and how often the timer has fired, this time included,
// in place of {{time}} and {{count}}.
func fillIn(data json.RawMessage, now time.Time, count uint64) []byte {
	return []byte(strings.NewReplacer(
		"{{time}}", now.UTC().Format(time.RFC3339),
		"{{count}}", strconv.FormatUint(count, 10),
	).Replace(string(data)))
}
