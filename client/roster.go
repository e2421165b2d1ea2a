package client

import (
	"maps"
	"slices"

	"github.com/rookery-chat/rookery/wire"
)

// A roster follows who is in a topic, from a full roster on by presence frames.
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

// apply takes one frame. What the roster knows already is passed by: a frame gathers
// changes, and the roster may have been read in their midst.
func (r *roster) apply(p *wire.Presence) {
	if p.Version <= r.version {
		return
	}
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
