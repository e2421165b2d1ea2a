package wire_test

import (
	"bytes"
	"encoding/json"
	"os"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/rookery-chat/rookery/wire"
)

// docs/protocol.md is what people write clients from, so it is held to the code.
const protocolPage = "../docs/protocol.md"

// section returns the lines of the page from one heading to the next of the same level.
func section(t *testing.T, heading string) []string {
	t.Helper()
	page, err := os.ReadFile(protocolPage)
	if err != nil {
		t.Fatal(err)
	}
	_, rest, found := strings.Cut(string(page), "\n"+heading+"\n")
	if !found {
		t.Fatalf("the page has no %q", heading)
	}
	level, _, _ := strings.Cut(heading, " ")
	body, _, _ := strings.Cut(rest, "\n"+level+" ")
	return strings.Split(body, "\n")
}

// examples returns the whole frames of a section's code blocks.
func examples(t *testing.T, heading string) [][]byte {
	t.Helper()
	var found [][]byte
	code := false
	for _, line := range section(t, heading) {
		if strings.HasPrefix(line, "```") {
			code = !code
		}
		if code && strings.HasPrefix(line, `{"type":`) && json.Valid([]byte(line)) {
			found = append(found, []byte(line))
		}
	}
	return found
}

func TestPageCommands(t *testing.T) {
	t.Parallel()
	types := make(map[string]bool)
	for _, b := range examples(t, "## What a client sends") {
		c, err := wire.ParseCommand(b)
		if err != nil {
			t.Errorf("%s: %v", b, err)
			continue
		}
		types[c.Type] = true
		if again := c.Append(nil); !equalJSON(t, again, b) {
			t.Errorf("%s\nis written as\n%s", b, again)
		}
	}
	if len(types) != 9 {
		t.Errorf("examples of %d types of commands, want all 9: %v", len(types), types)
	}
}

func TestPageFrames(t *testing.T) {
	t.Parallel()
	types := make(map[reflect.Type]bool)
	for _, b := range examples(t, "## What a node sends") {
		f, err := wire.ParseFrame(b)
		if err != nil || f == nil {
			t.Errorf("%s: %v, %v", b, f, err)
			continue
		}
		types[reflect.TypeOf(f)] = true
		if again := f.(interface{ Append([]byte) []byte }).Append(nil); !equalJSON(t, again, b) {
			t.Errorf("%s\nis written as\n%s", b, again)
		}
	}
	if len(types) != 10 { // the welcome's and the history's are abridged
		t.Errorf("whole examples of %d types of frames, want 10: %v", len(types), types)
	}
}

// What the client says in the page's conversation is taken by a node.
func TestPageConversation(t *testing.T) {
	t.Parallel()
	said := 0
	for _, line := range section(t, "## A conversation") {
		if command, ok := strings.CutPrefix(line, "→ "); ok {
			said++
			if _, err := wire.ParseCommand([]byte(command)); err != nil {
				t.Errorf("%s: %v", command, err)
			}
		}
	}
	if said == 0 {
		t.Error("the client says nothing")
	}
}

func TestPageErrorCodes(t *testing.T) {
	t.Parallel()
	listed := make(map[wire.Code]bool)
	row := regexp.MustCompile("^\\| `([a-z_]+)` \\|")
	for _, line := range section(t, "## Error codes") {
		if m := row.FindStringSubmatch(line); m != nil {
			listed[wire.Code(m[1])] = true
		}
	}
	codes := []wire.Code{wire.BadRequest, wire.Unauthorized, wire.Forbidden, wire.NotFound, wire.TooLarge, wire.RateLimited, wire.Unavailable, wire.Internal}
	for _, code := range codes {
		if !listed[code] {
			t.Errorf("%s is missing", code)
		}
	}
	if len(listed) != len(codes) {
		t.Errorf("%d codes are listed, and there are %d", len(listed), len(codes))
	}
}

func TestPageCloseCodes(t *testing.T) {
	t.Parallel()
	listed := 0
	row := regexp.MustCompile(`^\| (\d{4}) \| ([^|]+) \| [^|]+ \| ([^|]+) \|$`)
	for _, line := range section(t, "## Close codes") {
		m := row.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		listed++
		n, _ := strconv.Atoi(m[1])
		code := wire.CloseCode(n)
		if code.String() != m[2] {
			t.Errorf("%d is called %q, and the page says %q", n, code, m[2])
		}
		if code.Reconnect() != (m[3] != "no") {
			t.Errorf("%d: Reconnect is %t, and the page says %q", n, code.Reconnect(), m[3])
		}
	}
	if listed != 13 {
		t.Errorf("%d codes are listed, want 13", listed)
	}
}

// equalJSON compares two objects whatever the order of their members.
func equalJSON(t *testing.T, a, b []byte) bool {
	t.Helper()
	decode := func(b []byte) (v any) {
		d := json.NewDecoder(bytes.NewReader(b))
		d.UseNumber()
		if err := d.Decode(&v); err != nil {
			t.Errorf("%s: %v", b, err)
		}
		return v
	}
	return reflect.DeepEqual(decode(a), decode(b))
}
