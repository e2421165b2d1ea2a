package web_test

import (
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/rookery-chat/rookery/internal/browsertest"
	"github.com/rookery-chat/rookery/internal/processtest"
	"github.com/rookery-chat/rookery/web"
)

// traced notes what goes over the page's WebSockets, in its order.
const traced = `(() => {
	const Real = window.WebSocket;
	window.trace = [];
	window.WebSocket = class extends Real {
		constructor(...args) {
			super(...args);
			trace.push("connect");
			this.addEventListener("message", (e) => trace.push("< " + JSON.parse(e.data).type));
		}
		send(text) {
			const { type, topic = "" } = JSON.parse(text);
			trace.push("> " + type + " " + topic);
			super.send(text);
		}
	};
})()`

// From the address to the first message there are four round trips in series: for the page, for
// its files, all at once, for the connection, and for hello and join, which go out together.
// What comes until then is less than 100 KB as it stands in the repository, and less than half of that as it is
// sent. The rest of the page comes when there is nothing else to do, so that it is there without a network.
func TestOpening(t *testing.T) {
	t.Parallel()
	n := processtest.Serve(t)
	browser := browsertest.Start(t)
	other := open(t, browser, "http://"+n.Addr+"/")
	other.Do(speaker)
	other.Do(`Promise.all(Array.from({ length: 50 }, (_, i) => bob.publish("lobby", "message " + i)))`)

	p := open(t, browser, "about:blank") // nothing is in its cache
	p.Before(traced)
	p.Go("http://" + n.Addr + "/")
	p.prepare()
	p.enter("alice")
	p.Until(`document.querySelectorAll(".message").length === 50`)

	var trace []string
	ask(t, p, `trace`, &trace)
	first := slices.Index(trace, "< message")
	if first < 0 {
		t.Fatalf("no message in %q", trace)
	}
	trace = trace[:first+1]
	t.Logf("%q", trace)
	heard := slices.IndexFunc(trace, func(s string) bool { return strings.HasPrefix(s, "<") })
	if said := trace[:heard]; !slices.Equal(said, []string{"connect", "> hello ", "> join *", "> join lobby"}) {
		t.Errorf("before the node said anything, the page did %q", said)
	}
	if slices.Contains(trace[heard:], "connect") {
		t.Errorf("a second connection: %q", trace)
	}

	// What was loaded until then is what the page itself names: nothing was found out later.
	r, err := http.Get("http://" + n.Addr + "/")
	if err != nil {
		t.Fatal(err)
	}
	html, err := io.ReadAll(r.Body)
	r.Body.Close()
	if err != nil {
		t.Fatal(err)
	}
	named := map[string]bool{"/": true}
	for _, m := range regexp.MustCompile(`(?:href|src)="(/[^"]*)"`).FindAllStringSubmatch(string(html), -1) {
		named[m[1]] = true
	}
	var loaded []struct {
		Name      string
		Later     bool
		Raw, Sent int
	}
	ask(t, p, `(() => {
		const shown = performance.getEntriesByName("first-message")[0].startTime;
		return [...performance.getEntriesByType("navigation"), ...performance.getEntriesByType("resource")].map((e) =>
			({ name: new URL(e.name).pathname, later: e.startTime > shown, raw: e.decodedBodySize, sent: e.encodedBodySize }));
	})()`, &loaded)
	const mostSent, mostRaw = 45_000, 102_400
	raw, sent := 0, 0
	seen := make(map[string]bool)
	for _, l := range loaded {
		if l.Later {
			continue
		}
		raw += l.Raw
		sent += l.Sent
		if !named[l.Name] {
			t.Errorf("%s is not named by the page: it waits for another file", l.Name)
		}
		if l.Raw == 0 {
			t.Errorf("nobody knows how large %s is", l.Name)
		}
		seen[l.Name] = true
	}
	if !maps.Equal(seen, named) {
		t.Errorf("the page names %v", slices.Sorted(maps.Keys(named)))
		t.Errorf("the browser loaded %v", slices.Sorted(maps.Keys(seen)))
	}
	t.Logf("%d files, %d bytes, %d as they are sent; %d files later", len(seen), raw, sent, len(loaded)-len(seen))
	if sent > mostSent || raw > mostRaw {
		t.Errorf("a browser loads %d bytes, %d as they are sent; want at most %d and %d", raw, sent, mostRaw, mostSent)
	}
	p.quiet()
}

// ask reads what an expression is.
func ask(t *testing.T, p *page, expression string, into any) {
	t.Helper()
	if err := json.Unmarshal([]byte(p.Ask(`JSON.stringify(`+expression+`)`)), into); err != nil {
		t.Fatal(err)
	}
}

// When a script does not come, because the network changed in that moment, there is a way on.
func TestHalfLoaded(t *testing.T) {
	t.Parallel()
	page := get(t, "GET", "/", nil)
	half := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/page/view.js" {
			panic(http.ErrAbortHandler)
		}
		web.Handler(web.NoTokens).ServeHTTP(w, r)
	}))
	t.Cleanup(half.Close)
	p := browsertest.Start(t).Open(half.URL)
	p.Until(`document.getElementById("loading").checkVisibility({ opacityProperty: true })`)
	if !strings.Contains(body(t, page), `<a href="/">Load the page again</a>`) {
		t.Error("there is no way on")
	}
}
