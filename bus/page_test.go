package bus_test

import (
	"testing"

	"github.com/rookery-chat/rookery/bus"
)

func TestJudge(t *testing.T) {
	at := func(epoch string, offset uint64) bus.Position { return bus.Position{Epoch: epoch, Offset: offset} }
	log := func(first, head uint64, previous bus.Position) bus.Page {
		return bus.Page{Epoch: "now", First: first, Head: head, Previous: previous}
	}
	whole := log(1, 50, bus.Position{})
	trimmed := log(21, 50, bus.Position{})
	after := log(1, 50, at("before", 30))
	trimmedAfter := log(21, 50, at("before", 30))
	for _, test := range []struct {
		name      string
		page      bus.Page
		cursor    bus.Position
		after     uint64
		reason    string
		recovered bool
	}{
		{"at the head", whole, at("now", 50), 50, "", true},
		{"behind", whole, at("now", 3), 3, "", true},
		{"at the very beginning", whole, at("now", 0), 0, "", true},
		{"ahead", whole, at("now", 70), 70, "", true},
		{"just held", trimmed, at("now", 20), 20, "", true},
		{"just trimmed", trimmed, at("now", 19), 20, "trimmed", false},
		{"nothing held", log(51, 50, bus.Position{}), at("now", 49), 50, "trimmed", false},
		{"nothing held, at the head", log(51, 50, bus.Position{}), at("now", 50), 50, "", true},
		{"empty", log(1, 0, bus.Position{}), at("now", 0), 0, "", true},
		{"previous epoch, behind", after, at("before", 10), 10, "epoch", true},
		{"previous epoch, at its end", after, at("before", 30), 30, "epoch", true},
		{"previous epoch, beyond what survived", after, at("before", 33), 30, "epoch", false},
		{"previous epoch, just held", trimmedAfter, at("before", 20), 20, "epoch", true},
		{"previous epoch, trimmed", trimmedAfter, at("before", 19), 20, "epoch", false},
		{"previous epoch, lost and trimmed", log(41, 50, at("before", 30)), at("before", 33), 40, "epoch", false},
		{"unknown epoch", after, at("long ago", 10), 0, "epoch", false},
		{"unknown epoch, trimmed", trimmedAfter, at("long ago", 40), 20, "epoch", false},
		{"unknown epoch, no previous", whole, at("before", 40), 0, "epoch", false},
		{"unknown epoch, new log", log(1, 0, bus.Position{}), at("before", 40), 0, "epoch", false},
		{"no cursor", trimmedAfter, bus.Position{}, 50, "", true},
		{"no cursor, no previous", whole, bus.Position{}, 50, "", true},
	} {
		after, reason, recovered := test.page.Judge(test.cursor)
		if after != test.after || reason != test.reason || recovered != test.recovered {
			t.Errorf("%s: got %d, %q, %v, want %d, %q, %v",
				test.name, after, reason, recovered, test.after, test.reason, test.recovered)
		}
	}
}
