package judge

import (
	"cmp"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
)

// A Verdict is what the judge found.
type Verdict struct {
	Acked      int            // publishes that were acknowledged
	Deliveries int            // messages that members got
	Resets     int            // of members: also the answers to a resume that were one
	Losses     int            // resets that told of missing messages
	Lost       int            // acknowledged messages that a member never got, lost with an epoch: only where Redis may lose them
	Repeats    int            // messages that a member got again after such a reset, in another epoch
	Faults     map[string]int // done to the cluster, by kind
	Violations []Violation    // the first maxViolations
	Violated   int            // all of them
}

// A Violation is one broken promise.
type Violation struct {
	Promise string // "I1" to "I5"
	Who     string // whose log shows it
	Topic   string
	What    string
}

func (v Violation) String() string {
	return fmt.Sprintf("%s %s %s: %s", v.Promise, v.Who, v.Topic, v.What)
}

const maxViolations = 100

// String is a summary for people.
func (v Verdict) String() string {
	var b strings.Builder
	faults := 0
	for _, n := range v.Faults {
		faults += n
	}
	fmt.Fprintf(&b, "%d publishes acknowledged, %d deliveries, %d resets (%d told of losses), %d repeats after such\n",
		v.Acked, v.Deliveries, v.Resets, v.Losses, v.Repeats)
	if v.Lost > 0 {
		fmt.Fprintf(&b, "%d times Redis lost an acknowledged message before a member had it\n", v.Lost)
	}
	fmt.Fprintf(&b, "%d faults of %d types\n", faults, len(v.Faults))
	for _, kind := range slices.Sorted(maps.Keys(v.Faults)) {
		fmt.Fprintf(&b, "%6d %s\n", v.Faults[kind], kind)
	}
	fmt.Fprintf(&b, "%d violations\n", v.Violated)
	for _, violation := range v.Violations {
		fmt.Fprintf(&b, "%s\n", violation)
	}
	return b.String()
}

// A judge is on its way to a verdict. It hears the publishers, then the cluster, then one member
// after the other, and keeps nothing of a member but what it found.
type judge struct {
	verdict Verdict
	topics  map[string]*topic
	keys    map[string]string  // key -> the topic it is in
	lossy   bool               // Redis may lose what it took
	measure map[string]*Record // node -> what it was like before
}

// A topic is what is known of one topic's log.
type topic struct {
	epochs  map[string]*epoch
	order   []*epoch         // those with acknowledged messages, by the first of them. Sorted once all publishers were heard.
	present map[string]bool  // who is there after quiet; nil where nobody said
	stays   map[string]int64 // user -> since when it is there without a break
}

// An epoch is what is known of one life of a log.
type epoch struct {
	name  string
	first int64             // when its first message was acknowledged
	last  int64             // when its last one was
	acked []uint64          // offsets of acknowledged messages, sorted once all publishers were heard
	keys  map[uint64]string // offset -> message
	at    map[string]uint64 // message -> offset
}

// Dir reads all logs of a folder. An error means that there is no verdict.
func Dir(dir string) (Verdict, error) {
	j := judge{
		verdict: Verdict{Faults: map[string]int{}},
		topics:  map[string]*topic{}, keys: map[string]string{}, measure: map[string]*Record{},
	}
	for _, part := range []struct {
		role Role
		hear func(file, who string) error
	}{{Publisher, j.publisher}, {Cluster, j.cluster}, {Member, j.member}} {
		files, err := filepath.Glob(filepath.Join(dir, string(part.role)+"-*.jsonl"))
		if err != nil {
			return Verdict{}, err
		}
		if len(files) == 0 {
			return Verdict{}, fmt.Errorf("%s has no log of a %s: there is nothing to judge", dir, part.role)
		}
		for _, file := range files {
			who := strings.TrimSuffix(filepath.Base(file), ".jsonl")
			if err := part.hear(file, who); err != nil {
				return Verdict{}, err
			}
		}
		j.sort()
	}
	return j.verdict, nil
}

func (j *judge) violate(promise, who, topic, format string, args ...any) {
	j.verdict.Violated++
	if len(j.verdict.Violations) < maxViolations {
		j.verdict.Violations = append(j.verdict.Violations, Violation{promise, who, topic, fmt.Sprintf(format, args...)})
	}
}

func (j *judge) topic(name string) *topic {
	t := j.topics[name]
	if t == nil {
		t = &topic{epochs: map[string]*epoch{}}
		j.topics[name] = t
	}
	return t
}

func (t *topic) epoch(name string) *epoch {
	e := t.epochs[name]
	if e == nil {
		e = &epoch{name: name, keys: map[uint64]string{}, at: map[string]uint64{}}
		t.epochs[name] = e
	}
	return e
}

// publisher hears one publisher.
func (j *judge) publisher(file, who string) error {
	return read(file, func(r Record) {
		if r.Act != Acked {
			j.violate("I1", who, r.Topic, "a publisher's log holds a record %q", r.Act)
			return
		}
		j.verdict.Acked++
		t := j.topic(r.Topic)
		e := t.epoch(r.Epoch)
		if e.first == 0 || r.T < e.first {
			e.first = r.T
		}
		e.last = max(e.last, r.T)
		e.acked = append(e.acked, r.Offset)
		j.place(who, r.Topic, e, r.Offset, r.Key)
	})
}

// place notes that a message is at a position.
func (j *judge) place(who, topic string, e *epoch, offset uint64, key string) {
	if was, ok := j.keys[key]; ok && was != topic {
		j.violate("I3", who, topic, "message %s is in %s too", key, was)
	}
	j.keys[key] = topic
	if was, ok := e.keys[offset]; ok && was != key {
		j.violate("I3", who, topic, "position %s:%d names %s and %s", e.name, offset, was, key)
		return
	}
	if was, ok := e.at[key]; ok && was != offset {
		j.violate("I2", who, topic, "message %s stands twice in epoch %s: at %d and %d", key, e.name, was, offset)
		return
	}
	e.keys[offset], e.at[key] = key, offset
}

// sort brings what was acknowledged into order.
func (j *judge) sort() {
	for _, t := range j.topics {
		t.order = t.order[:0]
		for _, e := range t.epochs {
			if len(e.acked) > 0 {
				slices.Sort(e.acked)
				t.order = append(t.order, e)
			}
		}
		slices.SortFunc(t.order, func(a, b *epoch) int { return cmp.Compare(a.first, b.first) })
	}
}

// ackedIn lists the acknowledged messages after one offset, up to another.
func (e *epoch) ackedIn(after, upTo uint64) (keys []string) {
	from, _ := slices.BinarySearch(e.acked, after+1)
	to, _ := slices.BinarySearch(e.acked, upTo+1)
	for _, offset := range e.acked[from:max(from, to)] {
		keys = append(keys, e.keys[offset])
	}
	return keys
}
