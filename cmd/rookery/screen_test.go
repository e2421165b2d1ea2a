package main_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"
	"github.com/hinshun/vt10x"
	"golang.org/x/sys/unix"

	"github.com/rookery-chat/rookery/bus"
	"github.com/rookery-chat/rookery/client"
	"github.com/rookery-chat/rookery/internal/processtest"
	"github.com/rookery-chat/rookery/internal/redistest"
)

// People at terminals: what they see is what an emulator of a terminal shows after all that
// the program wrote to it.
func TestScreen(t *testing.T) {
	t.Parallel()
	binary := processtest.Rookery(t)
	for name, test := range map[string]func(t *testing.T, binary string){
		"two people":  testScreenTwoPeople,
		"history":     testScreenHistory,
		"injection":   testScreenInjection,
		"node killed": testScreenNodeKilled,
		"missed":      testScreenMissed,
		"the end":     testScreenEnd,
		"colours":     testScreenColours,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, binary)
		})
	}
}

func testScreenTwoPeople(t *testing.T, binary string) {
	addr := startNode(t, nil)
	alice := sit(t, binary, addr, nil, "chat", "--as", "alice")
	alice.see("alice on node ", "lobby · 1 online")
	bob := sit(t, binary, addr, nil, "chat", "--as", "bob")
	bob.see("bob on node ", "lobby · 2 online")
	alice.see("* bob joined", "lobby · 2 online", "│alice", "│bob")

	alice.types("hi bobx\x7f\r") // a letter too many is taken back
	bob.see(" alice: hi bob ")
	alice.see(" alice: hi bob ")
	bob.types("/join dev\r")
	bob.see("> dev", "dev · 1 online")
	alice.types("one\rtwo\r")
	bob.see("  lobby (2)") // unread
	bob.types("\t")
	bob.see("> lobby ", " alice: one ", " alice: two ")
	bob.gone("(2)")

	bob.types("/msg alice psst, you\r")
	bob.see("> @alice", " bob: psst, you")
	alice.see("  @bob (1)")
	alice.types("/msg bob\r")
	alice.see("> @bob ", " bob: psst, you")
	alice.gone("(1)")
	alice.types("what?\r")
	bob.see(" alice: what?")
	bob.types("/msg carol are you there?\r")
	bob.see("* carol is not online and will find it later")

	alice.resize(40, 12) // too narrow for columns: the message stays
	alice.see(" bob: psst, you", "alice on node ")
	alice.gone("│")
	alice.resize(90, 20)
	alice.see("> @bob ", "  lobby ", "│")

	bob.types("/leave\r/help\r") // closes the talk with carol; help stands in the next
	bob.see("/join ROOM", "older and newer messages")
	bob.gone("@carol")
	bob.types("\x1b[A\x1b[A") // the line before the last
	bob.see("> /leave")
}

func testScreenHistory(t *testing.T, binary string) {
	addr := startNode(t, nil)
	bob, ctx := startClient(t, addr, "bob")
	if _, err := bob.Join(ctx, "lobby", nil); err != nil {
		t.Fatal(err)
	}
	for i := range 200 {
		if _, err := bob.Publish(ctx, "lobby", fmt.Sprintf("line %d.", i), nil); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := bob.Publish(ctx, "@alice", "while you were away", nil); err != nil {
		t.Fatal(err)
	}
	alice := sit(t, binary, addr, []string{"ROOKERY_RECENT=5"}, "chat", "--as", "alice")
	alice.see("bob: line 195.", "bob: line 199.", "@bob (1)", "page up for older messages")
	alice.gone("line 194.")
	for page := 0; !strings.Contains(alice.String(), "nothing is before this"); page++ {
		if page == 50 {
			t.Fatalf("page up does not end:\n%s", alice)
		}
		before := alice.String()
		alice.types("\x1b[5~")
		alice.await("another page", func(screen string) bool {
			return screen != before && !strings.Contains(screen, "loading")
		})
	}
	alice.see("bob: line 0.", "bob: line 1.")
	if _, err := bob.Publish(ctx, "lobby", "news", nil); err != nil {
		t.Fatal(err)
	}
	alice.see("1 new below", "bob: line 0.") // what is read stays where it is
	for page := 0; page < 50; page++ {
		alice.types("\x1b[6~")
	}
	alice.see("bob: news")
	alice.types("\t")
	alice.see("> @bob", "bob: while you were away")
	alice.types("\x03")
	alice.ends(0)
	again := sit(t, binary, addr, nil, "chat", "--as", "alice")
	again.see("bob: news", "  @bob ") // read, and remembered
	again.gone("(1)")
}

// What others send cannot do anything to the terminal.
func testScreenInjection(t *testing.T, binary string) {
	addr := startNode(t, nil)
	victim := sit(t, binary, addr, nil, "chat", "--as", "victim")
	victim.see("lobby · 1 online")
	mallory, ctx := startClient(t, addr, "mallory\u202e")
	if _, err := mallory.Join(ctx, "lobby", nil); err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"\x1b]0;owned\x07", "\x1b[2J\x1b[31mred", "a\r12:00 admin: hello", "\u009b2J", "\u202egnp.exe", "a\nb"} {
		if _, err := mallory.Publish(ctx, "lobby", map[string]string{"text": text}, nil); err != nil {
			t.Fatal(err)
		}
		if _, err := mallory.Publish(ctx, "@victim", text, nil); err != nil {
			t.Fatal(err)
		}
	}
	victim.see(`mallory\u202e: \x1b]0;owned\a`, `\x1b[2J\x1b[31mred`, `a\r12:00 admin: hello`, `\u009b2J`, `\u202egnp.exe`, `a ↵ b`, `@mallory\u2… (6)`)
	raw := victim.raw.String()
	for _, evil := range []string{"\x1b]0;owned", "\x1b[31mred", "\u009b", "\u202e"} {
		if strings.Contains(raw, evil) {
			t.Errorf("%q reached the terminal", evil)
		}
	}
}

// The node that serves alice is killed, comes back, and she has missed nothing.
func testScreenNodeKilled(t *testing.T, binary string) {
	redis := redistest.Start(t)
	first := processtest.FreeAddr(t)
	start := func() *processtest.Node { return processtest.Serve(t, "--redis", redis.URL(), "--listen", first) }
	dying := start()
	other := processtest.Serve(t, "--redis", redis.URL()).Addr
	bob, ctx := startClient(t, other, "bob")
	if _, err := bob.Join(ctx, "lobby", nil); err != nil {
		t.Fatal(err)
	}
	alice := sit(t, binary, first, nil, "chat", "--as", "alice")
	alice.see("lobby · 2 online")
	say := func(text string) {
		if _, err := bob.Publish(ctx, "lobby", text, &client.PublishOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	say("before")
	alice.see("bob: before")
	node := regexp.MustCompile(`on node \w+`)
	served := node.FindString(alice.String())
	dying.Kill()
	alice.see("connection lost: ", "trying again in ")
	say("meanwhile 1")
	say("meanwhile 2")
	alice.types("typed while away\r")
	alice.see("... alice: typed while away") // not sent yet
	start()
	alice.see("alice on node ", "nothing was missed", "bob: meanwhile 1", "bob: meanwhile 2", " alice: typed while away")
	alice.gone("... alice")
	if now := node.FindString(alice.String()); now == "" || now == served {
		t.Errorf("before it was %q that served alice, now it is %q", served, now)
	}
	if got := strings.Join(texts(t, other), "; "); got != "bob: before; bob: meanwhile 1; bob: meanwhile 2; alice: typed while away" {
		t.Errorf("the log holds %s", got)
	}
	for _, text := range []string{"bob: before", "bob: meanwhile 1", "bob: meanwhile 2", "alice: typed while away"} {
		if n := strings.Count(alice.String(), text); n != 1 {
			t.Errorf("alice sees %q %d times:\n%s", text, n, alice)
		}
	}
}

// What the log no longer holds is told as missed, where it is missing and in the status line.
func testScreenMissed(t *testing.T, binary string) {
	addr := startNode(t, &bus.Options{LogLength: 5})
	wire := newCable(t, addr)
	bob, ctx := startClient(t, addr, "bob")
	if _, err := bob.Join(ctx, "lobby", nil); err != nil {
		t.Fatal(err)
	}
	alice := sit(t, binary, wire.listener.Addr().String(), nil, "chat", "--as", "alice")
	alice.see("lobby · 2 online")
	wire.pull(true)
	alice.see("connection lost: ")
	for i := range 1000 { // more than the node keeps by itself
		if _, err := bob.Publish(ctx, "lobby", fmt.Sprintf("news %d.", i), nil); err != nil {
			t.Fatal(err)
		}
	}
	wire.pull(false)
	alice.see("messages of lobby were missed", "nothing is before this", "--- messages are missing here", "bob: news 995.", "bob: news 999.")
	alice.gone("nothing was missed")
	alice.gone("news 0.")
}

// However it ends, the terminal is as it was.
func testScreenEnd(t *testing.T, binary string) {
	addr := startNode(t, nil)
	for name, end := range map[string]func(s *screen){
		"^C":      func(s *screen) { s.types("\x03") },
		"^D":      func(s *screen) { s.types("\x04") },
		"/quit":   func(s *screen) { s.types("/quit\r") },
		"SIGTERM": func(s *screen) { s.cmd.Process.Signal(syscall.SIGTERM) },
	} {
		s := sit(t, binary, addr, nil, "chat", "--as", "alice")
		s.see("lobby · 1 online")
		if s.mode(t).Lflag&unix.ECHO != 0 {
			t.Error("the screen leaves the echo on")
		}
		end(s)
		s.ends(0)
		if s.mode(t).Lflag != s.before.Lflag || s.mode(t).Iflag != s.before.Iflag {
			t.Errorf("%s: the terminal's mode was %+v and is %+v", name, s.before, s.mode(t))
		}
		for on, off := range map[string]string{"\x1b[?1049h": "\x1b[?1049l", "\x1b[?25l": "\x1b[?25h", "\x1b[?2004h": "\x1b[?2004l"} {
			raw := s.raw.String()
			if strings.LastIndex(raw, on) < 0 || strings.LastIndex(raw, off) < strings.LastIndex(raw, on) {
				t.Errorf("%s: %q is not undone", name, on)
			}
		}
	}
	// What cannot be sent is told, the second time.
	wire := newCable(t, addr)
	s := sit(t, binary, wire.listener.Addr().String(), nil, "chat", "--as", "alice")
	s.see("lobby · 1 online")
	wire.pull(true)
	s.see("connection lost")
	s.types("lost words\r\x03")
	s.see("lines not sent yet: 1")
	s.types("\x03")
	s.ends(1)
	if !strings.Contains(s.raw.String(), `rookery: not known to be sent: ["lost words"]`) {
		t.Errorf("the end says\n%s", s.raw.String())
	}
}

func testScreenColours(t *testing.T, binary string) {
	addr := startNode(t, nil)
	colour := regexp.MustCompile(`\x1b\[[0-9;]*\b(3[0-7]|4[0-7]|9[0-7]|10[0-7]|[34]8[;:])[0-9;:]*m`)
	for env, want := range map[string]bool{"COLORTERM=": true, "NO_COLOR=1": false, "NO_COLOR=please": false} {
		s := sit(t, binary, addr, []string{env}, "chat", "--as", "alice", "--room", strings.ToLower(env[:5]))
		s.see("1 online", "│alice")
		if got := colour.MatchString(s.raw.String()); got != want {
			t.Errorf("with %s colours are used: %v", env, got)
		}
	}
	// A terminal that cannot move its cursor gets lines.
	dumb := sit(t, binary, addr, []string{"TERM=dumb"}, "chat", "--as", "alice", "--room", "dumb")
	dumb.see("* in dumb: 1 online (alice)")
}

// A screen is one rookery process with a person at its terminal.
type screen struct {
	t      *testing.T
	cmd    *exec.Cmd
	pty    *os.File
	tty    *os.File // the program's side, kept open so that its mode can be asked for
	before *unix.Termios
	raw    output // all that was written to the terminal
	work   sync.WaitGroup

	terminal vt10x.Terminal // It has a lock of its own.
}

// sit starts rookery in a terminal of 90 columns and 20 rows.
func sit(t *testing.T, binary, addr string, env []string, args ...string) *screen {
	t.Helper()
	ctx, stop := context.WithTimeout(context.Background(), 2*patience)
	s := &screen{t: t, terminal: vt10x.New(vt10x.WithSize(90, 20))}
	var err error
	if s.pty, s.tty, err = pty.Open(); err != nil {
		t.Fatal(err)
	}
	if err := pty.Setsize(s.pty, &pty.Winsize{Cols: 90, Rows: 20}); err != nil {
		t.Fatal(err)
	}
	s.before = s.mode(t)
	s.cmd = exec.CommandContext(ctx, binary, args...)
	s.cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "TZ=UTC", "TERM=xterm-256color", "ROOKERY_URL=ws://" + addr + "/ws"}, env...)
	s.cmd.Stdin, s.cmd.Stdout, s.cmd.Stderr = s.tty, s.tty, s.tty
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	s.work.Go(s.show)
	t.Cleanup(func() {
		s.cmd.Process.Kill()
		s.cmd.Wait()
		stop()
		s.tty.Close()
		s.work.Wait() // the last of the program's output was read
		s.pty.Close()
		if t.Failed() {
			t.Logf("%v left on the screen\n%s", args, s)
		}
	})
	return s
}

// private are sequences of newer terminals, which the emulator would take for others.
var private = regexp.MustCompile(`\x1b\[[>=<][0-9;]*[a-zA-Z]`)

// show does what a terminal does with what is written to it.
func (s *screen) show() {
	buf := make([]byte, 64<<10)
	rest := ""
	for {
		n, err := s.pty.Read(buf)
		if err != nil {
			return
		}
		s.raw.Write(buf[:n])
		all := rest + string(buf[:n])
		whole := len(all) // up to where no sequence is cut in two
		if i := strings.LastIndexByte(all, 0x1b); i >= 0 && len(all)-i < 16 && !regexp.MustCompile(`^\x1b(\[[^a-zA-Z]*)?[a-zA-Z78]`).MatchString(all[i:]) {
			whole = i
		}
		rest = all[whole:]
		s.terminal.Write([]byte(private.ReplaceAllString(all[:whole], "")))
	}
}

func (s *screen) String() string { return s.terminal.String() }

func (s *screen) types(keys string) {
	s.t.Helper()
	if _, err := s.pty.WriteString(keys); err != nil {
		s.t.Errorf("typing %q: %v", keys, err)
	}
}

// see waits until the screen shows all of texts.
func (s *screen) see(texts ...string) {
	s.t.Helper()
	s.await(fmt.Sprintf("%q", texts), func(screen string) bool {
		for _, text := range texts {
			if !strings.Contains(screen, text) {
				return false
			}
		}
		return true
	})
}

// gone waits until the screen does not show text.
func (s *screen) gone(text string) {
	s.t.Helper()
	s.await(fmt.Sprintf("%q to go", text), func(screen string) bool { return !strings.Contains(screen, text) })
}

func (s *screen) await(what string, done func(screen string) bool) {
	s.t.Helper()
	for deadline := time.Now().Add(patience); !done(s.String()); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			s.t.Fatalf("waited for %s, and saw\n%s", what, s)
		}
	}
}

func (s *screen) resize(columns, rows int) {
	s.terminal.Resize(columns, rows)
	if err := pty.Setsize(s.pty, &pty.Winsize{Cols: uint16(columns), Rows: uint16(rows)}); err != nil {
		s.t.Fatal(err)
	}
}

func (s *screen) mode(t *testing.T) *unix.Termios {
	t.Helper()
	mode, err := unix.IoctlGetTermios(int(s.tty.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	return mode
}

// ends waits until the process has ended, with a status.
func (s *screen) ends(status int) {
	s.t.Helper()
	s.cmd.Wait()
	if got := s.cmd.ProcessState.ExitCode(); got != status {
		s.t.Errorf("it ended with status %d, want %d", got, status)
	}
	const title = "\x1b]0;ended\a" // comes after all that it wrote
	if _, err := s.tty.WriteString(title); err != nil {
		s.t.Fatal(err)
	}
	s.raw.wait(s.t, title)
}
