package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/rookery-chat/rookery/auth"
)

// A retention is how much of their logs the topics of a pattern keep.
type retention struct {
	pattern string
	length  int
	age     time.Duration
}

// minLogAge is the least age of a log: sessions that were away for so long find theirs.
const minLogAge = time.Minute

// parseRetentions reads rules of the form pattern=count,age: team:*=5000,72h.
func parseRetentions(rules []string) ([]retention, error) {
	var all []retention
	for _, rule := range rules {
		pattern, bounds, _ := strings.Cut(rule, "=")
		count, age, ok := strings.Cut(bounds, ",")
		if pattern == "" || !ok {
			return nil, fmt.Errorf("%q: want pattern=count,age, such as team:*=5000,72h", rule)
		}
		r := retention{pattern: pattern}
		var err error
		if r.length, err = strconv.Atoi(count); err != nil || r.length < 1 {
			return nil, fmt.Errorf("%q: the count %q is not an integer of at least 1", rule, count)
		}
		if r.age, err = time.ParseDuration(age); err != nil || r.age < minLogAge {
			return nil, fmt.Errorf("%q: the age %q is not a time of at least %s", rule, age, minLogAge)
		}
		all = append(all, r)
	}
	return all, nil
}

// logFor returns the bounds of a topic's log by the first rule that names it, 0 for none.
func logFor(rules []retention) func(topic string) (length int, age time.Duration) {
	if len(rules) == 0 {
		return nil
	}
	return func(topic string) (int, time.Duration) {
		for _, r := range rules {
			if auth.Match(r.pattern, topic) {
				return r.length, r.age
			}
		}
		return 0, 0
	}
}
