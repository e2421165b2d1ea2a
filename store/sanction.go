package store

import (
	"crypto/rand"
	"time"
)

// A Kind says what a sanction forbids.
type Kind string

const (
	Ban  Kind = "ban"  // to be in the topic
	Mute Kind = "mute" // to send to the topic
)

// A Sanction forbids a user something in a topic. There is at most one of a kind for each (topic, user).
type Sanction struct {
	Kind        Kind
	Topic, User string
	Until       time.Time // kept to the millisecond; zero: for good
}

// stands tells whether s is in force at now.
func (s Sanction) stands(now time.Time) bool { return s.Until.IsZero() || now.Before(s.Until) }

// newVersion names a state of the sanctions. It is random, not counted: a Redis that was
// restarted empty, or a replica that was promoted before it had heard the last change,
// would count through the same numbers again, for other sanctions.
func newVersion() string { return rand.Text() }
