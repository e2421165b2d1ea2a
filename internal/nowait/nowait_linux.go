package nowait

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Read is one read(2).
func Read(fd int, p []byte) (int, error) { return transfer(syscall.SYS_READ, fd, p, 0) }

// Write is one write(2).
func Write(fd int, p []byte) (int, error) { return transfer(syscall.SYS_WRITE, fd, p, 0) }

// Peek is one recv(2) that leaves in place what it finds.
func Peek(fd int, p []byte) (int, error) {
	return transfer(syscall.SYS_RECVFROM, fd, p, unix.MSG_PEEK|unix.MSG_DONTWAIT)
}

func transfer(trap uintptr, fd int, p []byte, flags uintptr) (int, error) {
	for {
		n, _, errno := syscall.RawSyscall6(trap, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)), flags, 0, 0)
		switch errno {
		case 0:
			return int(n), nil
		case syscall.EINTR:
		default:
			return 0, errno
		}
	}
}

// Poll is one poll(2), and returns what it has to tell of fd.
func Poll(fd int, events int16) (int16, error) {
	p := unix.PollFd{Fd: int32(fd), Events: events}
	var at unix.Timespec // not later than now
	for {
		_, _, errno := syscall.RawSyscall6(unix.SYS_PPOLL, uintptr(unsafe.Pointer(&p)), 1, uintptr(unsafe.Pointer(&at)), 0, 0, 0)
		switch errno {
		case 0:
			return p.Revents, nil
		case syscall.EINTR:
		default:
			return 0, errno
		}
	}
}
