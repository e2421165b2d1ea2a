package web_test

import (
	"fmt"
	"testing"

	"github.com/chromedp/chromedp/kb"

	"github.com/rookery-chat/rookery/internal/browsertest"
	"github.com/rookery-chat/rookery/internal/processtest"
	"github.com/rookery-chat/rookery/internal/redistest"
)

// Alice and bob, on two nodes, type, answer, react, edit and delete. Each sees what the other did, and
// what a third one forges changes nothing. What they write to each other is unread until it was
// looked at, one by one.
func TestTalk(t *testing.T) {
	t.Parallel()
	redis := redistest.Start(t)
	first, second := processtest.Serve(t, "--redis", redis.URL()), processtest.Serve(t, "--redis", redis.URL())
	browser := browsertest.Start(t)
	alice := open(t, browser, "http://"+first.Addr+"/")
	bob := open(t, browser, "http://"+second.Addr+"/")
	alice.enter("alice")
	bob.enter("bob")
	both := []*page{alice, bob}
	for _, p := range both {
		p.Until(`online() === 2`)
	}

	room(alice, bob)
	direct(alice, bob)
	for _, p := range both {
		p.quiet()
	}
}

func room(alice, bob *page) {
	bob.Type("#text", "hello")
	alice.Until(`text("typing") === "bob is typing…"`)
	bob.Type("#text", "\r")
	alice.Until(`shown(".message").join() === "bob: hello" && text("typing") === ""`)
	bob.Until(`text("seen") === "Seen by alice"`)

	// A reaction is shown with who made it, counts users, and is taken back by another click.
	alice.act(1, "react")
	alice.Click(`#emojis button[title="party"]`)
	for _, p := range []*page{alice, bob} {
		p.Until(`line(1).querySelector(".reactions")?.textContent === "🎉 1"`)
	}
	alice.Until(`line(1).querySelector(".reactions button").getAttribute("aria-pressed") === "true"`)
	bob.Click(".reactions button")
	alice.Until(`line(1).querySelector(".reactions")?.textContent === "🎉 2"`)
	bob.Until(`line(1).querySelector(".reactions button").getAttribute("aria-pressed") === "true"`)
	bob.Click(".reactions button")
	alice.Until(`line(1).querySelector(".reactions")?.textContent === "🎉 1"`)

	alice.act(1, "reply")
	alice.say("hi yourself")
	for _, p := range []*page{alice, bob} {
		p.Until(`shown(".message").at(-1) === "alice: hi yourself" && line(5)?.querySelector(".quote")?.textContent === "bob: hello"`)
	}

	bob.Type("#text", kb.ArrowUp)
	bob.Until(`document.getElementById("text").value === "hello"`)
	bob.say(" again")
	alice.Until(`shown(".message")[0] === "bob: hello again" && line(1).querySelector("time").textContent.startsWith("edited")`)

	// Alice is not offered what only bob may do; and who does it all the same changes nothing.
	alice.Do(`line(1).focus()`)
	alice.Until(`document.querySelector("[data-act=reply]").checkVisibility() && !document.querySelector("[data-act=edit]").checkVisibility() && !document.querySelector("[data-act=delete]").checkVisibility()`)
	alice.Do(`as("mallory", async (client) => {
		await client.join("lobby");
		await client.publish("lobby", { kind: "edit", of: 1, text: "forged" });
		await client.publish("lobby", { kind: "delete", of: 1 });
		await client.publish("lobby", { kind: "reaction", of: 1, emoji: "🎉", on: false });
		await client.publish("lobby", "I forged it");
	})`)
	for _, p := range []*page{alice, bob} {
		p.Until(`shown(".message").join() === "bob: hello again,alice: hi yourself,mallory: I forged it"`)
		p.Until(`line(1).querySelector(".reactions")?.textContent === "🎉 1"`)
	}

	bob.act(1, "delete")
	bob.Click(`#sure button[value="yes"]`)
	for _, p := range []*page{alice, bob} {
		p.Until(`shown(".message")[0] === "bob: This message was deleted."`)
	}

	// The same after all of it came from the log. Who has read it is known from the beginning.
	alice.Until(`text("seen") === "Seen by bob"`)
	alice.Reload()
	alice.prepare()
	alice.Until(`shown(".message").join() === "bob: This message was deleted.,alice: hi yourself,mallory: I forged it"`)
	alice.Until(`text("seen") === "Seen by bob"`)
}

func direct(alice, bob *page) {
	// Carol waits in bob's inbox, before alice does.
	bob.Do(`as("carol", (client) => client.publish("@bob", "bob?"))`)
	bob.Until(`count("@carol") === 1`)
	alice.to("@bob")
	alice.say("psst")
	alice.say("it is me")
	bob.Until(`count("@alice") === 2 && count("@carol") === 1`)
	bob.to("@alice")
	bob.Until(`shown(".message").join() === "alice: psst,alice: it is me" && count("@alice") === 0 && count("@carol") === 1`)

	bob.Do(`document.querySelector("#log .message").focus()`)
	bob.Click("#actions [data-act=react]")
	bob.Click(`#emojis button[title="eyes"]`)
	alice.Until(`document.querySelector("#log .reactions")?.textContent === "👀 1"`)
	alice.Type("#text", kb.ArrowUp)
	alice.say("!")
	for _, p := range []*page{alice, bob} {
		p.Until(`shown(".message").join() === "alice: psst,alice: it is me!"`)
	}
	bob.Type("#text", "h")
	alice.Until(`text("typing") === "bob is typing…"`)
	bob.Do(`document.getElementById("text").value = ""`)

	// Bob cannot edit what alice wrote, though he knows its id.
	bob.Do(`as("bob", async (client) => {
		const found = new Promise((resolve) => client.addEventListener("connected", () => resolve(client.history("@bob"))));
		const { messages } = await found;
		const of = messages.find((m) => m.data.text === "psst").data.id;
		await client.publish("@alice", { kind: "edit", of, text: "forged" });
		await client.publish("@alice", { kind: "delete", of });
		await client.publish("@alice", "forged");
	})`)
	for _, p := range []*page{alice, bob} {
		p.Until(`shown(".message").join() === "alice: psst,alice: it is me!,bob: forged"`)
	}

	// What was read stays read, and carol stays unread, when all is loaded again.
	bob.Reload()
	bob.prepare()
	bob.Until(`count("@carol") === 1 && count("@alice") === 0 && shown(".message").length === 3`)
	bob.to("@carol")
	bob.Until(`shown(".message").join() === "carol: bob?" && count("@carol") === 0`)
	bob.Do(`as("carol", (client) => client.publish("lobby", "x").catch(() => client.join("lobby")).then(() => client.publish("lobby", "in the room")))`)
	bob.Until(`count("lobby") > 0`)

	// A second device of alice is no other person.
	alice.to("lobby")
	alice.Until(`online() === 2`)
	alice.Do(`as("alice", async (client) => { await client.join("lobby"); await client.publish("lobby", "from my phone"); })`)
	alice.Until(`shown(".mine").at(-1) === "alice: from my phone" && online() === 2`)
}

// act does something with a message by its toolbar.
func (p *page) act(offset int, what string) {
	p.t.Helper()
	// At once, for a line that is drawn anew meanwhile loses the focus. It may have it already, while
	// the toolbar is where the pointer is.
	p.Until(fmt.Sprintf(`(() => {
		line(%[1]d).blur();
		line(%[1]d).focus();
		const button = line(%[1]d).querySelector("#actions [data-act=%[2]s]");
		const shown = button?.checkVisibility();
		if (shown) button.click();
		return shown;
	})()`, offset, what))
}

// to goes to a room or a person.
func (p *page) to(name string) {
	p.t.Helper()
	p.Type("#to", name+"\r")
	p.Until(fmt.Sprintf(`location.hash === "#" + encodeURIComponent(%q)`, name))
}

// quiet fails the test when the browser had something to complain about.
func (p *page) quiet() {
	p.t.Helper()
	for _, complaint := range p.Complaints() {
		p.t.Errorf("the browser complains: %s", complaint)
	}
}
