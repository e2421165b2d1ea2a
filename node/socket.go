package node

import (
	"io"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rookery-chat/rookery/internal/nowait"
)

// sendBuffer is SO_SNDBUF of a session's connection. The kernel doubles it. With
// default buffers a slow reader hides megabytes of old messages in the kernel, and a
// ping waits behind them.
const sendBuffer = 32 << 10

// A socket is one session's connection. Writes to it never wait: what the kernel does
// not take at once stays as the socket's rest, and a helper goroutine, the only one that
// touches the connection's write side meanwhile, waits until the peer makes room.
//
// It is also the net.Conn under the WebSocket library, which reads from it and writes
// its control frames to it, one Write each.
type socket struct {
	net.Conn                 // Fixed at construction.
	raw      syscall.RawConn // Fixed at construction. Nil when the connection has none (TLS): the helper then does every write.
	early    []byte          // Read before its time: before the upgrade, to wait for it, or more at once than there is for now. Owned by the reader.
	// The end of what we write is told to the peer's TCP, not in a close frame. Fixed at construction.
	halfClose bool

	onRead func(p []byte) (int, error) // Called by the reader with what has come; tells how much of it there is for now. May wait. Set before the first read.
	lost   bool                        // reading failed: the connection, and not what came over it. Owned by the reader.

	heard atomic.Int64 // when the last byte came in, Unix milliseconds

	mu      sync.Mutex
	rest    []byte // taken but not in the kernel yet. Guarded by mu; owned by the helper while blocked.
	pong    []byte // the newest control frame waiting behind rest. Guarded by mu.
	blocked bool   // a helper runs. Guarded by mu.
	ended   bool   // a close frame was taken: nothing may follow it. Guarded by mu.
	failed  error  // Guarded by mu.
	written uint64 // bytes that the kernel took. Guarded by mu.
	helper  sync.WaitGroup
	onReady func() // Called by the helper when it has written everything. Set before the first write.
}

func newSocket(conn net.Conn, early []byte) *socket {
	k := &socket{Conn: conn, early: early, onRead: func(p []byte) (int, error) { return len(p), nil }}
	if tcp, ok := conn.(*net.TCPConn); ok {
		tcp.SetWriteBuffer(sendBuffer)
		k.raw, _ = tcp.SyscallConn()
	}
	k.heard.Store(time.Now().UnixMilli())
	return k
}

// Read implements net.Conn for the reader.
func (k *socket) Read(p []byte) (int, error) {
	if len(k.early) > 0 {
		n, err := k.paid(p[:copy(p, k.early)])
		if k.early = k.early[n:]; len(k.early) == 0 {
			k.early = nil
		}
		return n, err
	}
	came, err := k.receive(p)
	if came == 0 || err != nil {
		return came, err
	}
	n, err := k.paid(p[:came])
	if n < came {
		k.early = slices.Clone(p[n:came])
	}
	return n, err
}

// paid lets the reader have as much of p as its session has paid for.
func (k *socket) paid(p []byte) (int, error) {
	n, err := k.onRead(p)
	if err != nil {
		k.lost = true
		return 0, err
	}
	return n, nil
}

// hungUp reports whether the peer has ended the connection, behind whatever has not been read of it yet. One
// that may end its side alone never counts as such.
func (k *socket) hungUp() bool {
	tcp := kernelConn(k.Conn)
	if tcp == nil || k.halfClose {
		return false
	}
	hung := false
	if raw, err := tcp.SyscallConn(); err == nil {
		raw.Control(func(fd uintptr) { hung = ready(int(fd), peerEnded) })
	}
	return hung
}

// receive takes what the peer has sent.
func (k *socket) receive(p []byte) (n int, err error) {
	if k.raw == nil {
		if n, err = k.Conn.Read(p); n > 0 {
			k.heard.Store(time.Now().UnixMilli())
		}
	} else {
		n, err = k.readSoon(p)
	}
	k.lost = k.lost || err != nil
	return n, err
}

// readSoon reads as readNow does, once there is something to read. So the runtime's monitor sleeps on.
func (k *socket) readSoon(p []byte) (int, error) {
	a := reading.Get().(*attempt)
	defer reading.Put(a)
	for {
		if came, err := k.readNow(p, a); len(came) > 0 || err != nil {
			return len(came), err
		}
		if err := k.raw.Read(hasInput); err != nil {
			return 0, err
		}
	}
}

var reading = sync.Pool{New: func() any { return newAttempt(readOnce) }}

// Write takes one control frame from the WebSocket library. It never waits: behind a
// rest, only the newest control frame is kept.
func (k *socket) Write(p []byte) (int, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.failed != nil {
		return 0, k.failed
	}
	if k.ended {
		return len(p), nil // the peer was told already
	}
	const opcode, opClose = 0x0f, 0x08
	if p[0]&opcode == opClose {
		k.ended = true
	}
	if k.blocked {
		k.pong = append(k.pong[:0], p...)
		return len(p), nil
	}
	n, err := k.try(p, newAttempt(writeOnce))
	if err != nil {
		return n, err
	}
	if n < len(p) {
		k.wait(append([]byte(nil), p[n:]...))
	}
	return len(p), nil
}

// awaitInput waits until there is something to read, or an error to be found by reading. A
// reader that waits here, and not under the library, needs a fraction of the stack, and no buffer.
func (k *socket) awaitInput() error {
	if len(k.early) > 0 {
		return nil
	}
	if k.raw == nil {
		first := make([]byte, 1)
		n, _ := k.receive(first)
		k.early = first[:n]
		return nil
	}
	return k.raw.Read(hasInput)
}

func hasInput(fd uintptr) bool { return ready(int(fd), unix.POLLIN) }

// Close only ends the reader's interest: the session closes the connection itself,
// after the peer had a chance to read the last frames.
func (k *socket) Close() error { return nil }

// write hands whole frames to the kernel in one system call and tells how many of them are
// taken. When it is fewer than all, the socket is blocked until onReady is called. The frames
// are kept when they did not fit: they must not change later. a is the caller's. A frame that
// ends the connection sets last.
func (k *socket) write(frames [][]byte, a *attempt, last bool) (taken int, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.failed != nil {
		return 0, k.failed
	}
	if k.blocked {
		return 0, nil
	}
	if k.ended {
		return len(frames), nil // as in Write: nothing may follow, and nobody should wait for it
	}
	buf := frames[0]
	if len(frames) > 1 {
		buf = a.joined[:0]
		for _, f := range frames {
			buf = append(buf, f...)
		}
		a.joined = buf
	}
	if len(buf) == 0 {
		return len(frames), nil // a kind shows nothing of these
	}
	if k.raw == nil {
		k.wait(append([]byte(nil), buf...))
		k.ended = last // the helper looks at it when it is done
		return len(frames), nil
	}
	n, err := k.try(buf, a)
	if err != nil {
		return 0, err
	}
	for _, f := range frames {
		if n < len(f) {
			break
		}
		n -= len(f)
		taken++
	}
	if taken < len(frames) {
		// A frame that is partly out must go on; the others can still be left to the log.
		rest := frames[taken][n:]
		if n > 0 {
			taken++
		} else {
			rest = nil
		}
		k.wait(rest)
	}
	if last && taken == len(frames) {
		k.ended = true
		if !k.blocked {
			k.closeWrite()
		}
	}
	return taken, nil
}

// try writes without waiting. The caller holds mu, and no helper runs.
func (k *socket) try(p []byte, a *attempt) (int, error) {
	if k.raw == nil {
		return 0, nil
	}
	a.p = p
	err := k.raw.Write(a.do)
	if err == nil {
		err = a.err
	}
	n := a.n
	a.p = nil
	if err != nil {
		k.failed = err
		return 0, err
	}
	k.written += uint64(n)
	return n, nil
}

// readNow reads what there is into p, without waiting: nothing, perhaps. a is the caller's, who stands in
// for the reader. It is for who charges the bytes himself.
func (k *socket) readNow(p []byte, a *attempt) ([]byte, error) {
	a.p = p
	err := k.raw.Read(a.do)
	if a.p = nil; err == nil {
		err = a.err
	}
	if err != nil {
		return nil, err
	}
	if a.n > 0 {
		k.heard.Store(time.Now().UnixMilli())
	}
	return p[:a.n], nil
}

// An attempt is one non-blocking read or write at a time. Whoever does that often keeps one, because a RawConn wants a
// function, and a new closure would cost an allocation for each delivery.
type attempt struct {
	p      []byte
	n      int
	err    error
	do     func(fd uintptr) bool
	joined []byte // frames, to be written at once; reused
}

func newAttempt(once func(fd int, p []byte) (int, error)) *attempt {
	a := new(attempt)
	a.do = func(fd uintptr) bool {
		a.n, a.err = once(int(fd), a.p)
		return true
	}
	return a
}

// writeOnce is one non-blocking write(2). A full send buffer is (0, nil).
func writeOnce(fd int, p []byte) (int, error) {
	n, err := nowait.Write(fd, p)
	return n, notYet(err)
}

// readOnce is one non-blocking read(2). An empty receive buffer is (0, nil).
func readOnce(fd int, p []byte) (int, error) {
	n, err := nowait.Read(fd, p)
	if n == 0 && err == nil {
		err = io.EOF
	}
	return n, notYet(err)
}

func notYet(err error) error {
	if err == unix.EAGAIN {
		return nil
	}
	return err
}

// wait starts the helper that writes rest and then whatever control frame came in
// between. The caller holds mu.
func (k *socket) wait(rest []byte) {
	k.rest, k.blocked = rest, true
	k.helper.Go(func() {
		for {
			n, err := k.finish()
			k.mu.Lock()
			k.written += uint64(n)
			if err != nil {
				k.failed = err
			}
			if k.rest = nil; err == nil && len(k.pong) > 0 {
				k.rest, k.pong = k.pong, nil
				k.mu.Unlock()
				continue
			}
			k.blocked = false
			ended := k.ended
			k.mu.Unlock()
			if ended {
				k.closeWrite()
			}
			k.onReady()
			return
		}
	})
}

// finish writes rest, waiting for the peer as long as that takes. With no rest it only
// waits for room.
func (k *socket) finish() (n int, err error) {
	if k.raw == nil {
		return k.Conn.Write(k.rest)
	}
	e := k.raw.Write(func(fd uintptr) bool {
		// The poller tells changes only, and forgot those before this call: so the state has to
		// be looked at here before waiting.
		if len(k.rest) == 0 {
			return ready(int(fd), unix.POLLOUT)
		}
		for n < len(k.rest) {
			var m int
			m, err = writeOnce(int(fd), k.rest[n:])
			if n += m; err != nil {
				return true
			}
			if m == 0 {
				return false
			}
		}
		return true
	})
	if err == nil {
		err = e
	}
	return n, err
}

// ready reports whether fd can be read or written without waiting, or has failed.
func ready(fd int, events int16) bool {
	told, err := nowait.Poll(fd, events)
	return told != 0 || err != nil
}

// isBlocked reports whether a helper runs.
func (k *socket) isBlocked() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.blocked
}

// acknowledged returns how many bytes the peer's TCP has confirmed so far: under TLS, which sends more
// than it was given, at least so many. It grows only when more are confirmed.
func (k *socket) acknowledged() uint64 {
	k.mu.Lock()
	written := k.written
	k.mu.Unlock()
	return written - min(written, uint64(unconfirmed(k.Conn)))
}

// abort ends the connection at once, without a last word of TLS, which could wait. A helper that waits
// ends too.
func (k *socket) abort() {
	if tcp := kernelConn(k.Conn); tcp != nil {
		tcp.Close()
		return
	}
	k.Conn.Close()
}

// closeWrite tells the peer's TCP that nothing more comes, where that is not told otherwise.
func (k *socket) closeWrite() {
	if c, ok := k.Conn.(interface{ CloseWrite() error }); ok && k.halfClose {
		c.CloseWrite()
	}
}

// linger closes the connection after the peer had a moment to read the last frames:
// closing with unread input makes the kernel send a reset, which would overtake them.
func (k *socket) linger() {
	if c, ok := k.Conn.(interface{ CloseWrite() error }); ok && !k.isBlocked() {
		c.CloseWrite()
		k.Conn.SetReadDeadline(time.Now().Add(lingerTime))
		io.CopyN(io.Discard, k.Conn, lingerBytes)
	}
	k.Conn.Close()
	k.helper.Wait()
}

const (
	lingerTime  = time.Second
	lingerBytes = 256 << 10
)
