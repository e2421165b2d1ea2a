// Package exampletest runs examples as their READMEs say, for their tests.
package exampletest

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// patience bounds every wait. It is only reached when something is wrong.
const patience = 90 * time.Second

// A Program is one run of an example, and the node that it brought.
type Program struct {
	// Fixed at construction.
	tb     testing.TB
	cmd    *exec.Cmd
	in     io.WriteCloser
	pid    int           // of the shell, and of the process group of all that it starts
	exited chan struct{} // closed when the shell has ended and its output was read

	ended bool // nothing is left of it. Owned by the test's goroutine.

	mu      sync.Mutex
	lines   []string      // what it printed. Guarded by mu.
	changed chan struct{} // Guarded by mu. Closed and replaced at each line.
}

// Command returns the README's command, which begins with examples/run.
func Command(tb testing.TB) []string {
	tb.Helper()
	return strings.Fields(Line(tb, "examples/run "))
}

// Line returns the README's first line that begins with start: something to type.
func Line(tb testing.TB, start string) string {
	tb.Helper()
	readme, err := os.ReadFile("README.md")
	if err != nil {
		tb.Fatal(err)
	}
	for line := range strings.Lines(string(readme)) {
		if strings.HasPrefix(line, start) {
			return strings.TrimSpace(line)
		}
	}
	tb.Fatalf("the README has no line that begins with %q", start)
	return ""
}

// Run runs a README's command in the project's root until the test ends. env is added to
// the environment.
func Run(tb testing.TB, command []string, env ...string) *Program {
	tb.Helper()
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Dir = "../.."
	cmd.Env = append(os.Environ(), "TMPDIR="+tb.TempDir())
	cmd.Env = append(cmd.Env, env...)
	// What one Ctrl-C ends is one process group; and the shell is told when the test dies.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	in, err := cmd.StdinPipe()
	if err != nil {
		tb.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		tb.Fatal(err)
	}
	cmd.Stderr = cmd.Stdout
	if err := cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	p := &Program{tb: tb, in: in, cmd: cmd, pid: cmd.Process.Pid, exited: make(chan struct{}), changed: make(chan struct{})}
	go func() {
		defer close(p.exited)
		p.read(out)
		cmd.Wait()
	}()
	tb.Cleanup(func() {
		p.end(syscall.SIGTERM)
		if tb.Failed() {
			tb.Logf("%s printed:\n%s", strings.Join(command, " "), strings.Join(p.Lines(), "\n"))
		}
	})
	return p
}

func (p *Program) read(out io.Reader) {
	for scan := bufio.NewScanner(out); scan.Scan(); {
		p.mu.Lock()
		p.lines = append(p.lines, scan.Text())
		close(p.changed)
		p.changed = make(chan struct{})
		p.mu.Unlock()
	}
}

// Type types one line.
func (p *Program) Type(line string) {
	p.tb.Helper()
	if _, err := fmt.Fprintln(p.in, line); err != nil {
		p.tb.Fatal(err)
	}
}

// EndInput is Ctrl-D: there is nothing more to read.
func (p *Program) EndInput() { p.in.Close() }

// Lines returns what the program has printed so far.
func (p *Program) Lines() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.lines)
}

// Await waits until the program printed a line in which part is, after the first skip lines,
// and returns how many lines to skip to look behind it.
func (p *Program) Await(skip int, part string) int {
	p.tb.Helper()
	deadline := time.After(patience)
	for over := false; ; {
		p.mu.Lock()
		lines, changed := p.lines, p.changed
		p.mu.Unlock()
		for i := skip; i < len(lines); i++ {
			if strings.Contains(lines[i], part) {
				return i + 1
			}
		}
		if over {
			p.tb.Fatalf("the program ended before it printed %q; it printed:\n%s", part, strings.Join(lines, "\n"))
		}
		select {
		case <-changed:
		case <-p.exited:
			over = true // after a last look
		case <-deadline:
			p.tb.Fatalf("the program did not print %q; it printed:\n%s", part, strings.Join(lines, "\n"))
		}
	}
}

// Wait waits until the program has ended by itself, and returns its exit code.
func (p *Program) Wait() int {
	p.tb.Helper()
	select {
	case <-p.exited:
		return p.cmd.ProcessState.ExitCode()
	case <-time.After(patience):
		p.tb.Fatalf("it does not end; it printed:\n%s", strings.Join(p.Lines(), "\n"))
		return 0
	}
}

// Interrupt is Ctrl-C: all that the command started ends.
func (p *Program) Interrupt() {
	p.tb.Helper()
	p.end(syscall.SIGINT)
}

// Kill is kill -9 of all that the command started: its machine loses power.
func (p *Program) Kill() {
	p.tb.Helper()
	p.end(syscall.SIGKILL)
}

// end signals all that the command started, and fails the test when something is left of it.
// It is safe to repeat.
func (p *Program) end(s syscall.Signal) {
	p.tb.Helper()
	if p.ended {
		return // and the number may be another group's by now
	}
	syscall.Kill(-p.pid, s)
	select {
	case <-p.exited:
	case <-time.After(patience):
		syscall.Kill(-p.pid, syscall.SIGKILL)
		<-p.exited
		p.tb.Errorf("%v did not end it; it printed:\n%s", s, strings.Join(p.Lines(), "\n"))
	}
	for deadline := time.Now().Add(patience); !errors.Is(syscall.Kill(-p.pid, 0), syscall.ESRCH); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			p.tb.Fatalf("%v left processes of group %d behind", s, p.pid)
		}
	}
	p.ended = true
}
