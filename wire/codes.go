package wire

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
