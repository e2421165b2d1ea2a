package judge_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	. "github.com/rookery-chat/rookery/faults/judge"
)

// judged writes logs as their writers would, and has them judged.
func judged(t rapid.TB, logs map[string][]Record) Verdict {
	dir, err := os.MkdirTemp("", "judge-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	for file, records := range logs {
		role, name, _ := strings.Cut(file, "-")
		l, err := Create(dir, Role(role), name)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range records {
			l.Add(r)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
	v, err := Dir(dir)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// A world in which everything is as promised has no violations, whatever happens in it.
func TestInnocent(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t)
		w.live()
		v := judged(t, w.logs)
		if v.Violated != 0 {
			t.Fatalf("%v", v)
		}
		if v.Acked == 0 || v.Deliveries == 0 {
			t.Fatalf("nothing was judged: %v", v)
		}
	})
}

// A mutant breaks one promise somewhere in a member's log, and reports whether it could.
type mutant struct {
	promise string
	name    string
	breaks  func(w *world, log []Record, at int) ([]Record, bool)
}

var mutants = []mutant{
	{"I1", "a new epoch hides a loss", func(w *world, log []Record, at int) ([]Record, bool) {
		// The member's last acknowledged messages of an epoch vanish, and the reset lies.
		if log[at].Act != Reset && log[at].Act != Resumed || !log[at].Recovered || at == 0 || log[at-1].Act != Message || !w.wasAcked(log[at-1].Key) || slices.ContainsFunc(log[at:], lossy) {
			return nil, false
		}
		return slices.Delete(log, at-1, at), true
	}},
	{"I1", "a loss is not told", func(w *world, log []Record, at int) ([]Record, bool) {
		if log[at].Act != Reset || log[at].Recovered || !w.missed(log[:at], log[at]) {
			return nil, false
		}
		log[at].Recovered = true
		return log, true
	}},
	{"I1", "the newest message never comes", func(w *world, log []Record, at int) ([]Record, bool) {
		if log[at].Act != Message || slices.ContainsFunc(log[at+1:], func(r Record) bool { return r.Offset > 0 || r.Epoch != "" }) {
			return nil, false
		}
		return slices.Delete(log, at, at+1), true
	}},
	{"I2", "a message is left out", func(w *world, log []Record, at int) ([]Record, bool) {
		if log[at].Act != Message || at+1 == len(log) || log[at+1].Act != Message {
			return nil, false
		}
		return slices.Delete(log, at, at+1), true
	}},
	{"I2", "a message comes twice", func(w *world, log []Record, at int) ([]Record, bool) {
		return slices.Insert(log, at, log[at]), log[at].Act == Message
	}},
	{"I2", "two messages change places", func(w *world, log []Record, at int) ([]Record, bool) {
		if log[at].Act != Message || at+1 == len(log) || log[at+1].Act != Message {
			return nil, false
		}
		log[at], log[at+1] = log[at+1], log[at]
		return log, true
	}},
	{"I2", "a message is stored twice", func(w *world, log []Record, at int) ([]Record, bool) {
		// The retry of a publish got an offset of its own.
		if log[at].Act != Message || at+1 == len(log) || log[at+1].Act != Message {
			return nil, false
		}
		log[at+1].Key = log[at].Key
		return log, true
	}},
	{"I3", "a position names two messages", func(w *world, log []Record, at int) ([]Record, bool) {
		if log[at].Act != Message || !w.wasAcked(log[at].Key) {
			return nil, false
		}
		log[at].Key = "other"
		return log, true
	}},
	{"I4", "a user comes twice", func(w *world, log []Record, at int) ([]Record, bool) {
		return slices.Insert(log, at, log[at]), log[at].Act == Changed && len(log[at].Came) > 0
	}},
	{"I4", "a user goes twice", func(w *world, log []Record, at int) ([]Record, bool) {
		return slices.Insert(log, at, log[at]), log[at].Act == Changed && len(log[at].Gone) > 0
	}},
	{"I4", "a change is lost", func(w *world, log []Record, at int) ([]Record, bool) {
		r := log[at]
		if r.Act != Changed || slices.ContainsFunc(log[at+1:], func(r Record) bool { return r.Act == Roster }) {
			return nil, false
		}
		return slices.Delete(log, at, at+1), true
	}},
	{"I4", "the count is wrong", func(w *world, log []Record, at int) ([]Record, bool) {
		log[at].Online++
		return log, log[at].Act == Changed || log[at].Act == Roster
	}},
	{"I4", "who moved is seen leaving", func(w *world, log []Record, at int) ([]Record, bool) {
		r := log[at]
		if r.Act != Changed && r.Act != Roster {
			return nil, false
		}
		return slices.Insert(log, at+1,
			Record{T: r.T, Act: Changed, Topic: r.Topic, Online: r.Online - 1, Gone: []string{"eve"}},
			Record{T: r.T, Act: Changed, Topic: r.Topic, Online: r.Online, Came: []string{"eve"}}), true
	}},
	{"I4", "who moved is not in a roster", func(w *world, log []Record, at int) ([]Record, bool) {
		r := log[at]
		if r.Act != Roster {
			return nil, false
		}
		without := slices.DeleteFunc(slices.Clone(r.Users), func(user string) bool { return user == "eve" })
		return slices.Insert(log, at, Record{T: r.T, Act: Roster, Topic: r.Topic, Online: r.Online - 1, Users: without}), true
	}},
	{"I4", "somebody is forgotten", func(w *world, log []Record, at int) ([]Record, bool) {
		truth := w.logs["cluster-all"]
		for i := range truth {
			if truth[i].Act == Truth {
				truth[i].Users = append(slices.Clone(truth[i].Users), "dee")
			}
		}
		return log, true
	}},
	{"I5", "memory is kept", func(w *world, log []Record, at int) ([]Record, bool) {
		return log, w.grow(func(r *Record) { r.Memory += 100 << 20 })
	}},
	{"I5", "goroutines are kept", func(w *world, log []Record, at int) ([]Record, bool) {
		return log, w.grow(func(r *Record) { r.Goroutines += 1000 })
	}},
	{"I5", "descriptors are kept", func(w *world, log []Record, at int) ([]Record, bool) {
		return log, w.grow(func(r *Record) { r.Files += 1000 })
	}},
}

// lossy finds what tells a member that messages are missing: which, it does not say.
func lossy(r Record) bool { return (r.Act == Reset || r.Act == Resumed) && !r.Recovered }

func (w *world) wasAcked(key string) bool {
	for file, log := range w.logs {
		if strings.HasPrefix(file, "publisher-") && slices.ContainsFunc(log, func(r Record) bool { return r.Key == key }) {
			return true
		}
	}
	return false
}

// missed tells whether a reset takes a member with this log over an acknowledged message.
func (w *world) missed(log []Record, reset Record) bool {
	epoch, after := "", uint64(0)
	for _, r := range log {
		if r.Epoch != "" {
			epoch, after = r.Epoch, r.Offset
		}
		after = max(after, r.Offset)
	}
	if epoch != reset.Epoch {
		after = 0
	}
	for file, other := range w.logs {
		if !strings.HasPrefix(file, "publisher-") {
			continue
		}
		for _, r := range other {
			if r.Epoch == reset.Epoch && r.Offset > after && r.Offset <= reset.Offset && !slices.ContainsFunc(log, func(m Record) bool { return m.Key == r.Key }) {
				return true
			}
		}
	}
	return false
}

func (w *world) grow(change func(*Record)) bool {
	log := w.logs["cluster-all"]
	change(&log[len(log)-1])
	return true
}

// Each mutant is caught wherever it strikes, and by the promise that it breaks.
func TestMutants(t *testing.T) {
	for _, m := range mutants {
		t.Run(m.promise+" "+m.name, func(t *testing.T) {
			struck := 0
			for round := 0; struck == 0 && round < 20; round++ { // some strike in few worlds
				rapid.Check(t, func(t *rapid.T) {
					w := newWorld(t)
					w.live()
					file := rapid.SampledFrom(w.members).Draw(t, "victim").file
					log := w.logs[file]
					for _, at := range rapid.Permutation(indexes(log)).Draw(t, "places") {
						if broken, ok := m.breaks(w, slices.Clone(log), at); ok {
							w.logs[file] = broken
							struck++
							v := judged(t, w.logs)
							if !slices.ContainsFunc(v.Violations, func(v Violation) bool { return v.Promise == m.promise }) {
								t.Fatalf("not caught at record %d of %s: %v", at, file, v)
							}
							return
						}
					}
				})
			}
			if struck == 0 {
				t.Fatal("the mutant could strike nowhere: it shows nothing")
			}
		})
	}
}

func indexes(log []Record) []int {
	all := make([]int, len(log))
	for i := range all {
		all[i] = i
	}
	return all
}

// Without logs, or with broken ones, there is no verdict: a check that saw nothing passes nothing.
func TestNoVerdict(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if _, err := Dir(dir); err == nil {
		t.Error("an empty folder has a verdict")
	}
	for _, file := range []string{"publisher-a.jsonl", "member-a.jsonl", "cluster-a.jsonl"} {
		if err := os.WriteFile(filepath.Join(dir, file), []byte(`{"t":1,"act":"measure","no":"such field"}`), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := Dir(dir); err == nil || !strings.Contains(err.Error(), "record 1") {
		t.Errorf("a broken log has a verdict: %v", err)
	}
}

// Where Redis replicates late, a new epoch may begin without a message that a member never had, and nobody
// knows of it: the reset is answer enough, also one that says that nothing is missing. But only there, and only for that.
func TestLossy(t *testing.T) {
	t.Parallel()
	logs := func(more ...Record) map[string][]Record {
		return map[string][]Record{
			"publisher-a": {
				{T: 2, Act: Acked, Topic: where, Key: "one", Epoch: "e", Offset: 1},
				{T: 3, Act: Acked, Topic: where, Key: "lost", Epoch: "e", Offset: 2},
				{T: 5, Act: Acked, Topic: where, Key: "two", Epoch: "f", Offset: 2},
				{T: 6, Act: Acked, Topic: where, Key: "three", Epoch: "f", Offset: 3},
			},
			"cluster-a": append(more, Record{T: 9, Act: Fault, Kind: "failover"}),
			"member-a": {
				{T: 1, Act: Joined, Topic: where, Epoch: "e"},
				{T: 2, Act: Message, Topic: where, Key: "one", Offset: 1},
				{T: 5, Act: Reset, Topic: where, Epoch: "f", Offset: 1, Recovered: true},
				{T: 5, Act: Message, Topic: where, Key: "two", Offset: 2},
				{T: 6, Act: Message, Topic: where, Key: "three", Offset: 3},
				{T: 8, Act: Ended, Topic: where},
			},
		}
	}
	if v := judged(t, logs()); v.Violated != 1 || v.Violations[0].Promise != "I1" {
		t.Errorf("a loss passes where Redis may lose nothing: %v", v)
	}
	lossy := Record{T: 1, Act: Lossy}
	if v := judged(t, logs(lossy)); v.Violated != 0 || v.Lost != 1 {
		t.Errorf("%v", v)
	}
	passed := logs(lossy)
	passed["member-a"][2].Offset = 2
	passed["member-a"] = append(passed["member-a"][:3:3], passed["member-a"][4:]...)
	if v := judged(t, passed); v.Violated == 0 {
		t.Errorf("a message of the new epoch is passed over, and nobody minds: %v", v)
	}
}

// Where an old server comes back with its epoch, which knows nothing of the one after it, a member that is
// told of a loss gets messages again, also in the epoch in which it had them; who is not told must not.
func TestOldEpochComesBack(t *testing.T) {
	t.Parallel()
	logs := func(back Record) map[string][]Record {
		return map[string][]Record{
			"publisher-a": {
				{T: 2, Act: Acked, Topic: where, Key: "one", Epoch: "e", Offset: 1},
				{T: 4, Act: Acked, Topic: where, Key: "lost", Epoch: "f", Offset: 2},
				{T: 6, Act: Acked, Topic: where, Key: "two", Epoch: "e", Offset: 2},
			},
			"cluster-a": {{T: 1, Act: Lossy}, {T: 9, Act: Fault, Kind: "failover"}},
			"member-a": {
				{T: 1, Act: Joined, Topic: where, Epoch: "e"},
				{T: 2, Act: Message, Topic: where, Key: "one", Offset: 1},
				{T: 4, Act: Reset, Topic: where, Epoch: "f", Offset: 1, Recovered: true},
				{T: 4, Act: Message, Topic: where, Key: "lost", Offset: 2},
				back,
				{T: 5, Act: Message, Topic: where, Key: "one", Offset: 1},
				{T: 6, Act: Message, Topic: where, Key: "two", Offset: 2},
				{T: 8, Act: Ended, Topic: where},
			},
		}
	}
	back := Record{T: 5, Act: Resumed, Topic: where, Epoch: "e"}
	if v := judged(t, logs(back)); v.Violated != 0 || v.Repeats != 1 {
		t.Errorf("%v", v)
	}
	back.Recovered = true
	if v := judged(t, logs(back)); v.Violated != 1 || v.Violations[0].Promise != "I2" {
		t.Errorf("a message comes again, of which nobody warned: %v", v)
	}
	again := logs(Record{T: 5, Act: Resumed, Topic: where, Epoch: "e"})
	again["member-a"] = slices.Insert(again["member-a"], 6, Record{T: 5, Act: Resumed, Topic: where, Epoch: "g", Recovered: true}, Record{T: 5, Act: Message, Topic: where, Key: "one", Offset: 1},
		Record{T: 5, Act: Resumed, Topic: where, Epoch: "e", Offset: 1, Recovered: true})
	if v := judged(t, again); v.Violated != 1 || v.Violations[0].Promise != "I2" {
		t.Errorf("one warning is good for two repeats: %v", v)
	}
}
