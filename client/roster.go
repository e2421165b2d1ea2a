package client

import (
	"maps"
	"slices"

	"github.com/rookery-chat/rookery/wire"
)

// A roster follows who is in a topic, from a roster on by presence frames.
// Guarded by Client.mu.
type roster struct {
	version uint64
	online  int
	members map[string]struct{}
	cut     bool // members is not all of them
}

func newRoster(w wire.Roster) *roster {
	r := &roster{version: w.Version, online: w.Online, members: make(map[string]struct{}, len(w.Members)), cut: w.More}
	for _, name := range w.Members {
		r.members[name] = struct{}{}
	}
	return r
}

// apply takes one frame. Frames count in the order in which they come, whatever their
// versions: several may carry the names of one version, and versions start anew when
// the cluster has lost a roster.
func (r *roster) apply(p *wire.Presence) {
	r.version, r.online = p.Version, p.Online
	for _, name := range p.Joined {
		r.members[name] = struct{}{}
	}
	for _, name := range p.Left {
		delete(r.members, name)
	}
}

func (r *roster) wire() wire.Roster {
	return wire.Roster{
		Version: r.version,
		Online:  r.online,
		Members: slices.Sorted(maps.Keys(r.members)),
		More:    r.cut,
	}
}
