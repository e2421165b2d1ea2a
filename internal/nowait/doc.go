// Package nowait makes system calls that never wait without telling the runtime of them. It
// would wake its monitor, a thread, each time that an idle process makes one, and that costs more than the call:
// the monitor then looks around each 20 µs, until all sleep again.
//
// The descriptors are those of sockets that Go's own poller watches. A call that finds nothing to do
// says EAGAIN.
package nowait
