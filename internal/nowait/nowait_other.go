//go:build !linux

package nowait

import "golang.org/x/sys/unix"

// Read is one read(2).
func Read(fd int, p []byte) (int, error) { return again(unix.Read, fd, p) }

// Write is one write(2).
func Write(fd int, p []byte) (int, error) { return again(unix.Write, fd, p) }

// Peek is one recv(2) that leaves in place what it finds.
func Peek(fd int, p []byte) (int, error) {
	return again(func(fd int, p []byte) (int, error) {
		n, _, err := unix.Recvfrom(fd, p, unix.MSG_PEEK|unix.MSG_DONTWAIT)
		return n, err
	}, fd, p)
}

func again(call func(int, []byte) (int, error), fd int, p []byte) (int, error) {
	for {
		if n, err := call(fd, p); err != unix.EINTR {
			return max(n, 0), err
		}
	}
}

// Poll is one poll(2), and returns what it has to tell of fd.
func Poll(fd int, events int16) (int16, error) {
	p := [1]unix.PollFd{{Fd: int32(fd), Events: events}}
	for {
		if _, err := unix.Poll(p[:], 0); err != unix.EINTR {
			return p[0].Revents, err
		}
	}
}
