package main_test

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/rookery-chat/rookery/internal/browsertest"
	"github.com/rookery-chat/rookery/internal/exampletest"
	"github.com/rookery-chat/rookery/internal/processtest"
	"github.com/rookery-chat/rookery/internal/redistest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// An example is the README's one command, running at addresses of its own.
type example struct {
	*exampletest.Program
	env []string

	page, listen, admin, push string
}

// start runs the example with more of the environment, and waits until it says what to open.
func start(t *testing.T, env ...string) *example {
	t.Helper()
	site := processtest.FreeAddr(t)
	e := &example{page: "http://" + site + "/", listen: processtest.FreeAddr(t), admin: processtest.FreeAddr(t), push: processtest.FreeAddr(t)}
	e.env = append(env, "ROOKERY_LISTEN="+e.listen, "ROOKERY_ADMIN="+e.admin, "ROOKERY_PUSH="+e.push, "EXAMPLE_SITE="+site)
	e.again(t)
	return e
}

// again starts the example at its addresses.
func (e *example) again(t *testing.T) {
	t.Helper()
	e.Program = exampletest.Run(t, exampletest.Command(t), e.env...)
	e.Await(0, "open "+e.page)
}

// php runs push.php, and returns what it prints, what it complains of, and its exit code.
func php(t *testing.T, env []string, args ...string) (out, complaint string, code int) {
	t.Helper()
	cmd := exec.Command("php", append([]string{"push.php"}, args...)...)
	cmd.Env = append(os.Environ(), env...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	var exit *exec.ExitError
	if err := cmd.Run(); err != nil && !errors.As(err, &exit) {
		t.Fatalf("run php (is the package php-cli installed?): %v", err)
	}
	return stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()
}

// wantPush runs push.php, and looks at its answer.
func wantPush(t *testing.T, env []string, uid, percent, answer string) {
	t.Helper()
	out, complaint, code := php(t, env, uid, percent)
	if wantCode := map[string]int{"ok": 0, "fail": 1}[answer]; out != answer+"\n" || complaint != "" || code != wantCode {
		t.Fatalf("push %s to %s: %q, %q, exit %d; want %s", percent, uid, out, complaint, code, answer)
	}
}

const connected = `document.getElementById("state").textContent === "connected"`

// shows is true where the page shows so much.
func shows(percent string) string {
	return `document.getElementById("percent").textContent === "` + percent + `%" && document.getElementById("bar").value === ` + percent
}

// One follows the README: a page that only said who it is shows what a PHP script, curl
// and rookery publish push to it; Ctrl-C leaves nothing running.
func TestReadme(t *testing.T) {
	t.Parallel()
	e := start(t)
	p := browsertest.Start(t).Open(e.page)
	p.Until(connected)
	p.Until(shows("0"))
	p.Do(`new MutationObserver(() => (window.shown ??= []).push(document.getElementById("percent").textContent))
		.observe(document.getElementById("percent"), { childList: true })`)

	for _, step := range []struct{ line, says, percent string }{
		{"php ", "ok", "88"},
		{"curl ", `"reached":1`, "89"},
		{"bin/rookery publish ", `"reached":1`, "90"},
	} {
		line := strings.ReplaceAll(exampletest.Line(t, step.line), "127.0.0.1:9000", e.admin)
		line = strings.ReplaceAll(line, "bin/rookery", processtest.Rookery(t))
		c := exampletest.Run(t, []string{"sh", "-c", line}, append(e.env, "ROOKERY_URL=ws://"+e.listen+"/ws")...)
		c.Await(0, step.says)
		if code := c.Wait(); code != 0 {
			t.Errorf("%s ended with %d", line, code)
		}
		p.Until(shows(step.percent))
	}

	wantPush(t, e.env, "uid2", "50", "fail")
	other := browsertest.Start(t).Open(e.page + "?uid=uid2")
	other.Until(connected)
	wantPush(t, e.env, "uid2", "51", "ok")
	other.Until(shows("51"))
	p.Until(shows("90")) // it was not for this one

	// Everybody's messages, and what is no progress, are not shown as progress.
	conn, err := net.Dial("tcp", e.push)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintln(conn, `{"uid":"*","percent":"1%"}`)
	fmt.Fprintln(conn, `{"uid":"uid1","percent":"<b>much</b>"}`)
	fmt.Fprintln(conn, `{"uid":"uid1","percent":"91%"}`)
	p.Until(shows("91"))
	p.Until(`window.shown.join() === "88%,89%,90%,91%"`)

	for _, p := range []*browsertest.Page{p, other} {
		if complaints := p.Complaints(); len(complaints) > 0 {
			t.Errorf("the browser complains: %q", complaints)
		}
	}
	e.Interrupt()
}

// Two nodes share a Redis and want a secret. It does not matter which of them the page is on
// and which one the script asks; and a page whose node dies shows what it missed when it is back.
func TestTwoNodes(t *testing.T) {
	t.Parallel()
	env := []string{"ROOKERY_REDIS=" + redistest.Start(t).URL(), "ROOKERY_PUSH_SECRET=hush"}
	a, b := start(t, env...), start(t, env...)
	p := browsertest.Start(t).Open(a.page)
	p.Until(connected)

	wantPush(t, b.env, "uid1", "88", "ok")
	p.Until(shows("88"))
	wantPush(t, a.env, "uid1", "89", "ok")
	p.Until(shows("89"))
	for _, e := range []*example{a, b} {
		wantPush(t, e.env, "uid2", "50", "fail")
		wantPush(t, append(e.env, "ROOKERY_PUSH_SECRET=wrong"), "uid1", "51", "fail")
		wantPush(t, append(e.env, "ROOKERY_PUSH_SECRET="), "uid1", "52", "fail")
	}

	a.Kill()
	p.Until(`document.getElementById("state").textContent.startsWith("the connection is lost")`)
	wantPush(t, b.env, "uid1", "90", "fail") // stored, but nobody sees it now
	p.Until(shows("89"))
	a.again(t)
	p.Until(connected)
	p.Until(shows("90"))
	wantPush(t, b.env, "uid1", "91", "ok")
	p.Until(shows("91"))
	a.Interrupt()
	b.Interrupt()
}

// The script says what is wrong, and ends with 2, whatever is at the other end.
func TestTrouble(t *testing.T) {
	t.Parallel()
	silent, rude, odd := answer(t, ""), answer(t, "hang up"), answer(t, "HTTP/1.1 400 Bad Request\r\n")
	for _, row := range []struct {
		name, push string
		args       []string
		complaint  string
	}{
		{"no arguments", "", nil, "php push.php uid1 88"},
		{"no number", "", []string{"uid1", "much"}, "php push.php uid1 88"},
		{"too much", "", []string{"uid1", "101"}, "php push.php uid1 88"},
		{"no UTF-8", "", []string{"\xff", "88"}, "UTF-8"},
		{"no node", processtest.FreeAddr(t), []string{"uid1", "88"}, "does a node run with --push"},
		{"no answer", silent, []string{"uid1", "88"}, "did not answer within 5 s"},
		{"no push port", odd, []string{"uid1", "88"}, "is no push port"},
		{"a lost connection", rude, []string{"uid1", "88"}, "hung up without an answer"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			out, complaint, code := php(t, []string{"ROOKERY_PUSH=" + row.push}, row.args...)
			if out != "" || !strings.Contains(complaint, row.complaint) || strings.Count(complaint, "\n") != 1 || code != 2 {
				t.Errorf("printed %q, complained %q, exit %d; want a line with %q, exit 2", out, complaint, code, row.complaint)
			}
		})
	}

	// A node that runs already, and has no push port.
	node := answer(t, "")
	c := exampletest.Run(t, exampletest.Command(t), "ROOKERY_LISTEN="+node, "ROOKERY_PUSH="+processtest.FreeAddr(t))
	c.Await(0, "the node has no push port")
	if code := c.Wait(); code != 1 {
		t.Errorf("it ended with %d, want 1", code)
	}
}

// answer listens and answers every line with a text: "" is no answer at all.
func answer(t *testing.T, text string) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	t.Cleanup(func() { l.Close(); serving.Wait() })
	serving.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			serving.Go(func() {
				defer conn.Close()
				conn.Read(make([]byte, 1024))
				switch text {
				case "":
					conn.Read(make([]byte, 1)) // until the peer gives up
				case "hang up":
				default:
					conn.Write([]byte(text))
				}
			})
		}
	})
	return l.Addr().String()
}
