package nowait_test

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/rookery-chat/rookery/internal/nowait"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = 10 * time.Second

// pair returns both ends of a connection, of which ours is as it should be used.
func pair(t *testing.T) (ours net.Conn, theirs *net.TCPConn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	ours = nowait.NewConn(c)
	if _, ok := ours.(*nowait.Conn); !ok {
		t.Fatalf("a TCP connection is used as a %T", ours)
	}
	t.Cleanup(func() { ours.Close() })
	other, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { other.Close() })
	ours.SetDeadline(time.Now().Add(patience))
	other.SetDeadline(time.Now().Add(patience))
	return ours, other.(*net.TCPConn)
}

// Who writes more than the kernel takes, and who reads before there is something, waits; all of it comes, in order,
// in both directions at once.
func TestBothWays(t *testing.T) {
	t.Parallel()
	ours, theirs := pair(t)
	sent := bytes.Repeat([]byte("0123456789abcdef"), 1<<18) // 4 MiB
	errs := make(chan error, 2)
	go func() {
		_, err := ours.Write(sent)
		errs <- err
	}()
	go func() {
		_, err := io.Copy(theirs, io.LimitReader(theirs, int64(len(sent)))) // an echo
		errs <- err
	}()
	got := make([]byte, len(sent))
	if _, err := io.ReadFull(ours, got); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, sent) {
		t.Error("other bytes came back")
	}
	for range 2 {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
}

// Deadlines end what waits, and what begins later, as they do elsewhere.
func TestDeadlines(t *testing.T) {
	t.Parallel()
	ours, _ := pair(t)
	ours.SetDeadline(time.Now().Add(20 * time.Millisecond))
	for _, call := range []func([]byte) (int, error){ours.Read, ours.Write, ours.Read, ours.Write} {
		var err error
		for err == nil {
			_, err = call(make([]byte, 1<<20))
		}
		var timeout net.Error
		if !errors.Is(err, os.ErrDeadlineExceeded) || !errors.As(err, &timeout) || !timeout.Timeout() {
			t.Errorf("got %v", err)
		}
	}
}

// The end of what the peer says is io.EOF, a reset is an error, and Close lets go who waits.
func TestEnds(t *testing.T) {
	t.Parallel()
	ours, theirs := pair(t)
	theirs.CloseWrite()
	if n, err := ours.Read(make([]byte, 1)); n != 0 || err != io.EOF {
		t.Errorf("after the end: %d, %v", n, err)
	}
	ours, theirs = pair(t)
	theirs.SetLinger(0)
	theirs.Close()
	var told *net.OpError
	if _, err := ours.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) || !errors.As(err, &told) || told.Op != "read" {
		t.Errorf("after a reset: %v", err)
	}
	ours, _ = pair(t)
	read := make(chan error)
	go func() {
		_, err := ours.Read(make([]byte, 1))
		read <- err
	}()
	ours.Close()
	if err := <-read; !errors.Is(err, net.ErrClosed) {
		t.Errorf("closed while it was read: %v", err)
	}
	if _, err := ours.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
		t.Errorf("written after it was closed: %v", err)
	}
}

// Who looks at a connection before he uses it is called when there is something to be found, and only then.
func TestLook(t *testing.T) {
	t.Parallel()
	ours, theirs := pair(t)
	raw, err := ours.(syscall.Conn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	look := func() (called bool) {
		t.Helper()
		if err := raw.Read(func(uintptr) bool { called = true; return true }); err != nil {
			t.Error(err)
		}
		return called
	}
	if look() {
		t.Error("called with nothing to be read")
	}
	theirs.Write([]byte("x"))
	if await(look); !look() {
		t.Error("what was looked at is gone")
	}
	if _, err := io.ReadFull(ours, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	if look() {
		t.Error("called after all was read")
	}
	theirs.Close()
	await(look)
}

// await returns when found reports true, or the test has no more time.
func await(found func() bool) {
	for !found() {
		time.Sleep(time.Millisecond)
	}
}

// What the kernel does not carry is left as it is.
func TestNoSocket(t *testing.T) {
	t.Parallel()
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	if c := nowait.NewConn(a); c != a {
		t.Errorf("a pipe is used as a %T", c)
	}
}

// Reading and writing allocate nothing.
func TestAllocations(t *testing.T) {
	ours, theirs := pair(t)
	p, q := make([]byte, 16), make([]byte, 16)
	if n := testing.AllocsPerRun(100, func() {
		ours.Write(p)
		io.ReadFull(theirs, q)
		theirs.Write(q)
		io.ReadFull(ours, p)
	}); n > 0 {
		t.Errorf("%v allocations", n)
	}
}
