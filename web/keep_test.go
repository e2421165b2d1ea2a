package web_test

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/rookery-chat/rookery/internal/browsertest"
	"github.com/rookery-chat/rookery/internal/processtest"
)

// Pictures and files are pasted and dropped. Pictures are shown, all else is offered as a download; what is
// too large is refused with its size, except pictures, which are made smaller.
func TestFilesOfMessages(t *testing.T) {
	t.Parallel()
	n := processtest.Serve(t)
	p := open(t, browsertest.Start(t), "http://"+n.Addr+"/")
	p.enter("alice")
	p.Until(`online() === 1`)
	p.Do(`Object.assign(window, {
		give: (kind, ...file) => {
			const data = new DataTransfer();
			data.items.add(new File(...file));
			const options = { bubbles: true, cancelable: true };
			const text = document.getElementById("text");
			text.dispatchEvent(kind === "paste" ? new ClipboardEvent("paste", { ...options, clipboardData: data }) : new DragEvent("drop", { ...options, dataTransfer: data }));
		},
		picture: async (size) => {
			const canvas = Object.assign(document.createElement("canvas"), { width: size, height: size });
			const image = new ImageData(size, size);
			for (let i = 0; i < image.data.length; i++) image.data[i] = i % 4 === 3 ? 255 : (i / size / 16) % 200 + Math.random() * 20;
			canvas.getContext("2d").putImageData(image, 0, 0);
			return new Promise((resolve) => canvas.toBlob(resolve));
		},
		images: () => Array.from(document.querySelectorAll("#log img"), (i) => i.complete && i.naturalWidth > 0 ? i.alt + " " + i.src.slice(5, 15) : "").join(),
	})`)
	p.Do(`picture(8).then((blob) => give("paste", [blob], "dot.png", { type: "image/png" }))`)
	p.Until(`images() === "dot.png image/png;"`)
	p.Do(`give("drop", ["<svg/>"], "x.svg", { type: "image/svg+xml" })`)
	p.Do(`give("drop", ["hello"], "notes.txt", { type: "text/plain" })`)
	p.Until(`Array.from(document.querySelectorAll("#log .file"), (f) => f.textContent).sort().join() === "⤓ notes.txt (5 bytes),⤓ x.svg (6 bytes)"`)
	p.Do(`give("drop", [new Uint8Array(100_000)], "big.bin", { type: "application/zip" })`)
	p.Until(`text("banner-text") === "big.bin has 98 KB: at most 48 KB fit into one message here."`)
	p.Do(`picture(600).then((blob) => { if (blob.size < 65536) throw new Error("too small a picture"); give("paste", [blob], "large.png", { type: "image/png" }); })`)
	p.Until(`images() === "dot.png image/png;,large.png image/webp"`)
	p.Until(`document.querySelectorAll(".message").length === 4`)

	// What is shown is what was sent, also to who comes later; its place was kept free.
	p.Reload()
	p.prepare()
	p.Until(`document.querySelectorAll("#log .file").length === 2 && Array.from(document.querySelectorAll("#log img")).every((i) => i.width > 1 && i.naturalWidth > 0)`)
	p.quiet()
}

// While nobody looks, news are counted in the title and told on the desktop, which the user was asked
// for at a click and not before.
func TestNotifications(t *testing.T) {
	t.Parallel()
	n := processtest.Serve(t)
	p := open(t, browsertest.Start(t), "http://"+n.Addr+"/")
	p.Do(`(() => {
		window.asked = 0;
		window.told = [];
		window.Notification = class { constructor(title, { body }) { told.push(title + ": " + body); } static permission = "default"; static async requestPermission() { asked++; return (this.permission = "granted"); } };
		window.away = false;
		Object.defineProperty(document, "hidden", { get: () => away });
	})()`)
	p.enter("alice")
	p.Until(`online() === 1`)
	say := func(topic, text string) {
		t.Helper()
		p.Do(fmt.Sprintf(`as("bob", async (client) => { if (%[1]q[0] !== "@") await client.join(%[1]q); await client.publish(%[1]q, { text: %[2]q }); })`, topic, text))
	}
	say("lobby", "seen")
	p.Until(`shown(".message").length === 1 && asked === 0 && document.title === "lobby · Rookery"`)
	p.Do(`(() => { away = true; document.dispatchEvent(new Event("visibilitychange")); })()`)
	say("lobby", "one")
	p.Until(`document.title === "(1) lobby · Rookery" && told.length === 0`)
	p.Click("#notify")
	p.Until(`asked === 1 && text("notify") === "Notifications on"`)
	say("lobby", "two")
	say("@alice", "three")
	p.Until(`told.join("|") === "bob in lobby: two|bob: three" && document.title === "(3) lobby · Rookery"`)
	p.Do(`(() => { away = false; document.dispatchEvent(new Event("visibilitychange")); })()`)
	p.Until(`document.title === "lobby · Rookery" && shown(".message").length === 3`)
	p.quiet()
}

// Each conversation keeps its draft and its place, over others and when the page is loaded again.
func TestDraftsAndPlaces(t *testing.T) {
	t.Parallel()
	n := processtest.Serve(t)
	p := open(t, browsertest.Start(t), "http://"+n.Addr+"/")
	p.Do(speaker)
	p.Do(`Promise.all(Array.from({ length: 300 }, (_, i) => bob.publish("lobby", "message " + (i + 1))))`)
	p.enter("alice")
	p.Until(`line(300)`)
	p.Type("#text", "half a thought")
	p.Do(`(async () => {
		for (let i = 0; i < 200 && !line(120); i++) { document.getElementById("log").scrollTop -= 300; await new Promise(requestAnimationFrame); }
		line(120).scrollIntoView({ block: "start" });
		await new Promise(requestAnimationFrame);
	})()`)
	top := `(() => { const log = document.getElementById("log").getBoundingClientRect();
		return Math.abs(line(120)?.getBoundingClientRect().top - log.top) < 40; })()`
	p.Until(top)
	p.to("attic")
	p.Until(`document.getElementById("text").value === ""`)
	p.say("elsewhere")
	p.to("lobby")
	p.Until(`document.getElementById("text").value === "half a thought" && ` + top)
	p.Reload()
	p.prepare()
	p.Until(`document.getElementById("text").value === "half a thought" && ` + top)
	p.Click("#newest")
	p.Until(`line(300)`)
	p.say("")
	p.Until(`shown(".message").at(-1) === "alice: half a thought" && document.getElementById("text").value === ""`)
	p.quiet()
}

// The cluster lost its memory: the page says what that means, keeps what it has shown, and goes on.
func TestLoss(t *testing.T) {
	t.Parallel()
	first, second := processtest.Serve(t), processtest.Serve(t) // each alone: the second one knows nothing
	door := startProxy(t, first.Addr)
	p := open(t, browsertest.Start(t), "http://"+door.addr+"/")
	p.enter("alice")
	p.say("before")
	p.Until(`shown(".message").join() === "alice: before"`)
	node := p.Ask(`text("node")`)
	door.hold(second.Addr)
	first.Kill()
	p.Until(`banner.dataset.state === "lost"`)
	door.release()
	p.Until(`banner.dataset.state === "missing" && text("banner-text").includes("missing in lobby")`)
	p.Until(`document.querySelector("#log .missing")`)
	p.Until(fmt.Sprintf(`text("node").startsWith("on node") && text("node") !== %q`, node))
	p.say("after")
	p.Until(`shown(".message").join() === "alice: before,alice: after" && offsets() === "1,1"`)
	// What the old log held cannot be meant any more; what the new one holds can.
	p.Do(`as("alice", async (client) => { await client.join("lobby"); await client.publish("lobby", { kind: "edit", of: 1, text: "afterwards" }); })`)
	p.Until(`shown(".message").join() === "alice: before,alice: afterwards"`)
}

// The list of a user's rooms goes with the user: another browser has them, with what is unread, and follows
// where the user goes and what the user leaves.
func TestRoomsOfAUser(t *testing.T) {
	t.Parallel()
	n := processtest.Serve(t)
	browser := browsertest.Start(t)
	rooms := `Array.from(document.querySelectorAll("#rooms button"), (b) => b.dataset.name).join()`
	desk := open(t, browser, "http://"+n.Addr+"/")
	desk.enter("alice")
	desk.to("attic")
	desk.to("kitchen")
	desk.Until(`online() === 1 && ` + rooms + ` === "attic,kitchen,lobby"`)
	desk.Do(`as("bob", async (client) => { await client.join("attic"); await client.publish("attic", "anybody up here?"); })`)
	desk.Until(`count("attic") === 1`)

	phone := open(t, browser, "http://"+n.Addr+"/") // which shares nothing with the first
	phone.enter("alice")
	phone.Until(rooms + ` === "attic,kitchen,lobby" && count("attic") === 1`)
	phone.to("cellar")
	desk.Until(rooms + ` === "attic,cellar,kitchen,lobby"`)
	desk.Until(`text("title") === "kitchen" && online() === 1`)
	phone.to("kitchen")
	phone.Click("#leave")
	desk.Until(rooms + ` === "attic,cellar,lobby" && text("title") !== "kitchen"`)
	phone.to("attic")
	desk.Until(`count("attic") === 0`)

	// What was left elsewhere stays left, though this browser remembers it.
	desk.Go("about:blank")
	phone.to("cellar")
	phone.Click("#leave")
	phone.Until(rooms + ` === "attic,lobby"`)
	phone.to("den")
	desk.Go("http://" + n.Addr + "/")
	desk.prepare()
	desk.Until(rooms + ` === "attic,den,lobby"`)

	// The server API takes alice along.
	r, err := http.NewRequestWithContext(t.Context(), "PUT", "http://"+n.Admin+"/v1/topics/meeting/members/alice", nil)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	for _, p := range []*page{desk, phone} {
		p.Until(rooms + ` === "attic,den,lobby,meeting"`)
		p.quiet()
	}
}
