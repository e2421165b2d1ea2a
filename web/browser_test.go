package web_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/rookery-chat/rookery/internal/redistest"
)

const deadline = 2 * time.Minute // for the whole test; generous, for busy machines

// Two people chat in browsers on two nodes. One node is killed: its page goes on, on the
// other node, misses nothing and says so. Whatever they call themselves and write, nothing
// of it runs.
func TestBrowser(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	redis := redistest.Start(t)
	binary := build(t, ctx)
	first, second := startNode(t, binary, redis), startNode(t, binary, redis)
	toFirst, toSecond := startProxy(t, first.addr), startProxy(t, second.addr)
	browser := startBrowser(t, ctx)
	alice := open(t, browser, "http://"+toFirst.addr+"/")
	bob := open(t, browser, "http://"+toSecond.addr+"/#lobby")

	alice.enter("alice")
	alice.until(`online() === 1`)
	bob.enter("bob")
	alice.until(`online() === 2 && people() === "alice (you)|bob"`)
	bob.until(`online() === 2 && people() === "alice|bob (you)"`)
	alice.until(`log().includes("bob joined")`)

	alice.say("hello bob")
	bob.until(`shown(".message:not(.mine)").join() === "alice: hello bob"`)
	bob.say("hello alice")
	alice.until(`shown(".message.mine").join() === "alice: hello bob"`)
	alice.until(`shown(".message:not(.mine)").join() === "bob: hello alice"`)

	// The node of alice dies. Nobody answers her until bob has written, and she too.
	toFirst.hold(second.addr)
	first.kill()
	alice.until(`banner.dataset.state === "lost"`)
	alice.say("typed while away")
	alice.until(`banner.textContent.includes("1 message will be sent")`)
	for i := range 3 {
		bob.say(fmt.Sprintf("meanwhile %d", i))
		bob.until(fmt.Sprintf(`shown(".mine").at(-1) === "bob: meanwhile %d"`, i))
	}
	toFirst.release()
	alice.until(`banner.dataset.state === "recovered" && banner.textContent.includes("3 messages came meanwhile, and none is missing")`)
	bob.until(`shown(".message").at(-1) === "alice: typed while away"`)
	for _, p := range []*page{alice, bob} {
		p.until(`shown(".message").join() === ["alice: hello bob", "bob: hello alice", "bob: meanwhile 0",
			"bob: meanwhile 1", "bob: meanwhile 2", "alice: typed while away"].join()`)
		p.until(`offsets() === "1,2,3,4,5,6"`)
	}
	alice.until(`online() === 2 && people() === "alice (you)|bob"`)

	// A page that is loaded again is where it was.
	bob.run(chromedp.Reload())
	bob.prepare()
	bob.until(`offsets() === "1,2,3,4,5,6" && people() === "alice|bob (you)"`)

	injections(t, alice, bob)

	for _, p := range []*page{alice, bob} {
		if complaints := p.complaints(); len(complaints) > 0 {
			t.Errorf("the browser complains: %s", strings.Join(complaints, "\n"))
		}
		p.control()
	}
}

// injections lets an attacker use the client in bob's page and looks at alice's.
func injections(t *testing.T, alice, bob *page) {
	names := []string{
		"<script>window.pwned=1</script>",
		`"><svg/onload=window.pwned=2>`,
		"<img/src/onerror=window.pwned=3>",
		"\u202eecila",
	}
	texts := []any{
		"<script>window.pwned=4</script>",
		map[string]any{"text": "<img src=x onerror=window.pwned=5>"},
		map[string]any{"html": "<iframe src=javascript:window.pwned=6>"},
		map[string]any{"text": map[string]any{"toString": "<b>7</b>"}},
		[]any{nil, "<svg onload=window.pwned=8>"},
		"javascript:window.pwned=9",
		nil,
	}
	args, err := json.Marshal(map[string]any{"names": names, "texts": texts})
	if err != nil {
		t.Fatal(err)
	}
	bob.do(fmt.Sprintf(`(async ({names, texts}) => {
		const { connect } = await import("/rookery.js");
		for (const user of names) {
			const client = connect("/ws", { user });
			await client.join("lobby");
			for (const data of texts) await client.publish("lobby", data);
			client.close();
		}
	})(%s)`, args))
	want := 6 + len(names)*len(texts)
	for _, p := range []*page{alice, bob} {
		p.until(fmt.Sprintf(`document.querySelectorAll(".message").length === %d`, want))
		// It is there, as text and as nothing else.
		p.until(`shown(".message").at(6) === "<script>window.pwned=1</script>: <script>window.pwned=4</script>"`)
		p.until(`shown(".message").at(7) === "<script>window.pwned=1</script>: <img src=x onerror=window.pwned=5>"`)
		p.until(`shown(".message").at(8).endsWith('{"html":"<iframe src=javascript:window.pwned=6>"}')`)
		p.until(`document.querySelectorAll("main :is(script, img, svg, iframe, b, a, object, style)").length === 0`)
		p.until(`window.pwned === undefined`)
	}

	// The room's name comes from the address, where anybody may write a link to.
	alice.do(`location.hash = "<img/src/onerror=window.pwned=10>"`)
	alice.until(`document.getElementById("title").textContent === "<img/src/onerror=window.pwned=10>"`)
	alice.until(`online() === 1 && people() === "alice (you)"`)
	alice.until(`window.pwned === undefined && document.querySelectorAll("main img").length === 0`)
}

// A page is one browser window with the chat page.
type page struct {
	t   *testing.T
	ctx context.Context

	mu   sync.Mutex
	said []string // errors and warnings of the console. Guarded by mu.
}

// startBrowser starts chromium and returns the context for its windows.
func startBrowser(t *testing.T, ctx context.Context) context.Context {
	t.Helper()
	path, err := exec.LookPath("chromium")
	if err != nil {
		t.Fatalf("this test needs chromium (is the package chromium installed?): %v", err)
	}
	opts := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.DisableGPU,
		chromedp.Flag("disable-background-networking", true),
		chromedp.UserDataDir(t.TempDir()),
		chromedp.WSURLReadTimeout(time.Minute),
	)
	ctx, cancel := chromedp.NewExecAllocator(ctx, opts...)
	t.Cleanup(cancel)
	ctx, cancelBrowser := chromedp.NewContext(ctx)
	t.Cleanup(cancelBrowser)
	if err := chromedp.Do(ctx); err != nil {
		t.Fatalf("start chromium: %v", err)
	}
	return ctx
}

// open shows url in a window that shares nothing with the others.
func open(t *testing.T, browser context.Context, url string) *page {
	t.Helper()
	ctx, cancel := chromedp.NewContext(browser, chromedp.WithNewBrowserContext())
	p := &page{t: t, ctx: ctx}
	var listening sync.WaitGroup
	console := chromedp.Console(ctx)
	listening.Go(func() {
		for m, err := range console {
			if err != nil {
				return // the window is closed
			}
			p.hear(m)
		}
	})
	t.Cleanup(func() { cancel(); listening.Wait() })
	p.run(chromedp.Navigate(url))
	p.prepare()
	return p
}

// hear keeps what went wrong: exceptions, errors of the page, and what the browser itself
// says of failed loads and violations of the policy.
func (p *page) hear(m chromedp.ConsoleMessage) {
	if m.IsException() || m.Type == "error" || m.Type == "warning" || m.Type == "assert" {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.said = append(p.said, m.String())
	}
}

func (p *page) complaints() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.said)
}

// control shows that complaints would have been heard: it makes one, and the policy another.
func (p *page) control() {
	p.t.Helper()
	p.do(`console.error("control")`)
	p.do(`document.body.append(Object.assign(document.createElement("img"), { src: "http://127.0.0.1:1/" }))`)
	for {
		all := strings.Join(p.complaints(), "\n")
		if strings.Contains(all, "control") && strings.Contains(all, "Content Security Policy") {
			return
		}
		if p.ctx.Err() != nil {
			p.t.Fatalf("the browser did not complain where it should: %s", all)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func (p *page) run(actions ...chromedp.Action[chromedp.Void]) {
	p.t.Helper()
	if err := chromedp.Do(p.ctx, actions...); err != nil {
		p.t.Fatalf("%v", err)
	}
}

// do runs a JavaScript expression, and waits for it when it is a promise.
func (p *page) do(expression string) {
	p.t.Helper()
	p.run(chromedp.Evaluate[chromedp.Void]("(async () => { await ("+expression+") })()", chromedp.EvalAwaitPromise))
}

// prepare gives the page the words in which until asks.
func (p *page) prepare() {
	p.t.Helper()
	p.do(`Object.assign(window, {
		banner: document.getElementById("banner"),
		log: () => document.getElementById("log").innerText,
		online: () => parseInt(document.getElementById("online").textContent),
		people: () => Array.from(document.querySelectorAll("#people li"), (li) => li.textContent).join("|"),
		offsets: () => Array.from(document.querySelectorAll("#log [data-offset]"), (m) => m.dataset.offset).join(),
		shown: (which) => Array.from(document.querySelectorAll("#log " + which), (m) => {
			const body = m.querySelector(".body").cloneNode(true);
			body.querySelector("time").remove();
			return m.dataset.from + ": " + body.textContent;
		}),
	})`)
}

// until waits until a JavaScript expression is true. (chromedp.Poll makes a function of its
// expression in the page, which the policy forbids.)
func (p *page) until(expression string) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, 45*time.Second)
	defer cancel()
	for {
		ok, err := chromedp.Run(ctx, chromedp.Evaluate[bool]("Boolean("+expression+")"))
		if ok {
			return
		}
		if err != nil {
			text, _ := chromedp.Run(p.ctx, chromedp.Evaluate[string](`banner.outerHTML + "\n" + document.body.innerText`))
			p.t.Fatalf("waited for %s: %v\nthe page shows:\n%s\nthe console: %q", expression, err, text, p.complaints())
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func (p *page) enter(name string) {
	p.t.Helper()
	p.run(chromedp.SendKeys(chromedp.CSS("#name"), name), chromedp.Click(chromedp.CSS("#enter")))
}

// say types a text and sends it with the Enter key.
func (p *page) say(text string) {
	p.t.Helper()
	p.run(chromedp.SendKeys(chromedp.CSS("#text"), text+"\r"))
}

func build(t *testing.T, ctx context.Context) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "rookery")
	if out, err := exec.CommandContext(ctx, "go", "build", "-o", binary, "../cmd/rookery").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return binary
}

type node struct {
	addr string // of the page
	cmd  *exec.Cmd
	done chan struct{} // closed when the process has ended
}

// startNode starts one node of the cluster on redis.
func startNode(t *testing.T, binary string, redis *redistest.Server) *node {
	t.Helper()
	cmd := exec.Command(binary, "serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--redis", redis.URL(), "--log-format", "json")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	n := &node{cmd: cmd, done: make(chan struct{})}
	listening := make(chan string, 1)
	go func() {
		defer close(n.done)
		var all []string
		for lines := bufio.NewScanner(stderr); lines.Scan(); {
			all = append(all, lines.Text())
			var l struct{ Msg, Addr string }
			if json.Unmarshal(lines.Bytes(), &l) == nil && l.Msg == "listening" {
				listening <- l.Addr
			}
		}
		cmd.Wait()
		close(listening)
		if t.Failed() {
			t.Logf("log of a node:\n%s", strings.Join(all, "\n"))
		}
	}()
	t.Cleanup(n.kill)
	n.addr = <-listening
	if n.addr == "" {
		t.Fatal("the node did not start")
	}
	return n
}

// kill ends the node as kill -9 does. It is safe to repeat.
func (n *node) kill() {
	n.cmd.Process.Kill()
	<-n.done
}

// A proxy is the one address that a page knows of the cluster.
type proxy struct {
	addr string
	wg   sync.WaitGroup

	mu     sync.Mutex
	target string        // Guarded by mu.
	open   chan struct{} // Guarded by mu. Closed when connections are let through.
}

func startProxy(t *testing.T, target string) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{addr: l.Addr().String(), target: target, open: make(chan struct{})}
	close(p.open)
	ctx, cancel := context.WithCancel(context.Background())
	p.wg.Go(func() {
		for {
			near, err := l.Accept()
			if err != nil {
				return
			}
			p.wg.Go(func() { p.serve(ctx, near) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		cancel()
		p.wg.Wait()
	})
	return p
}

func (p *proxy) serve(ctx context.Context, near net.Conn) {
	defer near.Close()
	p.mu.Lock()
	open := p.open
	p.mu.Unlock()
	select {
	case <-open:
	case <-ctx.Done():
		return
	}
	p.mu.Lock()
	target := p.target
	p.mu.Unlock()
	far, err := net.Dial("tcp", target)
	if err != nil {
		return
	}
	defer far.Close()
	defer context.AfterFunc(ctx, func() { near.Close(); far.Close() })()
	done := make(chan struct{})
	go func() {
		defer close(done)
		io.Copy(far, near)
		far.Close()
	}()
	io.Copy(near, far)
	near.Close()
	<-done
}

// hold lets new connections wait until release, and then go to another node.
func (p *proxy) hold(target string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.target, p.open = target, make(chan struct{})
}

func (p *proxy) release() {
	p.mu.Lock()
	defer p.mu.Unlock()
	close(p.open)
}
