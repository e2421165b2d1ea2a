package hook_test

import (
	"bytes"
	"errors"
	"testing"
	"unicode/utf8"

	"github.com/rookery-chat/rookery/hook"
	"github.com/rookery-chat/rookery/wire"
)

// Whatever a back end answers: it passes, puts data in the place that members can read, refuses with a
// reason that can be told, or has not understood the question.
func FuzzAnswer(f *testing.F) {
	for _, answer := range []string{`{}`, `{"data":{"a": 1}}`, `{"refuse":"no"}`, `{"refuse":""}`, `{"data":1,"refuse":"no"}`, `{"data":null}`, `null`, ``, `[]`, `{} {}`, `{"Data":1}`, `{"data":"\ud800"}`, "{\"refuse\":\"\xff\"}"} {
		f.Add([]byte(answer))
	}
	const most = 1000
	h, err := hook.New("http://localhost", []string{secret}, &hook.Options{MaxData: most})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, answer []byte) {
		data, err := h.Judge(bytes.TrimSpace(answer))
		var refused *wire.Error
		switch {
		case err != nil && data != nil:
			t.Errorf("%q: %s and %v", answer, data, err)
		case errors.As(err, &refused):
			if refused.Code != wire.Forbidden || refused.Message == "" || !utf8.ValidString(refused.Message) || len(refused.Message) > most {
				t.Errorf("%q refuses with %+v", answer, refused)
			}
		case data != nil:
			if compact, err := wire.ParseData(data); err != nil || !bytes.Equal(compact, data) || len(data) > most {
				t.Errorf("%q puts %q there: %v", answer, data, err)
			}
		}
	})
}
