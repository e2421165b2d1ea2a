package bus_test

import (
	"reflect"
	"strconv"
	"testing"

	"github.com/rookery-chat/rookery/bus"
)

func TestLiveMessage(t *testing.T) {
	for _, except := range [][]string{nil, {"n1-1"}, {"", "with space", "5 x"}} {
		d := bus.Draft{Payload: []byte(`{"a": 1}`), Except: except}
		epoch, e, err := bus.ParseLive(bus.LiveMessage("k3", "42", "1767225600123", d))
		want := bus.Entry{Offset: 42, Time: 1767225600123, Payload: d.Payload, Except: except}
		if err != nil || epoch != "k3" || !reflect.DeepEqual(e, want) {
			t.Errorf("got %q %+v, %v, want %+v", epoch, e, err, want)
		}
	}
	for _, bad := range []string{
		"", "m", "x", "sk3 1 2 0 {}", "m 1 2 0 {}", "mk3", "mk3 ", "mk3 1", "mk3 1 2", "mk3 1 2 0", "mk3 1 2 0 ",
		"mk3 0 2 0 {}", "mk3 -1 2 0 {}", "mk3 x 2 0 {}", "mk3 1 x 0 {}", "mk3 1 2 x {}", "mk3 1 2 1 {}", "mk3 1 2 1 9 {}",
		"mk3 1 2 1 2 {}", "mk3 1 2 9007199254740993 {}", "mk3 99999999999999999 2 0 {}",
	} {
		if epoch, e, err := bus.ParseLive(bad); err == nil {
			t.Errorf("%q was taken for %s %+v", bad, epoch, e)
		}
	}
}

// What is parsed can be written again, and is parsed as the same.
func FuzzParseLive(f *testing.F) {
	f.Add(`mk3 42 1767225600123 0 {"a":1}`)
	f.Add(`mk3 1 2 2 4 n1-13 abc{}`)
	f.Add(`mk3 1 2 99999999 {}`)
	f.Add(`s{}`)
	f.Fuzz(func(t *testing.T, s string) {
		epoch, e, err := bus.ParseLive(s)
		if err != nil {
			return
		}
		again := bus.LiveMessage(epoch, strconv.FormatUint(e.Offset, 10), strconv.FormatInt(e.Time, 10),
			bus.Draft{Payload: e.Payload, Except: e.Except})
		epoch2, e2, err := bus.ParseLive(again)
		if err != nil || epoch2 != epoch || !reflect.DeepEqual(e, e2) || len(e.Payload) == 0 || e.Offset == 0 {
			t.Errorf("%q is %s %+v, but %q is %s %+v, %v", s, epoch, e, again, epoch2, e2, err)
		}
	})
}
