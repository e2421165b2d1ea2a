package bench_test

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/rookery-chat/rookery/bench"
	"github.com/rookery-chat/rookery/wire"
)

// text is a server's text frame.
func text(s string) []byte { return append(wire.AppendTextHeader(nil, len(s)), s...) }

// join is one piece of several.
func join(pieces ...[]byte) []byte { return bytes.Join(pieces, nil) }

func TestSplit(t *testing.T) {
	t.Parallel()
	long, longer := strings.Repeat("l", 200), strings.Repeat("m", 70_000)
	fragments := []byte("\x01\x02he\x80\x01y")
	for name, test := range map[string]struct {
		stream []byte
		want   []string
		fails  string
	}{
		"none":                   {nil, nil, ""},
		"one":                    {text("a"), []string{"a"}, ""},
		"empty":                  {text(""), []string{""}, ""},
		"several":                {join(text("a"), text("bc"), text("d")), []string{"a", "bc", "d"}, ""},
		"16 bits of length":      {join(text(long), text("a")), []string{long, "a"}, ""},
		"64 bits of length":      {join(text(longer), text("a")), []string{longer, "a"}, ""},
		"control frames between": {join(text("a"), wire.AppendPing(nil), text("b")), []string{"a", "b"}, ""},
		"fragmented":             {join(text("a"), fragments, text("b")), []string{"a", "hey", "b"}, ""},
		"ping within fragments":  {[]byte("\x01\x02he\x89\x01p\x80\x01y"), []string{"hey"}, ""},
		"empty last fragment":    {[]byte("\x01\x02he\x80\x00"), []string{"he"}, ""},
		"not whole":              {join(text("a"), text("bcd")[:3]), []string{"a"}, ""},
		"masked":                 {bench.AppendFrame(nil, 1, []byte("a")), nil, "masked"},
		"reserved":               {[]byte("\xc1\x01a"), nil, "reserved"},
		"opcode":                 {[]byte("\x83\x01a"), nil, "opcode"},
		"control opcode":         {[]byte("\x8b\x01a"), nil, "opcode"},
		"fragmented ping":        {[]byte("\x09\x01a"), nil, "control"},
		"long ping":              {[]byte("\x89\x7e\x00\x7e"), nil, "control"},
		"too long":               {[]byte("\x81\x7f\x00\x00\x00\x00\xff\xff\xff\xff"), nil, "at most"},
		"far too long":           {[]byte("\x81\x7f\xff\xff\xff\xff\xff\xff\xff\xff"), nil, "at most"},
		"continuation of none":   {[]byte("\x80\x01a"), nil, "continuation"},
		"beginning within":       {[]byte("\x01\x01a\x01\x01b"), nil, "beginning"},
	} {
		got, err := bench.Split(test.stream)
		if (err != nil) != (test.fails != "") || err != nil && !strings.Contains(err.Error(), test.fails) {
			t.Errorf("%s: error %v, want something of %q", name, err, test.fails)
		}
		if test.fails == "" && !slices.Equal(got, test.want) {
			t.Errorf("%s: %q, want %q", name, got, test.want)
		}
		for cut := range min(len(test.stream), 100) {
			parts, e := bench.Split(test.stream[:cut], test.stream[cut:])
			if !slices.Equal(parts, got) || (e != nil) != (err != nil) {
				t.Errorf("%s, cut at %d: %q and %v, uncut %q and %v", name, cut, parts, e, got, err)
			}
		}
	}
}

// However the network cuts a stream, the same messages are in it.
func FuzzSplit(f *testing.F) {
	f.Add(join(text("a"), wire.AppendPing(nil), text("bc")), 2)
	f.Add([]byte("\x01\x02he\x80\x01y"), 3)
	f.Add(text(strings.Repeat("l", 200)), 3)
	f.Fuzz(func(t *testing.T, stream []byte, cut int) {
		whole, err := bench.Split(bytes.Clone(stream))
		cut = min(max(cut, 0), len(stream))
		parts, e := bench.Split(bytes.Clone(stream[:cut]), bytes.Clone(stream[cut:]))
		if !slices.Equal(whole, parts) || (err != nil) != (e != nil) {
			t.Fatalf("%q and %v, cut at %d %q and %v", whole, err, cut, parts, e)
		}
	})
}
