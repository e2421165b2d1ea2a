package web_test

import (
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/rookery-chat/rookery/internal/browsertest"
	"github.com/rookery-chat/rookery/internal/processtest"
)

const secret = "a secret of more than thirty-two bytes"

// mint makes a token by the command that the README names.
func mint(t *testing.T, user string, life time.Duration) string {
	t.Helper()
	out, err := exec.Command(processtest.Rookery(t), "token", "--auth-secret", secret, "--user", user, "--for", life.String()).CombinedOutput()
	if err != nil {
		t.Fatalf("rookery token: %v\n%s", err, out)
	}
	return strings.TrimSpace(string(out))
}

// paste puts a text into a field at once, as from the clipboard.
func (p *page) paste(id, text string) {
	p.t.Helper()
	p.Do(`(() => { const field = document.getElementById("` + id + `"); field.focus(); field.value = "` + text + `"; })()`)
}

// Where the node wants tokens, the page asks for one, says what is wrong with one, keeps a good one for
// this window and in no address, and asks for another when it has expired: the page stays as it
// is, what was begun to be written and what was sent meanwhile too.
func TestTokens(t *testing.T) {
	t.Parallel()
	n := processtest.Serve(t, "--auth-secret", secret)
	p := open(t, browsertest.Start(t), "http://"+n.Addr+"/")
	nowhere := func() {
		t.Helper()
		p.Until(`!/eyJ/.test(location.href + JSON.stringify(localStorage) + document.documentElement.outerHTML)`)
	}
	p.Until(`document.getElementById("token").checkVisibility() && !document.getElementById("name").checkVisibility() && document.activeElement.id === "token"`)
	p.Click("#enter")
	p.Until(`text("banner-text") === "A token is needed here."`)
	p.paste("token", "my password")
	p.Click("#enter")
	p.Until(`text("banner-text").startsWith("This is no token")`)
	p.paste("token", mint(t, "alice", time.Hour)+"x")
	p.Click("#enter")
	p.Until(`banner.dataset.state === "failed" && text("banner-text").startsWith("The server does not let you in") && document.getElementById("door").checkVisibility()`)

	p.paste("token", mint(t, "zoë", time.Hour))
	p.Click("#enter")
	p.Until(`online() === 1 && text("me") === "zoë"`)
	p.say("hello")
	p.Until(`shown(".mine").join() === "zoë: hello"`)
	nowhere()
	p.Reload()
	p.prepare()
	p.Until(`shown(".mine").join() === "zoë: hello"`) // still let in
	p.Click("#out")
	p.Until(`document.getElementById("token").checkVisibility()`)
	p.Reload()
	p.prepare()
	p.Until(`document.getElementById("token").checkVisibility()`) // signed out means that

	// A token that expires while its user writes.
	p.paste("token", mint(t, "zoë", 10*time.Second))
	p.Click("#enter")
	p.Until(`online() === 1`)
	p.paste("text", "half a thought")
	p.Do(`document.getElementById("text").dispatchEvent(new Event("input"))`)
	p.Until(`document.getElementById("renew").open && document.activeElement.id === "fresh"`)
	p.Until(`text("node") === "not connected" && shown(".mine").join() === "zoë: hello"`)
	p.paste("fresh", mint(t, "bob", time.Hour))
	p.Press("\r")
	p.Until(`text("renew-why") === "This is no token of zoë."`)
	nowhere()
	p.paste("fresh", mint(t, "zoë", time.Hour))
	p.Press("\r")
	p.Until(`!document.getElementById("renew").open && banner.dataset.state === "recovered"`)
	p.Until(`document.getElementById("text").value === "half a thought"`)
	p.say("")
	p.Until(`shown(".mine").join() === "zoë: hello,zoë: half a thought"`)
	nowhere()
	p.quiet()

	// One that had expired before the page was opened again.
	p.Do(`sessionStorage.setItem("rookery.token", "` + mint(t, "zoë", time.Second) + `")`)
	time.Sleep(time.Second) // its life
	p.Reload()
	p.prepare()
	p.Until(`document.getElementById("renew").open`)
	p.Click(`#renew button[value="out"]`)
	p.Until(`document.getElementById("token").checkVisibility() && sessionStorage.getItem("rookery.token") === null`)
}

// Beside tokens, names are let in with a mark before them, and the page goes by what the node calls them.
func TestNamesBesideTokens(t *testing.T) {
	t.Parallel()
	n := processtest.Serve(t, "--auth-secret", secret, "--anonymous")
	browser := browsertest.Start(t)
	alice, bob := open(t, browser, "http://"+n.Addr+"/"), open(t, browser, "http://"+n.Addr+"/")
	alice.enter("alice")
	alice.Until(`text("me") === "~alice" && people() === "~alice (you)"`)
	bob.Type("#name", "bob")
	bob.paste("token", mint(t, "bob", time.Hour))
	bob.Click("#enter")
	bob.Until(`text("me") === "bob" && people() === "bob (you)|~alice"`)
	alice.say("hello")
	alice.Until(`shown(".mine").join() === "~alice: hello"`)
	bob.to("@~alice")
	bob.say("psst")
	alice.Until(`count("@bob") === 1`)
	alice.to("@bob")
	alice.Until(`shown(".message").join() === "bob: psst" && count("@bob") === 0`)
	alice.quiet()
	bob.quiet()
}
