package api

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/rookery-chat/rookery/wire"
)

// Limits of what is asked.
const (
	maxData    = 64 << 10  // bytes of a message's data, compacted
	maxBody    = 128 << 10 // bytes of a body, but for a batch
	maxBatch   = 1 << 20   // bytes of a batch
	maxItems   = 1000      // messages of a batch
	maxKey     = 128       // bytes of a publish's key
	maxExcept  = 100       // sessions that a message leaves out
	maxSession = 64        // bytes of a session's id
	maxID      = 64        // bytes of a timer's id
	maxCursor  = 256       // bytes of a cursor
	maxOffset  = 1 << 53   // offsets are numbers that JavaScript has
	maxLimit   = 1000      // entries of one page
)

// defaultLimit is how many entries a page has at most when the caller does not say.
const defaultLimit = 100

// pathTopic returns the topic that the path names.
func pathTopic(r *http.Request) (string, error) { return wire.ParseTopic(r.PathValue("topic")) }

// pathUser returns the user that the path names.
func pathUser(r *http.Request) (string, error) { return wire.CheckUser(r.PathValue("user")) }

// pathBoth returns the topic and the user that the path names.
func pathBoth(r *http.Request) (topic, user string, err error) {
	if topic, err = pathTopic(r); err == nil {
		user, err = pathUser(r)
	}
	return topic, user, err
}

// offset reads an offset that is at least least.
func offset(name, s string, least uint64) (uint64, error) {
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil || n < least || n >= maxOffset {
		return 0, bad("%s must be a whole number from %d to 2^53-1", name, least)
	}
	return n, nil
}

// query reads the parameters behind the path, and refuses those that are not asked for or stand twice.
func query(r *http.Request, names ...string) (url.Values, error) {
	q, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, bad("the parameters behind ? are not URL-encoded")
	}
	for name, values := range q {
		switch {
		case !slices.Contains(names, name) && len(names) == 0:
			return nil, bad("unknown parameter %s: this path takes none", show(name))
		case !slices.Contains(names, name):
			return nil, bad("unknown parameter %s: this path takes %s", show(name), strings.Join(names, ", "))
		case len(values) > 1:
			return nil, bad("the parameter %s stands twice", name)
		}
	}
	return q, nil
}

// page reads the parameters of a list that has cursors.
func page(r *http.Request) (cursor string, limit int, err error) {
	q, err := query(r, "cursor", "limit")
	if err != nil {
		return "", 0, err
	}
	if cursor, err = short("cursor", q.Get("cursor"), maxCursor); err != nil {
		return "", 0, err
	}
	limit, err = pageLimit(q)
	return cursor, limit, err
}

func pageLimit(q url.Values) (int, error) {
	if !q.Has("limit") {
		return defaultLimit, nil
	}
	n, err := strconv.Atoi(q.Get("limit"))
	if err != nil || n < 1 || n > maxLimit {
		return 0, bad("limit must be a whole number from 1 to %d", maxLimit)
	}
	return n, nil
}

// short checks a text that means something to the cluster alone.
func short(name, s string, most int) (string, error) {
	switch {
	case len(s) > most:
		return "", bad("%s is longer than %d bytes", name, most)
	case strings.ContainsRune(s, utf8.RuneError):
		return "", bad("%s is not UTF-8", name)
	}
	return s, nil
}

// body reads a request's JSON.
func body(r *http.Request, most int64) ([]byte, error) {
	// Without a preflight, a page could send other types than this one.
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		return nil, refuse(http.StatusUnsupportedMediaType, "send the body as Content-Type: application/json")
	}
	b, err := io.ReadAll(http.MaxBytesReader(nil, r.Body, most))
	if err != nil {
		// Who sends a little too much reads the answer only when all is sent: a connection that ends before is reset.
		io.CopyN(io.Discard, r.Body, most)
		return nil, readError(err)
	}
	if !utf8.Valid(b) {
		return nil, bad("the body is not UTF-8")
	}
	return b, nil
}

// readError makes a problem of a body that did not arrive.
func readError(err error) error {
	if p, known := problemOf(err); known {
		return p
	}
	return bad("the body did not arrive")
}

// decode reads the JSON object b into a struct whose fields have names of the letters a to z.
func decode(b []byte, into any) error {
	fields, err := fields(b)
	if err != nil {
		return err
	}
	for _, f := range fields {
		// encoding/json does not mind capitals.
		if strings.ContainsFunc(f.name, func(r rune) bool { return r < 'a' || r > 'z' }) {
			return bad("unknown field %s", show(f.name))
		}
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	switch err := d.Decode(into).(type) {
	case nil:
		return nil
	case *json.UnmarshalTypeError:
		return bad("the field %s must not be a JSON %s", err.Field, err.Value)
	default:
		if name, ok := strings.CutPrefix(err.Error(), "json: unknown field "); ok {
			if unquoted, e := strconv.Unquote(name); e == nil {
				name = unquoted
			}
			return bad("unknown field %s", show(name))
		}
		return bad("the body is no good: %s", err)
	}
}

// A field is one of a JSON object.
type field struct {
	name  string
	value json.RawMessage
	text  []byte // name and value as they stand, and what is between them
}

// fields takes a JSON object apart, in order. It refuses an object with a name that stands twice.
func fields(b []byte) ([]field, error) {
	if !json.Valid(b) {
		return nil, bad("not JSON: a JSON object is wanted")
	}
	d := json.NewDecoder(bytes.NewReader(b))
	if first, err := d.Token(); err != nil || first != json.Delim('{') {
		return nil, bad("a JSON object is wanted")
	}
	var all []field
	seen := make(map[string]bool)
	for d.More() {
		start := d.InputOffset()
		name, err := d.Token()
		if err != nil {
			return nil, err
		}
		f := field{name: fmt.Sprint(name)}
		if seen[f.name] {
			return nil, bad("the field %s stands twice", show(f.name))
		}
		seen[f.name] = true
		if err := d.Decode(&f.value); err != nil {
			return nil, err
		}
		f.text = bytes.TrimLeft(b[start:d.InputOffset()], ", \t\r\n")
		all = append(all, f)
	}
	return all, nil
}

// show quotes what a caller sent, and keeps it short.
func show(s string) string {
	const most = 32
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "…"
	}
	return strconv.Quote(s)
}
