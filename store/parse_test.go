package store_test

import (
	"testing"
	"time"

	"github.com/rookery-chat/rookery/store"
)

// Whatever Redis has in a timer's place, it is a timer that can be written again, or none.
func FuzzParseTimer(f *testing.F) {
	for _, seed := range [][2]string{
		{"5:lobby\"tick\"", "3 1767225600000 1000"}, {"0:", "0 -5 0"}, {"", ""}, {"6:lobby", "0 0 0"}, {"-1:a", "0 0 0"},
		{"1:a", "-1 0 0"}, {"1:a", "1 2"}, {"1:a", "1 2 3 4"}, {"1:a", "0x1 0 0"}, {"1:a", "1 2 9223372036854775807"}, {"1:a", "1 2 -3"},
	} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, what, state string) {
		timer, ok := store.ParseTimer("id", what, state)
		if !ok {
			return
		}
		if timer.Every < 0 || timer.Every%time.Millisecond != 0 || timer.Count >= 1<<53 {
			t.Errorf("%q, %q are read as %v", what, state, timer)
		}
		if len(timer.Topic)+len(timer.Data) > len(what) {
			t.Errorf("%q is read as %q, %q", what, timer.Topic, timer.Data)
		}
		again, ok := store.ParseTimer("id", store.What(timer), state)
		if !ok || again.Topic != timer.Topic || string(again.Data) != string(timer.Data) {
			t.Errorf("%q is read as %v, and that as %v, %t", what, timer, again, ok)
		}
	})
}

// The same of sanctions.
func FuzzParseMember(f *testing.F) {
	for _, seed := range []string{`["ban","lobby","alice"]`, `["ban","lobby"]`, `["ban","lobby","alice","bob"]`, `[1,2,3]`, `{}`, `null`, ``, `["ban","\u2028","<"]`} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		s, ok := store.ParseMember(text)
		if !ok {
			if s != (store.Sanction{}) {
				t.Errorf("%q is no sanction, but %v", text, s)
			}
			return
		}
		if again, ok := store.ParseMember(store.Member(s)); !ok || again != s {
			t.Errorf("%q is read as %v, and that as %v, %t", text, s, again, ok)
		}
	})
}
