// Package api is how other programs talk to a cluster: the server API over HTTP ([NewHTTP]),
// which openapi.yaml describes, and the push port, one JSON object a line over TCP ([Line]).
// Both speak to a [Backend], and keep nothing of their own about topics and users.
//
// A new operation of the server API is a route in http.go, a handler in the file of its
// subject (publish.go, topics.go, users.go, timers.go), and a path in openapi.yaml.
//
// Goroutines: HTTP handlers run on net/http's. A batch publishes from a few goroutines of its own
// and waits for them. A Line has one goroutine a connection, which Serve waits for.
package api
