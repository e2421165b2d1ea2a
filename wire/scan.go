package wire

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"unicode/utf16"
	"unicode/utf8"
)

// encoding/json judges what is JSON, and this file only takes apart what it has judged. Its
// decoder would match field names in any case, let the last of several win, read numbers out
// of strings, make U+FFFD of half characters, and give up a whole frame, with its id, for one
// bad field.

// hopeless is a depth from which on nobody needs to know whether it is JSON at all: to find that out costs
// hundreds of kilobytes for each frame. It is far beyond MaxDepth, which is told with the frame's id.
const hopeless = 1000

// deeperThan tells whether b opens more than depth objects and arrays within each other. It need not be JSON.
func deeperThan(b []byte, depth int) bool {
	if bytes.Count(b, []byte("["))+bytes.Count(b, []byte("{")) <= depth {
		return false
	}
	open, quoted := 0, false
	for i := 0; i < len(b); i++ {
		switch c := b[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '[' || c == '{':
			if open++; open > depth {
				return true
			}
		case c == ']' || c == '}':
			open--
		}
	}
	return false
}

// valid refuses what is not one JSON value in UTF-8. It is a state machine: nesting costs it no stack.
func valid(b []byte) error {
	switch {
	case !utf8.Valid(b):
		return errors.New("invalid UTF-8")
	case deeperThan(b, hopeless):
		return fmt.Errorf("nested deeper than %d", hopeless)
	case !json.Valid(b):
		return errors.New("not JSON")
	}
	return nil
}

// validObject refuses what is not one JSON object in UTF-8.
func validObject(b []byte) error {
	err := valid(b)
	if err == nil && b[space(b, 0)] != '{' {
		err = errors.New("not a JSON object")
	}
	return err
}

var errSurrogate = errors.New(`half a character: a string has a \u escape of an unpaired surrogate`)

// inspect refuses valid JSON that is nested more than depth deep, or has unpaired surrogates,
// which RFC 8259, section 8.2, leaves undefined: some receivers could not read it. spaced tells
// whether white space stands between its tokens.
func inspect(b []byte, depth int) (spaced bool, err error) {
	open := 0
	for i := 0; i < len(b); i++ {
		switch b[i] {
		case '"':
			end, whole := stringEnd(b, i)
			if !whole {
				return spaced, errSurrogate
			}
			i = end - 1
		case '{', '[':
			if open++; open > depth {
				return spaced, fmt.Errorf("nested deeper than %d", depth)
			}
		case '}', ']':
			open--
		case ' ', '\t', '\r', '\n':
			spaced = true
		}
	}
	return spaced, nil
}

// stringEnd returns the place behind the string that begins at b[i], and whether its escapes
// are whole characters. b is valid JSON.
func stringEnd(b []byte, i int) (end int, whole bool) {
	whole = true
	for i++; b[i] != '"'; i++ {
		if b[i] != '\\' {
			continue
		}
		if i++; b[i] != 'u' {
			continue
		}
		r := hex4(b[i+1:])
		if i += 4; !utf16.IsSurrogate(r) {
			continue
		}
		if b[i+1] == '\\' && b[i+2] == 'u' && utf16.DecodeRune(r, hex4(b[i+3:])) != utf8.RuneError {
			i += 6
		} else {
			whole = false
		}
	}
	return i + 1, whole
}

// hex4 reads the four digits of a \u escape.
func hex4(b []byte) (r rune) {
	for _, c := range b[:4] {
		switch {
		case c >= 'a':
			c -= 'a' - 10
		case c >= 'A':
			c -= 'A' - 10
		default:
			c -= '0'
		}
		r = r<<4 | rune(c)
	}
	return r
}

// members yields the name, in its quotes, and the value of each member of a JSON object that
// valid has let pass. Both are parts of it, but appending to them copies.
func members(object []byte) iter.Seq2[[]byte, []byte] {
	return func(yield func(name, value []byte) bool) {
		i := space(object, 0) + 1
		for {
			if i = space(object, i); object[i] == '}' {
				return
			}
			nameEnd, _ := stringEnd(object, i)
			start := space(object, space(object, nameEnd)+1) // behind the colon
			end := valueEnd(object, start)
			if !yield(object[i:nameEnd:nameEnd], object[start:end:end]) {
				return
			}
			if i = space(object, end); object[i] == ',' {
				i++
			}
		}
	}
}

// space returns the place of the first token at or behind b[i].
func space(b []byte, i int) int {
	for b[i] == ' ' || b[i] == '\n' || b[i] == '\r' || b[i] == '\t' {
		i++
	}
	return i
}

// valueEnd returns the place behind the value that begins at b[i], a member's.
func valueEnd(b []byte, i int) int {
	open := 0
	for {
		switch b[i] {
		case '"':
			i, _ = stringEnd(b, i)
			if open == 0 {
				return i
			}
			continue
		case '{', '[':
			open++
		case '}', ']':
			if open == 0 {
				return i // a number or a word ended before it
			}
			if open--; open == 0 {
				return i + 1
			}
		case ',', ' ', '\n', '\r', '\t':
			if open == 0 {
				return i
			}
		}
		i++
	}
}

// unquote returns what a JSON string says; ok is false for a value of another kind, and for half a
// character.
func unquote(value []byte) (s string, ok bool) {
	if value[0] != '"' {
		return "", false
	}
	if bytes.IndexByte(value, '\\') < 0 {
		return string(value[1 : len(value)-1]), true
	}
	if _, whole := stringEnd(value, 0); !whole {
		return "", false
	}
	var decoded string // apart from s, which would have to live on the heap in the usual case too
	err := json.Unmarshal(value, &decoded)
	return decoded, err == nil
}
