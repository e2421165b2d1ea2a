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

	"github.com/rookery-chat/rookery/wire"
)

// A kind is what the chat page says with a message beside a text: web/README.md lists it.
type kind struct {
	Kind  string          `json:"kind"`
	Of    json.RawMessage `json:"of"`
	Emoji string          `json:"emoji"`
	On    *bool           `json:"on"`
	File  struct {
		Name string `json:"name"`
	} `json:"file"`
}

func kindOf(data json.RawMessage) (k kind) {
	json.Unmarshal(data, &k) // what is of another shape stays empty
	return k
}

// kept reports whether a message is what the chat page keeps in its user's inbox: nobody said it.
func kept(m *wire.Message, me string) bool {
	if m.Topic != wire.Inbox(me) || m.From != me || m.To != "" {
		return false
	}
	k := kindOf(m.Data).Kind
	return k == "mark" || k == "rooms"
}

// Text is what a message says: the field "text" of an object, a string as it is, what people do on
// the chat page in words, and other JSON as JSON.
func Text(data json.RawMessage) string {
	var s *string
	if json.Unmarshal(data, &s) == nil && s != nil {
		return *s
	}
	switch k := kindOf(data); {
	case k.Of != nil && k.Kind == "reaction" && k.Emoji != "" && k.On != nil && !*k.On:
		return "(takes " + k.Emoji + " back)"
	case k.Of != nil && k.Kind == "reaction" && k.Emoji != "":
		return "(reacts with " + k.Emoji + ")"
	case k.Of != nil && k.Kind == "delete":
		return "(deletes a message)"
	case k.Of != nil && k.Kind == "edit":
		return strings.TrimSpace(textOf(data) + " (edited)")
	case k.File.Name != "":
		return strings.TrimSpace(textOf(data) + " (sends the file " + k.File.Name + ")")
	}
	return textOf(data)
}

func textOf(data json.RawMessage) string {
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
