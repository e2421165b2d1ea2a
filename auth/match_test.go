package auth_test

import (
	"regexp"
	"strings"
	"testing"

	"github.com/rookery-chat/rookery/auth"
)

// A pattern names what the regular expression that it stands for does, and never crosses between rooms,
// inboxes and everyone.
func FuzzMatch(f *testing.F) {
	for _, seed := range [][2]string{{"lobby", "lobby"}, {"team:*", "team:red"}, {"*", "@bob"}, {"@*", "@bob"}, {"**", "*"}, {"*", "*"}, {"a*b*c", "abbc"}, {"a*a", "a"}, {"***", "x"}, {"", ""}, {"*@*", "@a"}} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, pattern, topic string) {
		got := auth.Match(pattern, topic)
		var want bool
		switch {
		case topic == "*" || pattern == "**":
			want = topic == "*" && pattern == "**"
		case strings.HasPrefix(topic, "@") != strings.HasPrefix(pattern, "@"):
		default:
			parts := strings.Split(pattern, "*")
			for i := range parts {
				parts[i] = regexp.QuoteMeta(parts[i])
			}
			e, err := regexp.Compile(`(?s)\A` + strings.Join(parts, ".*") + `\z`)
			if err != nil {
				return // not UTF-8
			}
			want = e.MatchString(topic)
		}
		if got != want {
			t.Errorf("%q names %q: %v", pattern, topic, got)
		}
	})
}
