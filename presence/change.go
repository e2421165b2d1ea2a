package presence

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// ErrName is wrapped by the error for a topic or user that cannot be in a roster.
var ErrName = errors.New("presence: a topic or user must be non-empty, without white space, control characters, { and }")

func checkName(name string) error {
	if name == "" || strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r == '{' || r == '}' || r == 0x7f }) {
		return fmt.Errorf("%w: %q", ErrName, name)
	}
	return nil
}

// ParseChange reads the payload under which a Change travels as a signal of its topic:
//
//	p <epoch> <version> <online> +<who joined> -<who left> …
//
// with single spaces, and names in any number and order.
func ParseChange(payload []byte) (Change, error) {
	kind, rest, _ := strings.Cut(string(payload), " ")
	if kind != "p" {
		return Change{}, fmt.Errorf("presence: no change, which begins with \"p \": %.40q", payload)
	}
	var c Change
	var version, online string
	c.Epoch, rest, _ = strings.Cut(rest, " ")
	version, rest, _ = strings.Cut(rest, " ")
	online, rest, more := strings.Cut(rest, " ")
	var err1, err2 error
	c.Version, err1 = strconv.ParseUint(version, 10, 64)
	c.Online, err2 = strconv.Atoi(online)
	if c.Epoch == "" || err1 != nil || c.Version == 0 || err2 != nil || c.Online < 0 {
		return Change{}, fmt.Errorf("presence: change without epoch, version and online count: %.60q", payload)
	}
	for more {
		var name string
		name, rest, more = strings.Cut(rest, " ")
		switch {
		case len(name) > 1 && name[0] == '+':
			c.Joined = append(c.Joined, name[1:])
		case len(name) > 1 && name[0] == '-':
			c.Left = append(c.Left, name[1:])
		default:
			return Change{}, fmt.Errorf("presence: change names %.40q, neither +joined nor -left", name)
		}
	}
	return c, nil
}

// append writes the payload that ParseChange reads. (The scripts' publish does the same.)
func (c Change) append(b []byte) []byte {
	b = append(b, "p "...)
	b = append(b, c.Epoch...)
	b = append(b, ' ')
	b = strconv.AppendUint(b, c.Version, 10)
	b = append(b, ' ')
	b = strconv.AppendInt(b, int64(c.Online), 10)
	for _, name := range c.Joined {
		b = append(append(b, " +"...), name...)
	}
	for _, name := range c.Left {
		b = append(append(b, " -"...), name...)
	}
	return b
}
