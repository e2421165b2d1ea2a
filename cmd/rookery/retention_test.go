package main

import (
	"testing"
	"time"
)

func TestRetention(t *testing.T) {
	t.Parallel()
	rules, err := parseRetentions([]string{"team:red=7,2h", "team:*=5,1h", "@*=100,240h"})
	if err != nil {
		t.Fatal(err)
	}
	bounds := logFor(rules)
	for topic, want := range map[string]struct {
		length int
		age    time.Duration
	}{
		"team:red":  {7, 2 * time.Hour},
		"team:blue": {5, time.Hour},
		"@alice":    {100, 240 * time.Hour},
		"lobby":     {0, 0},
		"*":         {0, 0},
	} {
		if length, age := bounds(topic); length != want.length || age != want.age {
			t.Errorf("%s keeps %d for %v, want %d for %v", topic, length, age, want.length, want.age)
		}
	}
	if logFor(nil) != nil {
		t.Error("no rules make bounds of their own")
	}
}
