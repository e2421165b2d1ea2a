package web_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rookery-chat/rookery/internal/browsertest"
	"github.com/rookery-chat/rookery/internal/processtest"
	"github.com/rookery-chat/rookery/internal/redistest"
)

const deadline = time.Minute // generous, for busy machines

// Two people chat in browsers on two nodes. One node is killed: its page goes on, on the
// other node, misses nothing and says so. Whatever they call themselves and write, nothing
// of it runs.
func TestBrowser(t *testing.T) {
	t.Parallel()
	redis := redistest.Start(t)
	first, second := processtest.Serve(t, "--redis", redis.URL()), processtest.Serve(t, "--redis", redis.URL())
	toFirst, toSecond := startProxy(t, first.Addr), startProxy(t, second.Addr)
	browser := browsertest.Start(t)
	alice := open(t, browser, "http://"+toFirst.addr+"/")
	bob := open(t, browser, "http://"+toSecond.addr+"/#lobby")

	alice.enter("alice")
	alice.Until(`online() === 1`)
	bob.enter("bob")
	alice.Until(`online() === 2 && people() === "alice (you)|bob"`)
	bob.Until(`online() === 2 && people() === "alice|bob (you)"`)
	alice.Until(`log().includes("bob joined")`)

	alice.say("hello bob")
	bob.Until(`shown(".message:not(.mine)").join() === "alice: hello bob"`)
	bob.say("hello alice")
	alice.Until(`shown(".message.mine").join() === "alice: hello bob"`)
	alice.Until(`shown(".message:not(.mine)").join() === "bob: hello alice"`)

	// The node of alice dies. Nobody answers her until bob has written, and she too.
	toFirst.hold(second.Addr)
	first.Kill()
	alice.Until(`banner.dataset.state === "lost"`)
	alice.say("typed while away")
	alice.Until(`banner.textContent.includes("1 message will be sent")`)
	for i := range 3 {
		bob.say(fmt.Sprintf("meanwhile %d", i))
		bob.Until(fmt.Sprintf(`shown(".mine").at(-1) === "bob: meanwhile %d"`, i))
	}
	toFirst.release()
	alice.Until(`banner.dataset.state === "recovered" && banner.textContent.includes("3 messages came meanwhile, and none is missing")`)
	bob.Until(`shown(".message").at(-1) === "alice: typed while away"`)
	for _, p := range []*page{alice, bob} {
		p.Until(`shown(".message").join() === ["alice: hello bob", "bob: hello alice", "bob: meanwhile 0",
			"bob: meanwhile 1", "bob: meanwhile 2", "alice: typed while away"].join()`)
		p.Until(`offsets() === "1,2,3,4,5,6"`)
	}
	alice.Until(`online() === 2 && people() === "alice (you)|bob"`)

	// A page that is loaded again is where it was.
	bob.Reload()
	bob.prepare()
	bob.Until(`offsets() === "1,2,3,4,5,6" && people() === "alice|bob (you)"`)

	injections(t, alice, bob)

	for _, p := range []*page{alice, bob} {
		if complaints := p.Complaints(); len(complaints) > 0 {
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
	bob.Do(fmt.Sprintf(`(async ({names, texts}) => {
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
		p.Until(fmt.Sprintf(`document.querySelectorAll(".message").length === %d`, want))
		// It is there, as text and as nothing else.
		p.Until(`shown(".message").at(6) === "<script>window.pwned=1</script>: <script>window.pwned=4</script>"`)
		p.Until(`shown(".message").at(7) === "<script>window.pwned=1</script>: <img src=x onerror=window.pwned=5>"`)
		p.Until(`shown(".message").at(8).endsWith('{"html":"<iframe src=javascript:window.pwned=6>"}')`)
		p.Until(`document.querySelectorAll("main :is(script, img, svg, iframe, b, a, object, style)").length === 0`)
		p.Until(`window.pwned === undefined`)
	}

	// The room's name comes from the address, where anybody may write a link to.
	alice.Do(`location.hash = "<img/src/onerror=window.pwned=10>"`)
	alice.Until(`document.getElementById("title").textContent === "<img/src/onerror=window.pwned=10>"`)
	alice.Until(`online() === 1 && people() === "alice (you)"`)
	alice.Until(`window.pwned === undefined && document.querySelectorAll("main img").length === 0`)
}

// A page is one browser window with the chat page.
type page struct {
	*browsertest.Page
	t *testing.T
}

func open(t *testing.T, browser *browsertest.Browser, url string) *page {
	t.Helper()
	p := &page{browser.Open(url), t}
	p.prepare()
	return p
}

// control shows that complaints would have been heard: it makes one, and the policy another.
func (p *page) control() {
	p.t.Helper()
	p.Do(`console.error("control")`)
	p.Do(`document.body.append(Object.assign(document.createElement("img"), { src: "http://127.0.0.1:1/" }))`)
	for give := time.Now().Add(deadline); ; {
		all := strings.Join(p.Complaints(), "\n")
		if strings.Contains(all, "control") && strings.Contains(all, "Content Security Policy") {
			return
		}
		if time.Now().After(give) {
			p.t.Fatalf("the browser did not complain where it should: %s", all)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// prepare gives the page the words in which until asks.
func (p *page) prepare() {
	p.t.Helper()
	p.Do(`Object.assign(window, {
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
		line: (offset) => document.querySelector("#log [data-offset=\"" + offset + "\"]"),
		text: (id) => document.getElementById(id).textContent,
		count: (name) => Number(Array.from(document.querySelectorAll("nav button"), (b) =>
			b.dataset.name === name && b.querySelector(".count")?.textContent).find(Boolean) || 0),
		as: async (user, f) => {
			const { connect } = await import("/rookery.js");
			const client = connect("/ws", { user });
			await f(client);
			client.close();
		},
	})`)
}

// enter goes into a room, and waits for what the page loads after its first messages.
func (p *page) enter(name string) {
	p.t.Helper()
	p.Type("#name", name)
	p.Click("#enter")
	p.Until(`performance.getEntriesByName("whole").length > 0`)
}

// say types a text and sends it with the Enter key.
func (p *page) say(text string) {
	p.t.Helper()
	p.Type("#text", text+"\r")
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
