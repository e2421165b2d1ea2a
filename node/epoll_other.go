//go:build !linux

package node

import (
	"errors"
	"os"
)

// Elsewhere there is no epoll, and every session waits on a goroutine of its own.

func newEpoll() (*os.File, int, error) { return nil, 0, errors.ErrUnsupported }

const toldAtOnce = 1

func arm(epoll, fd int, known bool) error { return errors.ErrUnsupported }

func told(epoll int, fds []int) []int { return fds }
