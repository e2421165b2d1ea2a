package node

import (
	"os"

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

// told appends to fds some of the descriptors that epoll has something to tell of. It does not wait.
func told(epoll int, fds []int) []int {
	var events [64]unix.EpollEvent
	n, _ := unix.EpollWait(epoll, events[:], 0) // fails only when it is interrupted
	for _, e := range events[:max(n, 0)] {
		fds = append(fds, int(e.Fd))
	}
	return fds
}
