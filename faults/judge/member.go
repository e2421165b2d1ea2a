package judge

import (
	"cmp"
	"maps"
	"math"
	"slices"
)

// A seat is where one member stands in one topic.
type seat struct {
	epoch  *epoch
	offset uint64          // the next message is offset+1
	seen   map[string]int  // message -> how many losses the member had been told of when it came
	owed   map[string]bool // acknowledged messages that a change of epoch left open: they come in the new one
	losses int             // resets that told of losses: what came before such a one may come again, which is a repeat, not a fault

	watched bool            // a roster was seen
	present map[string]bool // who is in the topic, by the roster and what changed since
}

// member hears one member.
func (j *judge) member(file, who string) error {
	seats := map[string]*seat{}
	return read(file, func(r Record) {
		s := seats[r.Topic]
		if s == nil && r.Act != Joined {
			j.violate("I2", who, r.Topic, "%s before the member joined", r.Act)
			return
		}
		t := j.topic(r.Topic)
		switch r.Act {
		case Joined:
			if s != nil {
				j.violate("I2", who, r.Topic, "joined twice")
			}
			seats[r.Topic] = &seat{epoch: t.epoch(r.Epoch), offset: r.Offset, seen: map[string]int{}, owed: map[string]bool{}}
		case Resumed, Reset:
			j.move(who, s, t, r)
		case Message, Skipped:
			j.message(who, s, r)
		case Left:
			delete(seats, r.Topic)
		case Roster:
			j.roster(who, s, t, r)
		case Changed:
			j.changed(who, s, t, r)
		case Ended:
			j.ended(who, s, t, r)
			delete(seats, r.Topic)
		default:
			j.violate("I2", who, r.Topic, "a member's log holds a record %q", r.Act)
		}
	})
}

// move judges a change of position by the server's word.
func (j *judge) move(who string, s *seat, t *topic, r Record) {
	from, to := s.epoch, t.epoch(r.Epoch)
	if from == to && s.offset == r.Offset && r.Recovered {
		return // goes on where it was
	}
	j.verdict.Resets++
	if from == to && r.Offset < s.offset {
		j.violate("I2", who, r.Topic, "sent back from %d to %d", s.offset, r.Offset)
	}
	if r.Recovered {
		open, passed := t.between(from, s.offset, to, r.Offset)
		for _, key := range passed {
			if _, came := s.seen[key]; !came {
				j.violate("I1", who, r.Topic, "message %s is passed over, but %s from %s:%d to %s:%d says that none is missing",
					key, r.Act, from.name, s.offset, to.name, r.Offset)
			}
		}
		for _, key := range open {
			if _, came := s.seen[key]; !came {
				s.owed[key] = true
			}
		}
	} else {
		j.verdict.Losses++
		s.losses++
		clear(s.owed)
	}
	s.epoch, s.offset = to, r.Offset
}

// between lists the acknowledged messages after one position, up to a later one: those that
// may still come, for a log that outlives its epoch goes on in the next, and those that cannot.
func (t *topic) between(from *epoch, after uint64, to *epoch, upTo uint64) (open, passed []string) {
	if from == to {
		return nil, from.ackedIn(after, upTo)
	}
	open = from.ackedIn(after, math.MaxUint64-1)
	if i, k := slices.Index(t.order, from), slices.Index(t.order, to); i >= 0 && k > i {
		for _, e := range t.order[i+1 : k] {
			open = append(open, e.ackedIn(0, math.MaxUint64-1)...)
		}
	}
	return open, to.ackedIn(0, upTo)
}

func (j *judge) message(who string, s *seat, r Record) {
	if r.Offset != s.offset+1 {
		j.violate("I2", who, r.Topic, "offset %d after %d in epoch %s", r.Offset, s.offset, s.epoch.name)
	}
	s.offset = max(s.offset, r.Offset)
	if r.Act == Skipped {
		return
	}
	j.verdict.Deliveries++
	j.place(who, r.Topic, s.epoch, r.Offset, r.Key)
	if losses, came := s.seen[r.Key]; came {
		if losses < s.losses {
			j.verdict.Repeats++
		} else {
			j.violate("I2", who, r.Topic, "message %s came twice", r.Key)
		}
	}
	s.seen[r.Key] = s.losses
	delete(s.owed, r.Key)
}

// ended judges a member that had all the time to get everything.
func (j *judge) ended(who string, s *seat, t *topic, r Record) {
	if len(t.order) == 0 {
		return
	}
	last := slices.MaxFunc(t.order, func(a, b *epoch) int { return cmp.Compare(a.last, b.last) }) // an old server may come back with its own
	if head := last.acked[len(last.acked)-1]; s.epoch != last || s.offset < head {
		j.violate("I1", who, r.Topic, "is at %s:%d after quiet, but %s:%d was acknowledged", s.epoch.name, s.offset, last.name, head)
	}
	switch {
	case j.lossy:
		j.verdict.Lost += len(s.owed)
	case len(s.owed) > 0:
		j.violate("I1", who, r.Topic, "%d acknowledged messages never came, though a reset or resume said that none are missing: %.200q",
			len(s.owed), slices.Sorted(maps.Keys(s.owed)))
	}
	if t.present == nil || !s.watched {
		return
	}
	for user := range t.present {
		if !s.present[user] {
			j.violate("I4", who, r.Topic, "does not see %s, who is there", user)
		}
	}
	for user := range s.present {
		if !t.present[user] {
			j.violate("I4", who, r.Topic, "sees %s, who is not there", user)
		}
	}
}

func (j *judge) roster(who string, s *seat, t *topic, r Record) {
	s.watched, s.present = true, set(r.Users)
	if r.Online != len(s.present) {
		j.violate("I4", who, r.Topic, "a roster of %d users says that %d are online", len(s.present), r.Online)
	}
	for user := range t.stays {
		if t.stayed(user, r) && !s.present[user] {
			j.violate("I4", who, r.Topic, "a roster lacks %s, who stayed", user)
		}
	}
}

// stayed tells whether a user was there without a break when r was written.
func (t *topic) stayed(user string, r Record) bool {
	since, ok := t.stays[user]
	return ok && r.T >= since
}

// frameNames is the most names that a presence frame has, by docs/protocol.md.
const frameNames = 100

func (j *judge) changed(who string, s *seat, t *topic, r Record) {
	if !s.watched {
		j.violate("I4", who, r.Topic, "a change before any roster")
		return
	}
	for _, user := range r.Came {
		if s.present[user] {
			j.violate("I4", who, r.Topic, "%s came, but was there", user)
		}
		if t.stayed(user, r) {
			j.violate("I4", who, r.Topic, "%s came, who stayed", user)
		}
		s.present[user] = true
	}
	for _, user := range r.Gone {
		if !s.present[user] {
			j.violate("I4", who, r.Topic, "%s went, but was not there", user)
		}
		if t.stayed(user, r) {
			j.violate("I4", who, r.Topic, "%s went, who stayed", user)
		}
		delete(s.present, user)
	}
	// A full frame has the count of all changes, and the names that it has no room for are in the next.
	if full := len(r.Came)+len(r.Gone) >= frameNames; !full && r.Online != len(s.present) {
		j.violate("I4", who, r.Topic, "%d are there, but the count says %d", len(s.present), r.Online)
	}
}

func set(names []string) map[string]bool {
	s := make(map[string]bool, len(names))
	for _, name := range names {
		s[name] = true
	}
	return s
}
