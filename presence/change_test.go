package presence_test

import (
	"reflect"
	"testing"

	"github.com/rookery-chat/rookery/presence"
)

func TestParseChange(t *testing.T) {
	for payload, want := range map[string]presence.Change{
		"p e1 7 2":                  {Epoch: "e1", Version: 7, Online: 2},
		"p e1 7 2 +alice":           {Epoch: "e1", Version: 7, Online: 2, Joined: []string{"alice"}},
		"p e1 1 0 -bob":             {Epoch: "e1", Version: 1, Left: []string{"bob"}},
		"p e1 7 2 +a -b +c --d +-e": {Epoch: "e1", Version: 7, Online: 2, Joined: []string{"a", "c", "-e"}, Left: []string{"b", "-d"}},
	} {
		got, err := presence.ParseChange([]byte(payload))
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%q: %+v, %v", payload, got, err)
		}
	}
	for _, payload := range []string{
		"", "p", "x e1 7 2", "p ", "p e1", "p e1 7", "p e1 0 2", "p e1 -7 2", "p e1 7 -2", "p e1 7 x", "p e1 x 2",
		"p  7 2", "p e1 7 2 ", "p e1 7 2  +a", "p e1 7 2 +", "p e1 7 2 -", "p e1 7 2 alice", "p e1 7 2 +a ", "pe1 7 2", "p e1 18446744073709551616 2",
	} {
		if c, err := presence.ParseChange([]byte(payload)); err == nil {
			t.Errorf("%q was read as %+v", payload, c)
		}
	}
}

func FuzzParseChange(f *testing.F) {
	for _, seed := range []string{"p e1 7 2 +alice -bob", "p e1 7 2", "p e1 7 2 +", "x", "p e 01 +1", "p \xff 1 1 +\xff"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		c, err := presence.ParseChange(payload)
		if err != nil {
			return
		}
		again, err := presence.ParseChange(presence.Appended(c))
		if err != nil || !reflect.DeepEqual(c, again) {
			t.Errorf("%q was read as %+v, and that, written and read, as %+v, %v", payload, c, again, err)
		}
	})
}
