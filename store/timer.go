package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// A Timer is a message that is due at a time, once or again and again.
type Timer struct {
	ID    string          // chosen by who adds it; not empty
	Topic string          // where the message goes
	Data  json.RawMessage // what it says
	Every time.Duration   // in whole milliseconds; 0: once
	At    time.Time       // when it fires next, kept to the millisecond; to add it at the zero time is at 1970
	// Count is how often it has fired, so that (ID, Count) names one fire. To keep that
	// true, a timer that replaces another, or takes its ID within afterlife of its end,
	// counts on from there, with one left out.
	Count uint64
}

// afterlife is for how long an ID's count is remembered when its timer is gone: longer than
// a bus knows a repeated publish by its key, or a node may be late with Fired.
const afterlife = 10 * time.Minute

// mostCount is the greatest count: scripts count exactly below 2^53.
const mostCount = 1<<53 - 1

// checked returns t as a store keeps it, or what is wrong with it.
func (t Timer) checked() (Timer, error) {
	switch {
	case t.ID == "":
		return t, errors.New("store: timer without an ID: choose one")
	case t.Every < 0 || t.Every%time.Millisecond != 0:
		return t, fmt.Errorf("store: timer %q fires every %v: give whole milliseconds, or 0 to fire once", t.ID, t.Every)
	case t.Count >= mostCount:
		return t, fmt.Errorf("store: timer %q has the count %d: give one below %d", t.ID, t.Count, uint64(mostCount))
	case !json.Valid(t.Data):
		return t, fmt.Errorf("store: the data of timer %q is not JSON", t.ID)
	}
	if t.At.IsZero() {
		t.At = time.Unix(0, 0)
	}
	t.At = time.UnixMilli(t.At.UnixMilli())
	return t, nil
}

// checkLimit and checkLease return what is wrong with the arguments of Timers and Claim.
func checkLimit(limit int) error {
	if limit < 1 {
		return fmt.Errorf("store: at most %d timers asked for: ask for 1 or more", limit)
	}
	return nil
}

func checkLease(lease time.Duration) error {
	if lease < time.Millisecond {
		return fmt.Errorf("store: timers claimed for %v: claim them for a millisecond or more", lease)
	}
	return nil
}
