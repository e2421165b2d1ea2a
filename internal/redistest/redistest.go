// Package redistest runs real redis-server processes for tests.
package redistest

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// A Server is one redis-server process on a free loopback port.
type Server struct {
	Addr string // host:port; the same over restarts
	Dir  string // its working directory; the data survives Kill and Restart with --appendonly yes

	tb    testing.TB
	place Place
	args  func(port string) []string // the command line
	cmd   *exec.Cmd
	up    *atomic.Bool  // cmd has begun to serve, and nobody has killed it
	done  chan struct{} // closed when cmd has been waited for
}

// Start runs a redis-server with the given extra arguments (as on its command
// line) until the test ends. It fails the test when redis-server is missing.
func Start(tb testing.TB, args ...string) *Server {
	tb.Helper()
	return StartIn(tb, Place{}, args...)
}

// A Place is where a server runs: the zero value is this machine's loopback.
type Place struct {
	Host    string   // the address that it listens on, where every port is free
	Through []string // the command that becomes redis-server, and is given its command line; none in most places
}

// StartIn is Start in another place. Through runs in the server's
// folder, and must become the server (exec), so that it ends with the test.
func StartIn(tb testing.TB, place Place, args ...string) *Server {
	tb.Helper()
	s := &Server{tb: tb, Dir: tb.TempDir(), place: place}
	s.args = func(port string) []string {
		return append([]string{"--bind", cmp.Or(place.Host, loopback), "--port", port, "--dir", s.Dir, "--save", "", "--appendonly", "no"}, args...)
	}
	s.startAnywhere()
	return s
}

// StartBusy runs a server, no Redis, that answers as Redis does while a script runs too long.
// It returns its URL.
func StartBusy(tb testing.TB) string {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	var serving sync.WaitGroup
	tb.Cleanup(func() { l.Close(); serving.Wait() })
	serving.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			serving.Go(func() {
				defer c.Close()
				for r := bufio.NewReader(c); ; {
					command, err := readCommand(r)
					if err != nil {
						return
					}
					answer := "-BUSY Redis is busy running a script.\r\n"
					if strings.EqualFold(command, "hello") { // is answered even then
						answer = "-ERR unknown command\r\n"
					}
					io.WriteString(c, answer)
				}
			})
		}
	})
	return "redis://" + l.Addr().String()
}

// readCommand reads one command and returns its name.
func readCommand(r *bufio.Reader) (name string, err error) {
	var words, length int
	if _, err := fmt.Fscanf(r, "*%d\r\n", &words); err != nil {
		return "", err
	}
	for i := range words {
		if _, err := fmt.Fscanf(r, "$%d\r\n", &length); err != nil {
			return "", err
		}
		word := make([]byte, length+len("\r\n"))
		if _, err := io.ReadFull(r, word); err != nil {
			return "", err
		}
		if i == 0 {
			name = string(word[:length])
		}
	}
	return name, nil
}

// startAnywhere starts the server on a free port.
func (s *Server) startAnywhere() {
	s.tb.Helper()
	s.tb.Cleanup(s.Kill)
	var err error
	for range 20 { // another process may take the port first
		if s.Addr, err = freeAddr(s.place.Host); err == nil {
			if err = s.start(); err == nil {
				return
			}
		}
	}
	s.tb.Fatal(err)
}

const loopback = "127.0.0.1"

// ports are 10,000, one after the other from anywhere among them on: who is down finds its own free when it
// comes back, whoever was started meanwhile.
var ports atomic.Uint32

func init() { ports.Store(rand.N[uint32](10_000)) }

// freeAddr returns an address that nobody listens on. Its port is below those that
// the kernel gives to outgoing connections, which could take it while the server is down, and so is
// the port 10000 above it, which a server in cluster mode takes too.
func freeAddr(host string) (string, error) {
	addr := fmt.Sprintf("%s:%d", cmp.Or(host, loopback), 10_000+ports.Add(1)%10_000)
	if host != "" {
		return addr, nil
	}
	l, err := net.Listen("tcp", addr)
	if err == nil {
		l.Close()
	}
	return addr, err
}

// URL is the server's redis:// URL.
func (s *Server) URL() string { return "redis://" + s.Addr }

// Pid is the process id of the running server.
func (s *Server) Pid() int { return s.cmd.Process.Pid }

// Restart starts the server on the same port after Kill, and waits until it accepts.
func (s *Server) Restart() {
	s.tb.Helper()
	if err := s.start(); err != nil {
		s.tb.Fatal(err)
	}
}

func (s *Server) start() error {
	_, port, _ := net.SplitHostPort(s.Addr)
	line := slices.Concat(s.place.Through, []string{"redis-server"}, s.args(port))
	cmd := exec.Command(line[0], line[1:]...)
	cmd.Dir = s.Dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start redis-server (is the package redis-server installed?): %w", err)
	}
	done, up := make(chan struct{}), new(atomic.Bool)
	go func() {
		defer close(done)
		cmd.Wait()
		if up.Load() {
			s.tb.Errorf("redis-server on %s ended by itself: %v", s.Addr, cmd.ProcessState)
		}
	}()
	s.cmd, s.up, s.done = cmd, up, done
	deadline := time.Now().Add(patience)
	for !s.serves() {
		select {
		case <-done:
			return fmt.Errorf("redis-server on %s ended at once: %v", s.Addr, cmd.ProcessState)
		case <-time.After(10 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("redis-server on %s does not answer", s.Addr)
		}
	}
	up.Store(true)
	return nil
}

// serves tells whether it is this process that answers on the port.
func (s *Server) serves() bool {
	c, err := net.DialTimeout("tcp", s.Addr, time.Second)
	if err != nil {
		return false
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(time.Second))
	fmt.Fprint(c, "INFO server\r\nQUIT\r\n")
	answer, _ := io.ReadAll(c)
	return strings.Contains(string(answer), fmt.Sprintf("process_id:%d\r\n", s.Pid()))
}

// Kill ends the server as kill -9 does. It is safe to repeat.
func (s *Server) Kill() {
	if s.cmd == nil {
		return
	}
	s.up.Store(false)
	s.cmd.Process.Kill()
	<-s.done
}

// Pause and Continue are SIGSTOP and SIGCONT.
func (s *Server) Pause()    { s.cmd.Process.Signal(syscall.SIGSTOP) }
func (s *Server) Continue() { s.cmd.Process.Signal(syscall.SIGCONT) }
