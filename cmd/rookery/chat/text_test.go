package chat_test

import (
	"encoding/json"
	"regexp"
	"testing"
	"unicode"

	"github.com/rookery-chat/rookery/cmd/rookery/chat"
)

func checkHarmless(t *testing.T, line string) {
	t.Helper()
	for _, r := range line {
		if unicode.IsControl(r) || unicode.In(r, unicode.Zl, unicode.Zp) || unicode.Is(unicode.Cf, r) && r != '\u200d' {
			t.Errorf("%q contains %U", line, r)
		}
	}
}

func FuzzPrintable(f *testing.F) {
	for _, s := range []string{"", "hi", "\x1b[31m", "\xff\xfe", "\u202e\u2028", "e\u0301 👨\u200d👩", `"\u001b"`, `{"text":"\u009b"}`, `{"text":3}`, `[1,`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		checkHarmless(t, chat.Printable(s))
		checkHarmless(t, chat.Printable(chat.Text(json.RawMessage(s))))
		if plain := regexp.MustCompile(`^[ -~]*$`); plain.MatchString(s) && chat.Printable(s) != s {
			t.Errorf("%q became %q", s, chat.Printable(s))
		}
	})
}

func TestText(t *testing.T) {
	t.Parallel()
	for data, want := range map[string]string{
		`"hi"`:                        "hi",
		`{"text":"hi","more":1}`:      "hi",
		`{"text": 1}`:                 `{"text":1}`,
		`{"other": "x" }`:             `{"other":"x"}`,
		`[1, 2]`:                      `[1,2]`,
		`null`:                        `null`,
		`{"text":null}`:               `{"text":null}`,
		`{"text":"line one\nline 2"}`: "line one\nline 2",

		`{"kind":"reply","of":1,"text":"no"}`:               "no",
		`{"kind":"edit","of":1,"text":"hi"}`:                "hi (edited)",
		`{"kind":"delete","of":"a1"}`:                       "(deletes a message)",
		`{"kind":"reaction","of":1,"emoji":"x"}`:            "(reacts with x)",
		`{"kind":"reaction","of":1,"emoji":"x","on":false}`: "(takes x back)",
		`{"text":"","file":{"name":"a.png","url":"data:"}}`: "(sends the file a.png)",
		`{"text":"see","file":{"name":"a.png"}}`:            "see (sends the file a.png)",
		`{"kind":"delete"}`:                                 `{"kind":"delete"}`,
		`{"kind":7,"text":"hi"}`:                            "hi",
	} {
		if got := chat.Text(json.RawMessage(data)); got != want {
			t.Errorf("%s is printed as %q, want %q", data, got, want)
		}
	}
}
