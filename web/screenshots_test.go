package web_test

import (
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/rookery-chat/rookery/internal/browsertest"
	"github.com/rookery-chat/rookery/internal/processtest"
)

var screenshots = flag.String("screenshots", "", "the folder into which TestScreenshots writes")

// What the README shows is made from the page as it is: make screenshots.
func TestScreenshots(t *testing.T) {
	t.Parallel()
	n := processtest.Serve(t)
	browser := browsertest.Start(t)
	alice := open(t, browser, "http://"+n.Addr+"/")
	alice.Size(1100, 700, false)
	alice.enter("alice")
	alice.Until(`online() === 1`)
	alice.Do(`(async () => {
		const { connect } = await import("/rookery.js");
		const people = {};
		for (const user of ["bob", "carol", "dave"]) {
			people[user] = connect("/ws", { user });
			await people[user].join("lobby");
			await people[user].join("kitchen");
		}
		const { bob, carol, dave } = people;
		await bob.publish("lobby", { text: "Good morning! The new node is in the rack." });
		await carol.publish("lobby", { text: "Which port? I will point the balancer at it:\n` + "```\\nserver node3 10.0.0.13:8000 check\\n```" + `" });
		await bob.publish("lobby", { kind: "reply", of: 2, text: "That one, yes. See https://rookery.example/nodes and run ` + "`make test`" + ` first" });
		await dave.publish("lobby", { kind: "reaction", of: 3, emoji: "☺" });
		await carol.publish("lobby", { kind: "reaction", of: 3, emoji: "☺" });
		await dave.publish("lobby", { kind: "reaction", of: 1, emoji: "★" });
		await carol.publish("@alice", { text: "Coffee later?", id: "a" });
		await dave.publish("kitchen", { text: "cake" });
		window.people = people;
	})()`)
	alice.to("kitchen")
	alice.to("lobby")
	alice.say("I killed node1 meanwhile. Did anybody notice?")
	alice.Do(`people.dave.publish("lobby", { text: "Not a word is missing here." }).then(() => people.bob.signal("lobby", { typing: true }))`)
	alice.Do(`people.carol.read("lobby", 9).then(() => people.dave.publish("kitchen", { text: "and tea" }))`)
	alice.Until(`shown(".message").length === 5 && count("@carol") === 1 && count("kitchen") === 1 && text("typing") && document.activeElement.id === "text"`)
	alice.Click("#online")
	save(t, alice, "desktop-light.png")
	alice.Prefer("prefers-color-scheme", "dark")
	save(t, alice, "desktop-dark.png")
	alice.Click("#online")
	alice.Size(390, 760, true)
	alice.Until(`innerWidth === 390 && document.documentElement.scrollWidth === 390`)
	save(t, alice, "phone.png")
	alice.quiet()
}

func save(t *testing.T, p *page, name string) {
	t.Helper()
	p.Do(`new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve)))`)
	picture := p.Picture()
	if len(picture) > 150_000 {
		t.Errorf("%s has %d bytes", name, len(picture))
	}
	if *screenshots == "" {
		return
	}
	if err := os.WriteFile(filepath.Join(*screenshots, name), picture, 0o644); err != nil {
		t.Error(err)
	}
}
