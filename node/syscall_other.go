//go:build !linux

package node

import "golang.org/x/sys/unix"

func readNow(fd int, p []byte) (int, error) { return again(unix.Read, fd, p) }

func writeNow(fd int, p []byte) (int, error) { return again(unix.Write, fd, p) }

func again(call func(int, []byte) (int, error), fd int, p []byte) (int, error) {
	for {
		if n, err := call(fd, p); err != unix.EINTR {
			return max(n, 0), err
		}
	}
}
