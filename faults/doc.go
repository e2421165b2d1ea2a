// Package faults holds the tests that run a whole cluster, as its users do: real nodes, a
// real Redis, real clients, and what breaks them. It has no code but tests.
package faults
