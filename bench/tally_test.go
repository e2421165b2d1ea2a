package bench_test

import (
	"math/rand/v2"
	"testing"

	"github.com/rookery-chat/rookery/bench"
)

// Whatever goes wrong with deliveries is seen, and called by its name.
func TestTally(t *testing.T) {
	t.Parallel()
	type counts struct{ received, doubled, missing, disordered uint64 }
	for name, test := range map[string]struct {
		offsets []uint64
		want    counts
	}{
		"all":                 {[]uint64{1, 2, 3, 4, 5, 6}, counts{6, 0, 0, 0}},
		"nothing":             {nil, counts{0, 0, 6, 0}},
		"first dropped":       {[]uint64{2, 3, 4, 5, 6}, counts{5, 0, 1, 0}},
		"one dropped":         {[]uint64{1, 2, 4, 5, 6}, counts{5, 0, 1, 0}},
		"last dropped":        {[]uint64{1, 2, 3, 4, 5}, counts{5, 0, 1, 0}},
		"doubled":             {[]uint64{1, 2, 2, 3, 4, 5, 6}, counts{6, 1, 0, 0}},
		"doubled later":       {[]uint64{1, 2, 3, 4, 5, 6, 1}, counts{6, 1, 0, 0}},
		"swapped":             {[]uint64{1, 3, 2, 4, 5, 6}, counts{6, 0, 0, 1}},
		"swapped and doubled": {[]uint64{1, 3, 2, 2, 4, 5, 6}, counts{6, 1, 0, 1}},
		"backwards":           {[]uint64{6, 5, 4, 3, 2, 1}, counts{6, 0, 0, 5}},
		"from the middle":     {[]uint64{6, 3, 1}, counts{3, 0, 3, 2}},
	} {
		var got counts
		got.received, got.doubled, got.missing, got.disordered = bench.Tally(6, test.offsets...)
		if got != test.want {
			t.Errorf("%s: counted %+v, want %+v", name, got, test.want)
		}
	}
}

// Of any order, with any losses and doubles, the counts add up.
func TestTallyOfAnything(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		head := 1 + random.Uint64N(20)
		var offsets []uint64
		times := make(map[uint64]uint64)
		for range random.IntN(30) {
			o := 1 + random.Uint64N(head)
			offsets = append(offsets, o)
			times[o]++
		}
		received, doubled, missing, disordered := bench.Tally(head, offsets...)
		var late, newest uint64
		first := make(map[uint64]bool)
		for _, o := range offsets {
			if !first[o] && o < newest {
				late++
			}
			first[o] = true
			newest = max(newest, o)
		}
		n := uint64(len(times))
		if received != n || doubled != uint64(len(offsets))-n || missing != head-n || disordered != late {
			t.Fatalf("%v up to %d: received %d, doubled %d, missing %d, disordered %d", offsets, head, received, doubled, missing, disordered)
		}
	}
}
