package api

// Patterns are those of all operations that a mux serves, but for openapi.yaml itself.
func Patterns() (all []string) {
	for _, r := range (&server{}).routes() {
		all = append(all, r.pattern)
	}
	return all
}

// Limits that the tests go to.
const (
	MaxLine  = maxLine
	MaxConns = maxConns
	MaxData  = maxData
	LineIdle = lineIdle
)
