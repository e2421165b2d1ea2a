package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/rookery-chat/rookery/wire"
)

// A problem is why a request was not served: RFC 9457, with a code and a retry as in
// the protocol's error frames.
type problem struct {
	Type   string    `json:"type"`
	Title  string    `json:"title"`
	Status int       `json:"status"`
	Detail string    `json:"detail"`
	Code   wire.Code `json:"code"`
	Retry  bool      `json:"retry"`
}

func (p *problem) Error() string { return string(p.Code) + ": " + p.Detail }

// statuses of the codes of error frames.
var statuses = map[wire.Code]int{
	wire.BadRequest:   http.StatusBadRequest,
	wire.Unauthorized: http.StatusUnauthorized,
	wire.Forbidden:    http.StatusForbidden,
	wire.NotFound:     http.StatusNotFound,
	wire.TooLarge:     http.StatusRequestEntityTooLarge,
	wire.RateLimited:  http.StatusTooManyRequests,
	wire.Unavailable:  http.StatusServiceUnavailable,
	wire.Internal:     http.StatusInternalServerError,
}

// refuse returns the problem of a status: its code is that of the status, bad_request for those that have none.
func refuse(status int, format string, args ...any) *problem {
	code := wire.BadRequest
	for c, s := range statuses {
		if s == status {
			code = c
		}
	}
	return &problem{
		Type: "about:blank", Title: http.StatusText(status), Status: status,
		Detail: fmt.Sprintf(format, args...), Code: code, Retry: code == wire.Unavailable || code == wire.RateLimited,
	}
}

// bad refuses what the caller has to change.
func bad(format string, args ...any) *problem { return refuse(http.StatusBadRequest, format, args...) }

// problemOf tells err to a caller. It is not known where the caller hears nothing of the cause.
func problemOf(err error) (p *problem, known bool) {
	if p, ok := errors.AsType[*problem](err); ok {
		return p, true
	}
	if tooBig, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return refuse(http.StatusRequestEntityTooLarge, "the body is larger than %d bytes", tooBig.Limit), true
	}
	if e, ok := errors.AsType[*wire.Error](err); ok && statuses[e.Code] != 0 {
		p := refuse(statuses[e.Code], "%s", e.Message)
		p.Retry = p.Retry || e.Retry
		return p, true
	}
	switch {
	case errors.Is(err, ErrNotFound):
		return refuse(http.StatusNotFound, "there is none of that name"), true
	case errors.Is(err, ErrUnavailable), errors.Is(err, context.DeadlineExceeded):
		return refuse(http.StatusServiceUnavailable,
			"the cluster did not answer, and what was asked may have been done or not: ask again, a publish under the same key"), true
	}
	return refuse(http.StatusInternalServerError, "something went wrong inside: the node's log says what"), false
}

func (p *problem) write(w http.ResponseWriter) {
	h := w.Header()
	h.Set("Content-Type", "application/problem+json")
	switch p.Status {
	case http.StatusUnauthorized:
		h.Set("WWW-Authenticate", `Bearer realm="rookery"`)
	case http.StatusServiceUnavailable, http.StatusTooManyRequests:
		h.Set("Retry-After", "1")
	}
	body, err := json.Marshal(p)
	if err != nil {
		panic(err) // strings, a number and a bool
	}
	w.WriteHeader(p.Status)
	w.Write(body)
}
