package client

import (
	"errors"

	"github.com/rookery-chat/rookery/wire"
)

// A membership is what the client keeps of one topic that it is in, over all
// connections. Guarded by Client.mu.
type membership struct {
	at       wire.Position // the cursor: the next message is at.Offset+1
	in       bool          // the session of now is in the topic
	presence bool          // the application asked for the roster
	roster   *roster       // nil without presence, and before the first roster came
}

// errGap ends a connection on which a message is missing: the next one resumes from the cursor.
var errGap = errors.New("the node left out a message")

// step moves the cursor to offset, which must be the next one. It returns false for an
// offset that was passed before.
func (m *membership) step(offset uint64) (bool, error) {
	switch {
	case offset <= m.at.Offset:
		return false, nil
	case offset != m.at.Offset+1:
		return false, errGap
	}
	m.at.Offset = offset
	return true, nil
}

// enter applies the node's answer to a join or a resume. When a cursor that there was could
// not be followed, or moved to another epoch, it returns the Reset that says so.
func (m *membership) enter(topic string, j wire.Joined) *wire.Reset {
	m.in = true
	if j.Roster != nil {
		m.roster = newRoster(*j.Roster)
	}
	before := m.at
	fresh := before == wire.Position{}
	if j.Epoch == before.Epoch && j.After < before.Offset {
		return nil // it goes over what came before once more; step passes it by
	}
	m.at = wire.Position{Epoch: j.Epoch, Offset: j.After}
	if fresh || m.at == before && j.Recovered {
		return nil
	}
	reason := "trimmed"
	if j.Epoch != before.Epoch {
		reason = "epoch"
	}
	return &wire.Reset{Topic: topic, Position: j.Position, After: j.After, Reason: reason, Recovered: j.Recovered}
}

// reset applies a reset in mid-stream. It returns false when it tells nothing new.
func (m *membership) reset(r *wire.Reset) bool {
	at := wire.Position{Epoch: r.Epoch, Offset: r.After}
	if at == m.at {
		return false
	}
	m.at = at
	return true
}
