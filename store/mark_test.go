package store_test

import (
	"strconv"
	"testing"

	"github.com/rookery-chat/rookery/store"
)

// Whatever Redis has in a mark's place, it is a mark that can be written again, or none.
func FuzzParseMark(f *testing.F) {
	for _, s := range []string{"", ":", "::", "k3:42:", "k3:42:q9", "k3:007:", "k3:-1:", "k3:9007199254740992:", "a:b:c:d"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		epoch, offset, previous := store.ParseMark(s)
		if offset >= 1<<53 {
			t.Errorf("%q is read as the offset %d, beyond what scripts count exactly", s, offset)
		}
		again := epoch + ":" + strconv.FormatUint(offset, 10) + ":" + previous
		if e, o, p := store.ParseMark(again); e != epoch || o != offset || p != previous {
			t.Errorf("%q is read as %q, and that as %q, %d, %q", s, again, e, o, p)
		}
	})
}
