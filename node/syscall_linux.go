package node

import (
	"syscall"
	"unsafe"
)

// These calls never wait, and so the runtime need not be told of them: that would wake its monitor, a thread,
// each time that an idle process has something to do, and cost more than the call.

func readNow(fd int, p []byte) (int, error) { return transfer(syscall.SYS_READ, fd, p) }

func writeNow(fd int, p []byte) (int, error) { return transfer(syscall.SYS_WRITE, fd, p) }

func transfer(trap uintptr, fd int, p []byte) (int, error) {
	for {
		n, _, errno := syscall.RawSyscall(trap, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)))
		switch errno {
		case 0:
			return int(n), nil
		case syscall.EINTR:
		default:
			return 0, errno
		}
	}
}
