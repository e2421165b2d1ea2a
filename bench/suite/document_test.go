package main

import (
	"strings"
	"testing"
)

// The page says of each budget whether it holds, and hides none that does not; also how it would be on a machine
// as fast as the budgets' own.
func TestDocument(t *testing.T) {
	t.Parallel()
	s := &suite{
		bare: 2 * designBare,
		rows: []row{
			{"kept", "fanout", "µs", 6, false, []float64{7, 5.126, 4}, []float64{5, 10, 2}},
			{"broken", "fanout", "µs", 6, false, []float64{6.5}, nil},
			{"fast", "fanout --saturate", "/s", 900_000, true, []float64{1_234_567}, nil},
			{"slow", "fanout --saturate", "/s", 900_000, true, []float64{12_345}, nil},
			{"without", "idle", "KiB", 0, false, []float64{1}, nil},
			{"large", "idle", "KiB", 10, false, []float64{11}, nil},
			{"far", "connect", "µs", 6, false, []float64{12.1}, nil},
		},
		faults: []string{"something is missing"},
		limits: limits{with: 10.6, without: 10, withRuns: []float64{10.6}, withoutRuns: []float64{10}},
	}
	text := s.document(0.25)
	for _, line := range []string{
		"| kept | ≤ 6 | 5.13 µs | 7; 5.13; 4 | yes | ≤ 12 | yes | 5 | 1.03 |\n",
		"| broken | ≤ 6 | 6.5 µs |  | **no** | ≤ 12 | yes |  |  |\n",
		"| fast | ≥ 900,000 | 1,234,567 /s |  | yes | ≥ 450,000 | yes |  |  |\n",
		"| slow | ≥ 900,000 | 12,345 /s |  | **no** | ≥ 450,000 | **no** |  |  |\n",
		"| without |  | 1 KiB |  |  |  |  |  |  |\n",
		"| large | ≤ 10 | 11 KiB |  | **no** |  |  |  |  |\n",
		"| far | ≤ 6 | 12.1 µs |  | **no** | ≤ 12 | **no** |  |  |\n",
		"took 5.6 µs a delivery; here the baseline took 11.2, and\nso they are 2.00 times as large",
		"other processes used 25 %",
		"rookery bench fanout\nrookery bench fanout --saturate\nrookery bench idle\nrookery bench connect\n",
		"- something is missing\n",
		"**+6.0 %**: it **does not hold**",
		"## What was tried\n",
	} {
		if !strings.Contains(text, line) {
			t.Errorf("the page lacks %q:\n%s", line, text)
		}
	}
}

// The part of the page that make growth writes stays as it is when make bench writes the page, and the other way round.
func TestGrowthKeepsItsPart(t *testing.T) {
	t.Parallel()
	const first, second = growthBegins + "one\n" + growthEnds, growthBegins + "two\n" + growthEnds
	if got := growthOf("# Page\n"); got != "" {
		t.Errorf("a page without the part has %q", got)
	}
	page := withGrowth("# Page\n", first)
	if page != "# Page\n\n"+first || growthOf(page) != first {
		t.Errorf("added: %q", page)
	}
	if got := withGrowth(page+"more\n", second); got != "# Page\n\n"+second+"more\n" {
		t.Errorf("replaced: %q", got)
	}
	if got := withGrowth("# New\n", growthOf(page)); got != "# New\n\n"+first {
		t.Errorf("kept: %q", got)
	}
	if got := withGrowth("# New\n", ""); got != "# New\n" {
		t.Errorf("there was none: %q", got)
	}
}
