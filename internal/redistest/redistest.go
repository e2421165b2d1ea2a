// Package redistest runs real redis-server processes for tests.
package redistest

import (
	"fmt"
	"net"
	"os/exec"
	"syscall"
	"testing"
	"time"
)

// A Server is one redis-server process on a free loopback port.
type Server struct {
	Addr string // host:port; the same over restarts
	Dir  string // its working directory; the data survives Kill and Start when Persist was asked for

	tb   testing.TB
	args []string
	cmd  *exec.Cmd
	done chan struct{} // closed when cmd has been waited for
}

// Start runs a redis-server with the given extra arguments (as on its command
// line) until the test ends. It fails the test when redis-server is missing.
func Start(tb testing.TB, args ...string) *Server {
	tb.Helper()
	s := &Server{tb: tb, Dir: tb.TempDir(), args: args}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	s.Addr = l.Addr().String()
	l.Close()
	s.Restart()
	tb.Cleanup(s.Kill)
	return s
}

// URL is the server's redis:// URL.
func (s *Server) URL() string { return "redis://" + s.Addr }

// Pid is the process id of the running server.
func (s *Server) Pid() int { return s.cmd.Process.Pid }

// Restart starts the server on the same port after Kill, and waits until it accepts.
func (s *Server) Restart() {
	s.tb.Helper()
	_, port, _ := net.SplitHostPort(s.Addr)
	args := append([]string{"--bind", "127.0.0.1", "--port", port, "--dir", s.Dir, "--save", "", "--appendonly", "no"}, s.args...)
	cmd := exec.Command("redis-server", args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		s.tb.Fatalf("start redis-server (is the package redis-server installed?): %v", err)
	}
	done := make(chan struct{})
	go func() { cmd.Wait(); close(done) }()
	s.cmd, s.done = cmd, done
	deadline := time.Now().Add(15 * time.Second)
	for !s.serves() {
		select {
		case <-done:
			s.tb.Fatalf("redis-server on %s ended at once: %v", s.Addr, cmd.ProcessState)
		case <-time.After(10 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			s.tb.Fatalf("redis-server on %s does not answer", s.Addr)
		}
	}
}

func (s *Server) serves() bool {
	c, err := net.DialTimeout("tcp", s.Addr, time.Second)
	if err != nil {
		return false
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(time.Second))
	fmt.Fprint(c, "PING\r\n")
	b := make([]byte, 7)
	n, _ := c.Read(b)
	return string(b[:n]) == "+PONG\r\n"
}

// Kill ends the server as kill -9 does. It is safe to repeat.
func (s *Server) Kill() {
	s.cmd.Process.Kill()
	<-s.done
}

// Pause and Continue are SIGSTOP and SIGCONT.
func (s *Server) Pause()    { s.cmd.Process.Signal(syscall.SIGSTOP) }
func (s *Server) Continue() { s.cmd.Process.Signal(syscall.SIGCONT) }
