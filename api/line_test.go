package api_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rookery-chat/rookery/api"
)

// patience bounds every wait. It is only reached when something is wrong.
const patience = time.Minute

// serveLines starts a push port on loopback, and ends it with the test.
func serveLines(t *testing.T, b api.Backend, opts *api.LineOptions) (address string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- api.NewLine(b, opts).Serve(ctx, ln) }()
	t.Cleanup(func() {
		cancel()
		if err := <-served; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	return ln.Addr().String()
}

func dial(t *testing.T, address string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(patience))
	return conn
}

// exchange sends lines, ends its side of the connection, and returns all answers.
func exchange(t *testing.T, address, lines string) string {
	t.Helper()
	conn := dial(t, address)
	go func() { // the answers may have to be read meanwhile
		io.WriteString(conn, lines)
		conn.(*net.TCPConn).CloseWrite()
	}()
	answers, err := io.ReadAll(conn)
	if err != nil {
		t.Fatal(err)
	}
	return string(answers)
}

func TestLine(t *testing.T) {
	t.Parallel()
	exact := `{"topic":"exact","data":"` // and what brings it to the limit
	exact += strings.Repeat("x", api.MaxLine-len(exact)-2) + `"}`
	for name, test := range map[string]struct {
		lines string
		want  string
		topic string // and what it holds then
		holds string
	}{
		"targeted":         {`{"uid":"uid1","percent":"88%"}` + "\n", "ok\n", "@uid1", `push {"uid":"uid1","percent":"88%"}`},
		"offline":          {`{"uid":"uid2","percent":"88%"}` + "\n", "fail\n", "@uid2", `push {"uid":"uid2","percent":"88%"}`},
		"order is kept":    {`{"z":1, "uid" : "uid1", "a":[1, 2]}` + "\n", "ok\n", "@uid1", `push {"z":1,"uid":"uid1","a":[1,2]}`},
		"everyone":         {`{"uid":"*","text":"hi"}` + "\n", "ok\n", "*", `push {"uid":"*","text":"hi"}`},
		"topic":            {`{"topic":"lobby","data":{"a":1}}` + "\n", "ok\n", "lobby", `push {"a":1}`},
		"topic, null":      {`{"data":null,"topic":"lobby"}` + "\n", "ok\n", "lobby", `push null`},
		"inbox as a topic": {`{"topic":"@uid1","data":1}` + "\n", "ok\n", "@uid1", `push 1`},
		"inbox, offline":   {`{"topic":"@uid2","data":1}` + "\n", "fail\n", "@uid2", `push 1`},
		"uid and topic":    {`{"uid":"uid1","topic":"lobby","data":1}` + "\n", "ok\n", "@uid1", `push {"uid":"uid1","topic":"lobby","data":1}`},
		"CRLF":             {`{"topic":"lobby","data":1}` + "\r\n" + `{"topic":"lobby","data":2}` + "\r\n", "ok\nok\n", "lobby", "push 1, push 2"},
		"no end":           {`{"topic":"lobby","data":1}` + "\n" + `{"topic":"lobby","data":2}`, "ok\nok\n", "lobby", "push 1, push 2"},
		"in order":         {`{"topic":"lobby","data":1}` + "\nno\n" + `{"uid":"uid2"}` + "\n" + `{"topic":"lobby","data":2}` + "\n", "ok\nfail\nfail\nok\n", "lobby", "push 1, push 2"},
		"at the limit":     {exact + "\r\n", "ok\n", "exact", "push " + exact[len(`{"topic":"exact","data":`):len(exact)-1]},
		"too long":         {strings.Replace(exact, "x", "xx", 1) + "\n" + `{"topic":"lobby","data":1}` + "\n", "fail\nok\n", "exact", ""},
		"far too long":     {strings.Repeat("x", 10*api.MaxLine) + "\n" + `{"topic":"lobby","data":1}` + "\n", "fail\nok\n", "lobby", "push 1"},
		"secret":           {`{"secret":"s","uid":"uid1","a":1}` + "\n" + `{"uid":"uid1","a":1,"secret":"s"}` + "\n", "ok\nok\n", "@uid1", `push {"uid":"uid1","a":1}, push {"uid":"uid1","a":1}`},
		"secret, escaped":  {`{"uid":"uid1","\u0073ecret":"s"}` + "\n", "ok\n", "@uid1", `push {"uid":"uid1"}`},
		"secret, deeper":   {`{"uid":"uid1","a":{"secret":"s"}}` + "\n", "ok\n", "@uid1", `push {"uid":"uid1","a":{"secret":"s"}}`},
		"nothing":          {"", "", "lobby", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHall()
			h.enter("n1-1", "uid1")
			address := serveLines(t, h, nil)
			if got := exchange(t, address, test.lines); got != test.want {
				t.Errorf("answers %q, want %q", got, test.want)
			}
			if got := h.log(test.topic); got != test.holds {
				t.Errorf("%s holds %.200q, want %.200q", test.topic, got, test.holds)
			}
		})
	}
}

// Lines that say nothing that could be done.
func TestLineFail(t *testing.T) {
	t.Parallel()
	h := newHall()
	h.enter("n1-1", "uid1")
	address := serveLines(t, h, nil)
	lines := []string{
		``, ` `, `null`, `[]`, `"uid1"`, `{`, `{}`, `{"percent":"88%"}`, `{"uid":"uid1"`, `{"uid":"uid1"}}`, `{"uid":"uid1"} {"uid":"uid1"}`,
		`{"uid":1}`, `{"uid":null}`, `{"uid":""}`, `{"uid":"@uid1"}`, `{"uid":"a b"}`, `{"uid":"` + strings.Repeat("x", 129) + `"}`,
		`{"uid":"uid1","uid":"uid1"}`, `{"uid":"uid1","secret":1}`, `{"uid":"uid1","secret":"a","secret":"b"}`,
		`{"topic":"lobby"}`, `{"data":1}`, `{"topic":"","data":1}`, `{"topic":1,"data":1}`, `{"topic":"a b","data":1}`, `{"topic":"lobby","data":1,"key":"a"}`,
		"{\"uid\":\"uid1\",\"a\":\"\xff\"}", `{"uid":"uid1","a":"\ud800"}`, `{"uid":"uid1","a":` + strings.Repeat("[", 64) + strings.Repeat("]", 64) + `}`,
		"GET / HTTP/1.1",
	}
	got := exchange(t, address, strings.Join(lines, "\n")+"\n")
	if want := strings.Repeat("fail\n", len(lines)); got != want {
		t.Errorf("answers %q, want %d times fail", got, len(lines))
	}
	if len(h.logs) > 0 {
		t.Errorf("something was published: %v", h.logs)
	}
}

func TestLineSecret(t *testing.T) {
	t.Parallel()
	h := newHall()
	h.enter("n1-1", "uid1")
	var log lockedBuilder
	address := serveLines(t, h, &api.LineOptions{
		Secret: "open-sesame",
		Logger: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	got := exchange(t, address, `{"uid":"uid1","n":1}
{"uid":"uid1","n":2,"secret":"open-sesam"}
{"uid":"uid1","n":3,"secret":""}
{"uid":"uid1","n":4,"secret":"open-sesame"}
{"topic":"@uid1","data":5}
{"topic":"@uid1","data":6,"secret":"open-sesame"}
{"secret":"open-sesame"}
`)
	if want := "fail\nfail\nfail\nok\nfail\nok\nfail\n"; got != want {
		t.Errorf("answers %q, want %q", got, want)
	}
	if got, want := h.log("@uid1"), `push {"uid":"uid1","n":4}, push 6`; got != want {
		t.Errorf("the inbox has %s, want %s", got, want)
	}
	if logged := log.String(); strings.Contains(logged, "open-sesam") || strings.Count(logged, "push port: fail") != 5 {
		t.Errorf("logged %s, want 5 failures and no secret", logged)
	}
}

// A lockedBuilder can be written to by many goroutines.
type lockedBuilder struct {
	mu sync.Mutex
	b  strings.Builder // Guarded by mu.
}

func (l *lockedBuilder) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuilder) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// A bus that fails is a fail, and the connection stays.
func TestLineUnavailable(t *testing.T) {
	t.Parallel()
	h := newHall()
	h.fail(api.ErrUnavailable, 0)
	conn := dial(t, serveLines(t, h, nil))
	answers := bufio.NewReader(conn)
	for _, want := range []string{"fail\n", "ok\n"} {
		if _, err := io.WriteString(conn, `{"topic":"lobby","data":1}`+"\n"); err != nil {
			t.Fatal(err)
		}
		if got, err := answers.ReadString('\n'); got != want {
			t.Fatalf("answer %q, %v, want %q", got, err, want)
		}
		h.fail(nil, 0)
	}
}

// A listener without sockets, so that time can be a test's own. Its peers are pipes.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newPipes() *pipes { return &pipes{conns: make(chan net.Conn), closed: make(chan struct{})} }

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case conn := <-p.conns:
		return conn, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	p.once.Do(func() { close(p.closed) })
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.TCPAddr{} }

func (p *pipes) dial() net.Conn {
	ours, theirs := net.Pipe()
	p.conns <- theirs
	return ours
}

// bubble runs a test in time of its own, over pipes.
func bubble(t *testing.T, b api.Backend, test func(t *testing.T, p *pipes, stop context.CancelFunc)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		p := newPipes()
		ctx, cancel := context.WithCancel(context.Background())
		served := make(chan error, 1)
		go func() { served <- api.NewLine(b, nil).Serve(ctx, p) }()
		test(t, p, cancel)
		cancel()
		if err := <-served; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
}

// A connection from which no whole line comes for a while is closed, also when bytes trickle in.
func TestLineIdle(t *testing.T) {
	t.Parallel()
	for name, beginning := range map[string]string{"silent": "", "halfway": `{"topic":"lobby","data":1}`} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHall()
			bubble(t, h, func(t *testing.T, p *pipes, _ context.CancelFunc) {
				conn := p.dial()
				defer conn.Close()
				answers := bufio.NewReader(conn)
				for range 3 { // lines that come in time
					time.Sleep(api.LineIdle - time.Second)
					io.WriteString(conn, `{"topic":"lobby","data":0}`+"\n")
					if got, err := answers.ReadString('\n'); got != "ok\n" {
						t.Fatalf("answer %q, %v", got, err)
					}
				}
				before := time.Now()
				for _, c := range []byte(beginning) {
					time.Sleep(time.Second)
					conn.Write([]byte{c})
				}
				if got, err := answers.ReadString('\n'); err != io.EOF || got != "" {
					t.Errorf("answer %q, %v, want the end", got, err)
				}
				if waited := time.Since(before); waited != api.LineIdle {
					t.Errorf("closed after %v, want %v", waited, api.LineIdle)
				}
			})
			if got, want := h.log("lobby"), "push 0, push 0, push 0"; got != want {
				t.Errorf("lobby holds %s, want %s", got, want)
			}
		})
	}
}

// Who does not take the answers is let go.
func TestLineNotReading(t *testing.T) {
	t.Parallel()
	bubble(t, newHall(), func(t *testing.T, p *pipes, _ context.CancelFunc) {
		conn := p.dial()
		defer conn.Close()
		if _, err := io.WriteString(conn, "x\n"); err != nil { // the answer waits for a reader
			t.Fatal(err)
		}
		if _, err := io.WriteString(conn, "x\n"); err == nil {
			t.Error("another line was read before the answer was taken")
		}
	})
}

// Connections above the limit are closed at once, and there is room again when one ends.
func TestLineConnections(t *testing.T) {
	t.Parallel()
	bubble(t, newHall(), func(t *testing.T, p *pipes, _ context.CancelFunc) {
		var conns []net.Conn
		for range api.MaxConns {
			conns = append(conns, p.dial())
		}
		defer func() {
			for _, conn := range conns {
				conn.Close()
			}
		}()
		before := time.Now()
		over := p.dial()
		if _, err := over.Read(make([]byte, 1)); err != io.EOF || !time.Now().Equal(before) {
			t.Errorf("one too many: %v after %v, want the end at once", err, time.Since(before))
		}
		conns[0].Close()
		synctest.Wait()
		conns[0] = p.dial()
		io.WriteString(conns[0], `{"topic":"lobby","data":1}`+"\n")
		if got, err := bufio.NewReader(conns[0]).ReadString('\n'); got != "ok\n" {
			t.Errorf("answer %q, %v", got, err)
		}
	})
}

// A slow backend waits before it stores.
type slow struct {
	*hall
	wait time.Duration
}

func (s slow) Publish(ctx context.Context, topic string, m api.Message) (api.Receipt, error) {
	select {
	case <-time.After(s.wait):
		return s.hall.Publish(ctx, topic, m)
	case <-ctx.Done():
		return api.Receipt{}, ctx.Err()
	}
}

// At the end, lines that are being served get their answers, idle connections end at once,
// and what is still in the buffer is not done.
func TestLineStop(t *testing.T) {
	t.Parallel()
	h := newHall()
	bubble(t, slow{h, 3 * time.Second}, func(t *testing.T, p *pipes, stop context.CancelFunc) {
		idle, busy := p.dial(), p.dial()
		defer idle.Close()
		defer busy.Close()
		io.WriteString(busy, `{"topic":"lobby","data":1}`+"\n"+`{"topic":"lobby","data":2}`+"\n")
		synctest.Wait()
		before := time.Now()
		stop()
		if _, err := idle.Read(make([]byte, 1)); err != io.EOF || time.Since(before) != 0 {
			t.Errorf("idle: %v after %v, want the end at once", err, time.Since(before))
		}
		if answers, err := io.ReadAll(busy); string(answers) != "ok\n" || err != nil {
			t.Errorf("busy: %q, %v, want one ok", answers, err)
		}
	})
	if got, want := h.log("lobby"), "push 1"; got != want {
		t.Errorf("lobby holds %q, want %q", got, want)
	}
}

// A backend that never answers is a fail in the end.
func TestLineStuck(t *testing.T) {
	t.Parallel()
	bubble(t, slow{newHall(), time.Hour}, func(t *testing.T, p *pipes, _ context.CancelFunc) {
		conn := p.dial()
		defer conn.Close()
		io.WriteString(conn, `{"topic":"lobby","data":1}`+"\n")
		if got, err := bufio.NewReader(conn).ReadString('\n'); got != "fail\n" {
			t.Errorf("answer %q, %v, want fail", got, err)
		}
	})
}

// shaky fails a few times before it accepts.
type shaky struct {
	*pipes
	failures int
}

func (s *shaky) Accept() (net.Conn, error) {
	if s.failures > 0 {
		s.failures--
		return nil, errors.New("too many open files")
	}
	return s.pipes.Accept()
}

// Errors of accept pass; a listener that somebody else closed is told.
func TestLineAccept(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ln := &shaky{pipes: newPipes(), failures: 20}
		served := make(chan error, 1)
		go func() {
			served <- api.NewLine(newHall(), &api.LineOptions{Logger: slog.New(slog.DiscardHandler)}).Serve(t.Context(), ln)
		}()
		conn := ln.dial()
		defer conn.Close()
		io.WriteString(conn, `{"topic":"lobby","data":1}`+"\n")
		if got, err := bufio.NewReader(conn).ReadString('\n'); got != "ok\n" {
			t.Errorf("answer %q, %v", got, err)
		}
		ln.Close()
		if err := <-served; !errors.Is(err, net.ErrClosed) {
			t.Errorf("Serve: %v, want net.ErrClosed", err)
		}
		if got, err := io.ReadAll(conn); len(got) > 0 || err != nil {
			t.Errorf("the connection: %q, %v, want its end", got, err)
		}
	})
}
