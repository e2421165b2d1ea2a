package bench

import (
	"container/heap"
	"context"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// bufferSize is how much is read at once.
const bufferSize = 1 << 20

// A loop waits for its sockets and timers, and calls those whose turn it is, on the one goroutine
// that runs it.
type loop struct {
	epoll, timer, wake int        // descriptors. Fixed at construction.
	sockets            []*session // by descriptor
	timers             timers
	armed              time.Time // when the timer goes off
	events             []unix.EpollEvent
	buffer             []byte // what was read
	afterwards         func() // called when all that was ready has been served; may be nil
}

// newLoop returns a loop that close must end.
func newLoop() (*loop, error) {
	l := &loop{epoll: -1, timer: -1, wake: -1, events: make([]unix.EpollEvent, 1024), buffer: make([]byte, bufferSize)}
	var err error
	if l.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	if l.timer, err = unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_CLOEXEC|unix.TFD_NONBLOCK); err != nil {
		l.close()
		return nil, os.NewSyscallError("timerfd_create", err)
	}
	if l.wake, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		l.close()
		return nil, os.NewSyscallError("eventfd", err)
	}
	for _, fd := range []int{l.timer, l.wake} {
		if err := l.watch(unix.EPOLL_CTL_ADD, fd, unix.EPOLLIN); err != nil {
			l.close()
			return nil, err
		}
	}
	return l, nil
}

func (l *loop) close() {
	for _, fd := range []int{l.epoll, l.timer, l.wake} {
		if fd >= 0 {
			unix.Close(fd)
		}
	}
}

func (l *loop) watch(op, fd int, events uint32) error {
	return os.NewSyscallError("epoll_ctl", unix.EpollCtl(l.epoll, op, fd, &unix.EpollEvent{Events: events, Fd: int32(fd)}))
}

// add gives the loop a session's socket, from now on owned by the loop.
func (l *loop) add(s *session, fd int, events uint32) error {
	if err := l.watch(unix.EPOLL_CTL_ADD, fd, events); err != nil {
		return err
	}
	for len(l.sockets) <= fd {
		l.sockets = append(l.sockets, nil)
	}
	l.sockets[fd] = s
	return nil
}

// remove closes a session's socket.
func (l *loop) remove(fd int) {
	l.sockets[fd] = nil
	unix.Close(fd)
}

// after calls do in d.
func (l *loop) after(d time.Duration, do func()) { l.at(time.Now().Add(d), do) }

func (l *loop) at(t time.Time, do func()) { heap.Push(&l.timers, timer{t, do}) }

// every calls do now and then each d, until stop is called.
func (l *loop) every(d time.Duration, do func()) (stop func()) {
	stopped := false
	var tick func()
	tick = func() {
		if !stopped {
			do()
			l.after(d, tick)
		}
	}
	tick()
	return func() { stopped = true }
}

// run serves until done, or until ctx is: then it returns its cause.
func (l *loop) run(ctx context.Context, done func() bool) error {
	stop := context.AfterFunc(ctx, func() { unix.Write(l.wake, []byte{1, 0, 0, 0, 0, 0, 0, 0}) })
	defer stop()
	for !done() {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err := l.arm(); err != nil {
			return err
		}
		n, err := unix.EpollWait(l.epoll, l.events, -1)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return os.NewSyscallError("epoll_wait", err)
		}
		for _, ev := range l.events[:n] {
			switch fd := int(ev.Fd); fd {
			case l.timer, l.wake:
				unix.Read(fd, l.buffer[:8]) // it tells how often
				if fd == l.timer {
					l.armed = time.Time{}
				}
			default:
				if s := l.sockets[fd]; s != nil {
					s.ready(ev.Events)
				}
			}
		}
		for now := time.Now(); len(l.timers) > 0 && !l.timers[0].at.After(now); {
			heap.Pop(&l.timers).(timer).do()
		}
		if l.afterwards != nil {
			l.afterwards()
		}
	}
	return nil
}

// arm sets the timer to the first of the timers. A descriptor has its precision, which the
// milliseconds of epoll_wait have not.
func (l *loop) arm() error {
	if len(l.timers) == 0 || l.timers[0].at.Equal(l.armed) {
		return nil
	}
	l.armed = l.timers[0].at
	left := unix.NsecToTimespec(max(time.Until(l.armed), 1).Nanoseconds())
	if err := unix.TimerfdSettime(l.timer, 0, &unix.ItimerSpec{Value: left}, nil); err != nil {
		return fmt.Errorf("timerfd_settime: %w", err)
	}
	return nil
}

type timer struct {
	at time.Time
	do func()
}

// timers is a heap: the first is due first.
type timers []timer

func (t timers) Len() int           { return len(t) }
func (t timers) Less(i, j int) bool { return t[i].at.Before(t[j].at) }
func (t timers) Swap(i, j int)      { t[i], t[j] = t[j], t[i] }
func (t *timers) Push(x any)        { *t = append(*t, x.(timer)) }
func (t *timers) Pop() any {
	last := len(*t) - 1
	x := (*t)[last]
	(*t)[last] = timer{}
	*t = (*t)[:last]
	return x
}
