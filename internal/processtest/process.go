// Package processtest runs processes for tests: nodes, and the programs beside them.
package processtest

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Patience bounds every wait. It is only reached when something is wrong.
const Patience = 60 * time.Second

// Await polls until done returns true: for what no event tells.
func Await(tb testing.TB, what string, done func() bool) {
	tb.Helper()
	for deadline := time.Now().Add(Patience); !done(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			tb.Fatalf("in vain: %s", what)
		}
	}
}

// A Process runs until the test ends. When that failed, what the process said last is in the test's log.
type Process struct {
	// Fixed at construction.
	Cmd    *exec.Cmd
	Exited chan struct{} // closed when it has ended, and all that it said was read

	// End is what ends it with the test: SIGKILL, unless set.
	// Owned by the test's goroutine.
	End syscall.Signal

	said said
}

// A said is what a process says.
type said struct {
	mu   sync.Mutex
	text strings.Builder // Guarded by mu.
}

func (s *said) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(b)
}

// Start starts a command. Its output and its errors are kept together.
func Start(tb testing.TB, cmd *exec.Cmd) *Process {
	tb.Helper()
	p := &Process{Cmd: cmd, Exited: make(chan struct{}), End: syscall.SIGKILL}
	cmd.Stdout, cmd.Stderr = &p.said, &p.said
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	runtime.LockOSThread() // Pdeathsig is about the thread that started the process
	defer runtime.UnlockOSThread()
	if err := cmd.Start(); err != nil {
		tb.Fatalf("%v: scripts/install-test-deps brings it", err)
	}
	go func() {
		defer close(p.Exited)
		cmd.Wait()
	}()
	tb.Cleanup(func() {
		p.Signal(syscall.SIGCONT)
		p.Signal(p.End)
		<-p.Exited
		if said := p.Said(); tb.Failed() {
			tb.Logf("%s said:\n%s", filepath.Base(cmd.Path), said[max(0, len(said)-4000):])
		}
	})
	return p
}

// Said is all that the process has said so far.
func (p *Process) Said() string {
	p.said.mu.Lock()
	defer p.said.mu.Unlock()
	return p.said.text.String()
}

// Signal does nothing where the process has ended.
func (p *Process) Signal(s os.Signal) { p.Cmd.Process.Signal(s) }

// Kill is kill -9. It is safe to repeat.
func (p *Process) Kill() {
	p.Cmd.Process.Kill()
	<-p.Exited
}
