package wire

import "strconv"

// Code is the code of an error frame.
type Code string

// The error codes of rookery.v1.
const (
	BadRequest   Code = "bad_request"
	Unauthorized Code = "unauthorized"
	Forbidden    Code = "forbidden"
	NotFound     Code = "not_found"
	TooLarge     Code = "too_large"
	RateLimited  Code = "rate_limited"
	Unavailable  Code = "unavailable"
	Internal     Code = "internal"
)

// Error is an error frame, and the error that this package's parsers return.
type Error struct {
	ID      uint64 // of the command that it answers, 0 when unknown
	Topic   string // "" when it concerns none
	Code    Code
	Message string // says what to do
	Retry   bool   // the same command may succeed later
}

func (e *Error) Error() string { return string(e.Code) + ": " + e.Message }

// CloseCode is the status code of a WebSocket close frame: RFC 6455, section 7.4, and
// rookery.v1's own from 4001 on.
type CloseCode int

// The close codes that a server of rookery.v1 sends.
const (
	CloseNormal       CloseCode = 1000
	CloseDraining     CloseCode = 1001 // the node goes away
	CloseProtocol     CloseCode = 1002
	CloseUnsupported  CloseCode = 1003 // a binary frame
	CloseInvalid      CloseCode = 1007 // invalid UTF-8
	ClosePolicy       CloseCode = 1008 // no hello, or another breach of the protocol
	CloseTooBig       CloseCode = 1009
	CloseInternal     CloseCode = 1011 // the cluster did not answer
	CloseUnauthorized CloseCode = 4001
	CloseExpired      CloseCode = 4002 // the token has expired
	CloseKicked       CloseCode = 4003
	CloseLost         CloseCode = 4004 // no sign of life
	CloseSessions     CloseCode = 4005 // too many sessions of the user
)

var closeReasons = map[CloseCode]string{
	CloseNormal:       "normal",
	CloseDraining:     "draining",
	CloseProtocol:     "protocol error",
	CloseUnsupported:  "unsupported data",
	CloseInvalid:      "invalid UTF-8",
	ClosePolicy:       "policy violation",
	CloseTooBig:       "frame too large",
	CloseInternal:     "unavailable",
	CloseUnauthorized: "unauthorized",
	CloseExpired:      "token expired",
	CloseKicked:       "kicked",
	CloseLost:         "heartbeat lost",
	CloseSessions:     "too many sessions",
}

func (c CloseCode) String() string {
	if reason, ok := closeReasons[c]; ok {
		return reason
	}
	return "close code " + strconv.Itoa(int(c))
}

// Reconnect tells whether a client should connect again after this code: with a new
// token after CloseExpired, and never when the same would only happen again.
func (c CloseCode) Reconnect() bool {
	switch c {
	case CloseNormal, CloseUnsupported, CloseInvalid, ClosePolicy, CloseTooBig, CloseUnauthorized, CloseKicked, CloseSessions:
		return false
	}
	return true
}
