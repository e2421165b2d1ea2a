package presence_test

import (
	"context"
	"flag"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/rookery-chat/rookery/presence"
	"github.com/rookery-chat/rookery/presence/presencetest"
)

var seeds = flag.Uint64("seeds", 200, "how many seeds TestModelSeeds tries")

// model runs the model on a cluster in memory.
func model(t *testing.T, seed uint64, change func(*memory)) (err error) {
	synctest.Test(t, func(t *testing.T) {
		c := newMemory(t)
		change(c)
		err = presencetest.Model(c, seed, 300)
	})
	return err
}

func TestModelSeeds(t *testing.T) {
	for seed := range *seeds {
		if err := model(t, seed, func(*memory) {}); err != nil {
			t.Fatal(err)
		}
	}
}

// The model must find out when presence is broken.
func TestModelFindsMutants(t *testing.T) {
	for _, mutant := range []struct {
		name   string
		change func(c *memory)
		finds  string
	}{
		{"late steps are taken", func(c *memory) { c.turnsOff = true }, ""},
		{"a change is told twice", func(c *memory) {
			n := 0
			c.carry = func(payload []byte) [][]byte {
				if n++; n%20 == 0 {
					return [][]byte{payload, payload}
				}
				return [][]byte{payload}
			}
		}, "version again"},
		{"a change is not told", func(c *memory) {
			n := 0
			c.carry = func(payload []byte) [][]byte {
				if n++; n%20 == 0 {
					return nil
				}
				return [][]byte{payload}
			}
		}, "versions left out"},
		{"a leave is told as nothing", func(c *memory) {
			c.carry = func(payload []byte) [][]byte { return [][]byte{[]byte(strings.Split(string(payload), " -")[0])} }
		}, "online, but"},
		{"a join is told of somebody else", func(c *memory) {
			c.carry = func(payload []byte) [][]byte {
				return [][]byte{[]byte(strings.ReplaceAll(string(payload), "alice", "erin"))}
			}
		}, ""},
		{"the journal forgets a record", func(c *memory) {
			n := 0
			c.records = func(r []presence.Record) []presence.Record {
				if n += len(r); n > 20 && len(r) > 0 {
					n = 0
					return r[1:]
				}
				return r
			}
		}, "the journal of"},
		{"the journal has a record twice", func(c *memory) {
			c.records = func(r []presence.Record) []presence.Record {
				if len(r) > 1 {
					return append(r, r[0])
				}
				return r
			}
		}, "two records have the id"},
		{"the journal has records in another order", func(c *memory) {
			c.records = func(r []presence.Record) []presence.Record {
				slices.Reverse(r)
				return r
			}
		}, "the journal of"},
	} {
		t.Run(mutant.name, func(t *testing.T) {
			for seed := range uint64(200) {
				err := model(t, seed, mutant.change)
				if err == nil {
					continue
				}
				if !strings.Contains(err.Error(), mutant.finds) {
					t.Fatalf("found %q, not %q", err, mutant.finds)
				}
				t.Logf("found: %v", err)
				return
			}
			t.Fatal("not found by 200 seeds")
		})
	}
}

func TestObserver(t *testing.T) {
	read := func(roster presence.Roster) *presencetest.Observer {
		return presencetest.NewObserver("lobby", func(_ context.Context, _, _ string, _ int) (presence.Roster, error) { return roster, nil })
	}
	for _, test := range []struct{ changes, fault string }{
		{"p e 3 2 +bob;p e 4 1 -bob;p e 5 2 +bob", ""},
		{"p e 2 1;p e 3 2 +bob", ""}, // the first was in the roster already
		{"p e 3 2 +bob;p e 3 2 +bob", "version again"},
		{"p e 4 2 +bob", "versions left out"},
		{"p e 3 1 +alice", "alice joined twice"},
		{"p e 3 0 -bob", "bob left twice"},
		{"p e 3 3 +bob", "3 online, but 2"},
		{"nothing", "no change"},
	} {
		o := read(presence.Roster{Epoch: "e", Version: 2, Online: 1, Users: []string{"alice"}})
		o.Hear([]byte("p e 2 1"))
		var err error
		for change := range strings.SplitSeq(test.changes, ";") {
			o.Hear([]byte(change))
		}
		err = o.Look()
		if test.fault == "" && err != nil || test.fault != "" && !strings.Contains(fmt.Sprint(err), test.fault) {
			t.Errorf("%q: %v, not %q", test.changes, err, test.fault)
		}
	}
	if o := read(presence.Roster{Epoch: "e", Version: 2, Online: 2, Users: []string{"alice"}}); true {
		o.Hear([]byte("p e 2 1"))
		if o.Look() == nil {
			t.Error("a roster whose count is wrong was taken")
		}
	}
}
