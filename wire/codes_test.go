package wire_test

import (
	"strings"
	"testing"

	"github.com/rookery-chat/rookery/wire"
)

func TestCloseCodes(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		code      wire.CloseCode
		number    int
		reconnect bool
	}{
		{wire.CloseNormal, 1000, false},
		{wire.CloseDraining, 1001, true},
		{wire.CloseProtocol, 1002, true},
		{wire.CloseUnsupported, 1003, false},
		{wire.CloseInvalid, 1007, false},
		{wire.ClosePolicy, 1008, false},
		{wire.CloseTooBig, 1009, false},
		{wire.CloseInternal, 1011, true},
		{wire.CloseUnauthorized, 4001, false},
		{wire.CloseExpired, 4002, true},
		{wire.CloseKicked, 4003, false},
		{wire.CloseLost, 4004, true},
		{wire.CloseSessions, 4005, false},
		{1006, 1006, true}, // the connection was lost
		{1012, 1012, true}, // a proxy restarts (IANA's registry of close codes)
	} {
		if int(row.code) != row.number || row.code.Reconnect() != row.reconnect {
			t.Errorf("%d: reconnect %v, want %d, %v", row.code, row.code.Reconnect(), row.number, row.reconnect)
		}
		own := row.number != 1006 && row.number != 1012
		if named := !strings.Contains(row.code.String(), "close code"); named != own {
			t.Errorf("%d is called %q", row.code, row.code)
		}
	}
}

func TestErrorSaysCodeAndMessage(t *testing.T) {
	t.Parallel()
	e := &wire.Error{Code: wire.NotFound, Message: "not joined: nothing to leave"}
	if got := e.Error(); got != "not_found: not joined: nothing to leave" {
		t.Error(got)
	}
}
