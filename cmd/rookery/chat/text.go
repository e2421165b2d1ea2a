package chat

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Text is what a message says: the field "text" of an object, a string as it is, and other
// JSON as JSON.
func Text(data json.RawMessage) string {
	var s *string
	if json.Unmarshal(data, &s) == nil && s != nil {
		return *s
	}
	var object struct {
		Text *string `json:"text"`
	}
	if json.Unmarshal(data, &object) == nil && object.Text != nil {
		return *object.Text
	}
	var compact bytes.Buffer
	if json.Compact(&compact, data) != nil {
		return string(data)
	}
	return compact.String()
}

// Printable escapes whatever could do something to a terminal, or forge a line: control
// characters, line separators, and characters that turn the direction of writing.
func Printable(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); {
		r, size := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && size == 1:
			fmt.Fprintf(&b, `\x%02x`, s[i])
		case unicode.IsPrint(r), unicode.Is(unicode.Zs, r), r == '\u200d': // the joiner makes one emoji of several
			b.WriteRune(r)
		default:
			quoted := strconv.QuoteRuneToASCII(r)
			b.WriteString(quoted[1 : len(quoted)-1])
		}
		i += size
	}
	return b.String()
}

// names lists users, but not hundreds.
func names(list []string) string {
	const most = 10
	list = slices.Sorted(slices.Values(list))
	if more := len(list) - most; more > 0 {
		return strings.Join(list[:most], ", ") + " and " + strconv.Itoa(more) + " more"
	}
	return strings.Join(list, ", ")
}

// Harmless makes an error that says the same and may be printed to a terminal.
func Harmless(err error) error {
	if err == nil {
		return nil
	}
	return errors.New(Printable(err.Error()))
}

// clockTime is short for today, and has the date otherwise.
func clockTime(at time.Time) string {
	if time.Since(at) > 20*time.Hour {
		return at.Format(time.DateOnly + " 15:04")
	}
	return at.Format("15:04")
}
