package storetest

import "testing"

// The judge of the crowd's answers must see each way to break the promise.
func TestJudge(t *testing.T) {
	fine := []move{
		{"k3", 2, 2, true}, {"k3", 2, 2, false}, {"k3", 1, 2, false}, {"k3", 4, 4, true}, {"k3", 3, 4, false},
		{"q9", 9, 9, true}, // another epoch's is none of its business
	}
	if faults := judge(fine, "k3", 4); faults != nil {
		t.Errorf("right answers were found wrong: %q", faults)
	}
	for name, bad := range map[string]move{
		"moved twice":      {"k3", 4, 4, true},
		"moved elsewhere":  {"k3", 3, 4, true},
		"did not move":     {"k3", 4, 2, false},
		"stood unmoved to": {"k3", 1, 3, false},
		"lost the most":    {"k3", 5, 5, true},
	} {
		if faults := judge(append(fine[:len(fine):len(fine)], bad), "k3", 4); len(faults) != 1 {
			t.Errorf("%s: got the faults %q, want one", name, faults)
		}
	}
}
