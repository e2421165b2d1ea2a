package web_test

import (
	"fmt"
	"os"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/rookery-chat/rookery/internal/browsertest"
	"github.com/rookery-chat/rookery/internal/processtest"
)

// Somebody chats with the keyboard alone: enters, writes, goes to another room and to a person, and
// does all that can be done with a message.
func TestKeyboard(t *testing.T) {
	t.Parallel()
	n := processtest.Serve(t)
	p := open(t, browsertest.Start(t), "http://"+n.Addr+"/")
	focused := func(what string) {
		t.Helper()
		p.Until(fmt.Sprintf(`document.activeElement?.matches(%q)`, what))
	}
	write := func(text string) {
		t.Helper()
		for _, c := range text {
			p.Press(string(c))
		}
	}
	focused("#name")
	write("alice\t")
	focused("#room")
	write("\r")
	focused("#text")
	write("one\r")
	write("two\r")
	p.Until(`shown(".message").join() === "alice: one,alice: two"`)

	// Up edits the last one, Escape leaves it.
	p.Press(kb.ArrowUp)
	p.Until(`document.getElementById("text").value === "two" && text("context-text").startsWith("Editing")`)
	p.Press(kb.Escape)
	p.Until(`document.getElementById("text").value === "" && document.getElementById("context").hidden`)

	// Shift+Tab leads from the field to the messages, the arrows from one to the next.
	p.Press(kb.Tab, chromedp.ModifierShift)
	focused("#log, #log *")
	p.Do(`document.getElementById("log").focus()`)
	p.Press(kb.ArrowUp)
	focused(`[data-offset="2"]`)
	p.Press(kb.ArrowUp)
	focused(`[data-offset="1"]`)
	// A pointer that rests beside the messages, as they move under it, takes nothing away.
	p.Do(`document.getElementById("log").dispatchEvent(new PointerEvent("pointerover", { bubbles: true }))`)
	p.Until(`line(1).querySelector("#actions")?.checkVisibility()`)
	write("r")
	focused("#text")
	write("three\r")
	p.Until(`line(3)?.querySelector(".quote")?.textContent === "alice: one"`)
	p.Do(`line(1).focus()`)
	write("+")
	focused("#emojis button")
	p.Press(kb.ArrowRight)
	p.Press(kb.ArrowDown)
	focused(`#emojis button[title="laugh"], #emojis button`)
	p.Press(kb.Enter)
	p.Until(`line(1).querySelector(".reactions")`)
	p.Do(`line(2).focus()`)
	p.Press(kb.Delete)
	focused(`#sure button`)
	p.Press(kb.Tab)
	focused(`#sure button[value="yes"]`)
	p.Press(kb.Enter)
	p.Until(`shown(".message")[1] === "alice: This message was deleted."`)

	// Ctrl+K goes anywhere; Alt and the arrows go through what there is.
	p.Press("k", chromedp.ModifierCtrl)
	focused("#to")
	write("attic\r")
	p.Until(`text("title") === "attic" && online() === 1`)
	focused("#text")
	write("a draft")
	p.Press(kb.ArrowDown, chromedp.ModifierAlt)
	p.Until(`text("title") === "lobby" && document.getElementById("text").value === ""`)
	p.Press(kb.ArrowUp, chromedp.ModifierAlt)
	p.Until(`text("title") === "attic" && document.getElementById("text").value === "a draft"`)

	p.Press("/", chromedp.ModifierCtrl)
	p.Until(`document.getElementById("help").open`)
	p.Press(kb.Escape)
	p.Until(`!document.getElementById("help").open`)

	// Each stop of Tab can be seen, and there is a way around.
	p.Do(`document.getElementById("to").focus()`)
	for range 12 {
		p.Press(kb.Tab)
		p.Until(`document.activeElement === document.body || (document.activeElement.checkVisibility() &&
			(document.activeElement.getAttribute("aria-label") || document.activeElement.textContent.trim()))`)
	}
	p.quiet()
}

// On a phone nothing is wider than it, the lists come and go, and what is written is on the screen.
func TestPhone(t *testing.T) {
	t.Parallel()
	n := processtest.Serve(t)
	p := open(t, browsertest.Start(t), "http://"+n.Addr+"/")
	p.Size(360, 640, true)
	p.enter("alice")
	p.say("a-very-long-word-" + fmt.Sprintf("%0300d", 7))
	fits := `document.documentElement.scrollWidth <= 360 && document.getElementById("log").scrollWidth <= 360`
	p.Until(`shown(".message").length === 1 && ` + fits)
	p.Until(`document.getElementById("send").getBoundingClientRect().bottom <= innerHeight`)
	p.Until(`!document.getElementById("nav").checkVisibility()`)
	p.Click("#menu")
	p.Until(`document.getElementById("nav").checkVisibility() && document.getElementById("menu").ariaExpanded === "true" && ` + fits)
	p.to("attic")
	p.Until(`!document.getElementById("nav").checkVisibility() && text("title") === "attic"`)
	p.Click("#menu")
	p.Press(kb.Escape)
	p.Until(`!document.getElementById("nav").checkVisibility() && document.activeElement.id === "menu"`)
	// Who goes to a room, and at once to the lists and back again, is not taken elsewhere afterwards.
	p.Do(`(() => {
		const { menu, to, go } = Object.fromEntries(["menu", "to", "go"].map((id) => [id, document.getElementById(id)]));
		menu.click();
		to.focus();
		to.value = "attic";
		go.requestSubmit();
		menu.click();
		document.dispatchEvent(new KeyboardEvent("keydown", { key: "Escape" }));
	})()`)
	p.Do(`new Promise((later) => setTimeout(later))`)
	p.Until(`document.activeElement.id === "menu"`)
	p.Until(`online() === 1`)
	p.Click("#online")
	p.Until(`document.getElementById("people").checkVisibility() && ` + fits)
	p.quiet()
}

// axe-core (https://github.com/dequelabs/axe-core) finds nothing serious: at the door, among
// messages of every kind, in dialogs, light and dark, wide and narrow. It looks at contrast too.
func TestAxe(t *testing.T) {
	t.Parallel()
	axe, err := os.ReadFile("testing/node_modules/axe-core/axe.min.js")
	if err != nil {
		t.Fatalf("this test needs axe-core: run make deps (%v)", err)
	}
	n := processtest.Serve(t)
	p := open(t, browsertest.Start(t), "http://"+n.Addr+"/")
	p.Run(chromedp.Evaluate[chromedp.Void]("{" + string(axe) + "}; undefined")) // kept by the page, whatever it shows
	look := func(what string) {
		t.Helper()
		found := p.Ask(`axe.run(document, { resultTypes: ["violations"] }).then(({ violations, passes }) => JSON.stringify(violations
			.filter((v) => v.impact === "serious" || v.impact === "critical")
			.map((v) => [v.id, v.help, v.nodes.map((n) => n.target + ": " + n.failureSummary)]), null, 1))`)
		if found != "[]" {
			t.Errorf("%s: %s", what, found)
		}
	}
	schemes := func(what string) {
		t.Helper()
		for _, scheme := range []string{"light", "dark"} {
			p.Prefer("prefers-color-scheme", scheme)
			look(what + ", " + scheme)
		}
	}
	schemes("door")
	p.enter("alice")
	p.Until(`online() === 1`)
	p.Do(`as("bob", async (client) => {
		await client.join("lobby");
		await client.publish("lobby", { text: "see https://example.com, ` + "`code` and ```a block```" + `" });
		await client.publish("lobby", { kind: "reply", of: 1, text: "a reply" });
		await client.publish("lobby", { kind: "reaction", of: 1, emoji: "★" });
		await client.publish("lobby", { text: "", file: { name: "a.txt", url: "data:text/plain;base64,aGk=" } });
		await client.publish("lobby", { text: "", file: { name: "a dot", width: 4, height: 4, url: "data:image/gif;base64,R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7" } });
		await client.publish("lobby", { percent: "88%" });
		await client.publish("@alice", "unread");
	})`)
	p.say("mine") // which goes to the newest lines: before there are too many
	p.Do(`Promise.all(Array.from("abcdefghijklmnopqrstuvwxyz", (c) => as(c + "olour", async (client) => {
		await client.join("lobby");
		await client.publish("lobby", "my name has a colour");
	})))`)
	p.Until(`shown(".message").length >= 32 && count("@bob") === 1`)
	p.Click("#online")
	p.act(1, "reply")
	schemes("messages")
	p.Size(360, 640, true)
	schemes("phone")
	p.Click("#menu")
	schemes("phone's lists")
	p.Press(kb.Escape)
	p.Size(1000, 700, false)
	p.Press("/", chromedp.ModifierCtrl)
	schemes("help")
	p.Press(kb.Escape)
	p.Click("#emoji")
	schemes("emoji")
	p.quiet()
}
