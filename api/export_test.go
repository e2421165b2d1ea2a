package api

import "context"

// Patterns are those of all operations that a mux serves, but for openapi.yaml itself.
func Patterns() (all []string) {
	for _, r := range (&server{}).routes() {
		all = append(all, r.pattern)
	}
	return all
}

// Push serves one line without a connection. nil is ok.
func Push(ctx context.Context, b Backend, line []byte) error {
	return NewLine(b, nil).push(ctx, line)
}

// Limits that the tests go to.
const (
	MaxLine  = maxLine
	MaxConns = maxConns
	MaxData  = maxData
	LineIdle = lineIdle
)
