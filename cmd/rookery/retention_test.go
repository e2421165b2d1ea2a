package main

import (
	"strings"
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

// What is taken for rules keeps at least something of every topic that they name; what is not is
// refused with the rule in the error.
func FuzzRetention(f *testing.F) {
	for _, rules := range []string{"team:*=5000,72h", "@*=1,1m;*=2,1h", "**=7,24h", "=1,1h", "a=0,1h", "a=1,1s", "a=1", "a=-1,1h", "a=9999999999999999999,1h", "a=1,1h,2", "a==1,1h"} {
		f.Add(rules, "lobby")
	}
	f.Fuzz(func(t *testing.T, list, topic string) {
		rules, err := parseRetentions(strings.Split(list, ";"))
		if err != nil {
			if len(rules) > 0 {
				t.Errorf("%q: %v, and rules", list, err)
			}
			return
		}
		length, age := logFor(rules)(topic)
		if (length == 0) != (age == 0) || length < 0 || age < 0 || age > 0 && age < time.Minute {
			t.Errorf("%q keeps %d for %v of %q", list, length, age, topic)
		}
	})
}
