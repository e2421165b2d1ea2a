package bus_test

import (
	"strings"
	"testing"

	"github.com/rookery-chat/rookery/bus"
)

// Whatever Redis answers to a read: what becomes a page is whole, in order, and goes on where
// the reader was.
func FuzzParsePage(f *testing.F) {
	for _, page := range []string{
		"k3 2  0 1 2 1 '1767225600123 0 {}' 2 '1767225600124 1 2 ab{}'",
		"k3 9 j2 4 3 9 3 '1 0 {}' 7 '2 0 {}'", // removed ones between
		"k3 0  0 1 0", "k3 5  0 2 5 4 'x' 3 '1 0 {}'", "k3", "k3 x  0 1 0", "k3 3  0 0 3 0 '1 0 {}'",
	} {
		f.Add(page, uint64(0))
		f.Add(page, uint64(4))
	}
	f.Fuzz(func(t *testing.T, page string, after uint64) {
		var answer []any
		for i, part := range strings.Split(page, "'") {
			if i%2 == 1 {
				answer = append(answer, part) // a record, with its spaces
				continue
			}
			for _, field := range strings.Split(strings.Trim(part, " "), " ") {
				answer = append(answer, field)
			}
		}
		if len(answer) > 5 && len(answer[5].(string)) > 4 {
			return // a log does not reach so far: removed messages are counted out
		}
		p, err := bus.ParsePage(answer, after)
		if err != nil {
			return
		}
		next := max(after+1, p.First)
		for _, e := range p.Entries {
			if e.Offset != next {
				t.Fatalf("%q after %d: offset %d, want %d", page, after, e.Offset, next)
			}
			next++
		}
	})
}

// Whatever Redis answers to a publish: what becomes a receipt tells what the answer says.
func FuzzParseReceipt(f *testing.F) {
	f.Add("2 43 k3 1767225600123 n1", "n1")
	f.Add("0 43 k3 1767225600123 n2", "n1")
	f.Add("0 -1 k3 x", "")
	f.Fuzz(func(t *testing.T, answer, name string) {
		r, err := bus.ParseReceipt(answer, name)
		fields := strings.Fields(answer)
		if err == nil && (len(fields) != 5 || r.Epoch != fields[2] || r.Epoch == "" || r.Duplicate == (fields[4] == name)) {
			t.Errorf("%q is %+v", answer, r)
		}
	})
}

// Wherever a cursor is, it goes on at a place that the log has, and nothing is called recovered that is not.
func FuzzJudge(f *testing.F) {
	f.Add("e", uint64(3), uint64(1), uint64(9), "d", uint64(4))
	f.Add("d", uint64(7), uint64(5), uint64(9), "d", uint64(4))
	f.Add("", uint64(0), uint64(1), uint64(0), "", uint64(0))
	f.Fuzz(func(t *testing.T, epoch string, offset, first, head uint64, before string, end uint64) {
		if first == 0 || head == 1<<64-1 || first > head+1 || before == "e" || end > head {
			return // no log
		}
		p := bus.Page{Epoch: "e", First: first, Head: head, Previous: bus.Position{Epoch: before, Offset: end}}
		after, reason, recovered := p.Judge(bus.Position{Epoch: epoch, Offset: offset})
		switch {
		case after < first-1:
			t.Errorf("goes on at %d, the log begins with %d", after, first)
		case after > head && (epoch != "e" || after != offset):
			t.Errorf("goes on at %d, beyond the head %d", after, head)
		case recovered && epoch != "" && after != offset:
			t.Errorf("was at %d, goes on at %d, and is recovered", offset, after)
		case recovered && reason == "trimmed", !recovered && reason == "":
			t.Errorf("recovered %v, for the reason %q", recovered, reason)
		}
	})
}
