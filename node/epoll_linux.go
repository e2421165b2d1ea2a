package node

import (
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// newEpoll returns an epoll instance that Go's own poller can wait for, and its descriptor.
func newEpoll() (*os.File, int, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, 0, os.NewSyscallError("epoll_create1", err)
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		unix.Close(fd)
		return nil, 0, os.NewSyscallError("fcntl", err)
	}
	return os.NewFile(uintptr(fd), "epoll"), fd, nil
}

// arm makes epoll tell, once, that fd can be read or has failed, also when it can already. known
// says that it was armed before.
func arm(epoll, fd int, known bool) error {
	op := unix.EPOLL_CTL_ADD
	if known {
		op = unix.EPOLL_CTL_MOD
	}
	return unix.EpollCtl(epoll, op, fd, &unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLONESHOT, Fd: int32(fd)})
}

// toldAtOnce is how many descriptors told finds at most.
const toldAtOnce = 64

// told appends to fds the descriptors that epoll has something to tell of, up to toldAtOnce. It does not wait.
func told(epoll int, fds []int) []int {
	var events [toldAtOnce]unix.EpollEvent
	// It never waits either: see package nowait.
	n, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(epoll), uintptr(unsafe.Pointer(&events)), toldAtOnce, 0, 0, 0)
	if errno != 0 {
		return fds // it was interrupted
	}
	for _, e := range events[:n] {
		fds = append(fds, int(e.Fd))
	}
	return fds
}
