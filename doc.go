// Package rookery is the root of the module of Rookery, a chat and push cluster. It holds
// no code but the test of the house's structure: start at cmd/rookery to run a node, at
// client to speak to one, and at ARCHITECTURE.md to change one.
package rookery
