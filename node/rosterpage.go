package node

import (
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/rookery-chat/rookery/wire"
)

// snapshot returns the first page of the announced roster, and how many frames announced it. It is
// called by a shard's run, which then skips the frames up to there that are still in its mailbox.
func (rs *rosters) snapshot(topic string) (roster *wire.Roster, frames uint64) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	r := rs.topics[topic]
	if r == nil {
		return &wire.Roster{}, 0
	}
	return r.top(), r.frames
}

// top is the first page, which everybody who joins or is told the roster anew gets: it is made, and
// encoded, once for all until the announced roster changes.
func (r *roster) top() *wire.Roster {
	if r.first == nil {
		most := len(r.users)
		if r.large {
			most = rosterNames
		}
		page := r.page("", most)
		page.Encode()
		r.first = &page
	}
	return r.first
}

// page returns the announced names that follow the name after, at most so many and as many as fit
// into a reply. They are counted as they are told: what is pending comes in a frame.
func (r *roster) page(after string, most int) wire.Roster {
	if r.users == nil {
		return wire.Roster{Version: r.version, Online: r.online, More: true, Next: clusterCursor}
	}
	if r.sorted == nil {
		r.sorted = slices.Sorted(maps.Keys(r.users))
	}
	w := wire.Roster{Version: r.version, Online: len(r.users), Members: r.sorted}
	start, found := slices.BinarySearch(w.Members, after)
	if found {
		start++
	}
	w.Members = w.Members[start:]
	bytes := 0
	for i, name := range w.Members {
		if bytes += len(name) + 3; i > 0 && (i == most || bytes > wire.MaxReply) {
			w.Members, w.More, w.Next = w.Members[:i], true, ownCursor+w.Members[i-1]
			break
		}
	}
	return w
}

// Cursors of members: into the node's own roster, or into the cluster's.
const (
	ownCursor     = "n"
	clusterCursor = "c"
)

// kept returns a page of the roster kept here, if there is one. As with snapshot, a shard's run
// calls it, so that presence frames come before or after it as they count.
func (rs *rosters) kept(topic, cursor string) (wire.Roster, bool) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	r := rs.topics[topic]
	switch {
	case r == nil || !r.loaded:
		return wire.Roster{}, false
	case cursor == "":
		return *r.top(), true
	case r.users == nil || strings.HasPrefix(cursor, clusterCursor):
		return wire.Roster{}, false
	}
	return r.page(strings.TrimPrefix(cursor, ownCursor), len(r.users)), true
}

// fetch returns a page of the cluster's roster.
func (rs *rosters) fetch(ctx context.Context, topic, cursor string) (wire.Roster, error) {
	cursor, ok := strings.CutPrefix(cursor, clusterCursor)
	if !ok {
		cursor = ""
	}
	p, err := rs.node.presence.Roster(ctx, topic, cursor, 500)
	if err != nil {
		return wire.Roster{}, err
	}
	w := wire.Roster{Version: p.Version, Online: p.Online, Members: p.Users}
	if p.Next != "" {
		w.More, w.Next = true, clusterCursor+p.Next
	}
	return w, nil
}
