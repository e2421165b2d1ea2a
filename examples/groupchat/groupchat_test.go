package main_test

import (
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/rookery-chat/rookery/internal/browsertest"
	"github.com/rookery-chat/rookery/internal/exampletest"
	"github.com/rookery-chat/rookery/internal/processtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// lines are what the log of a window shows.
const lines = `Array.from(document.querySelectorAll("#log li"), (li) => (li.className ? li.className + "|" : "") + li.textContent).join("\n")`

// Two people open the page of one site in two windows. Each sees what the other says, and the
// own messages once; and who comes and goes, also to another group.
func TestTwoWindows(t *testing.T) {
	t.Parallel()
	site := processtest.FreeAddr(t)
	program := exampletest.Run(t, exampletest.Command(t), "EXAMPLE_SITE="+site,
		"ROOKERY_LISTEN="+processtest.FreeAddr(t), "ROOKERY_ADMIN="+processtest.FreeAddr(t))
	program.Await(0, "open http://"+site+"/")
	browser := browsertest.Start(t)
	enter := func(name, group string) *browsertest.Page {
		p := browser.Open("http://" + site + "/")
		p.Type("#name", name)
		p.Do(`document.getElementById("group").value = "` + group + `"`)
		p.Type("#name", "\r")
		p.Until(`!document.getElementById("inside").hidden`)
		return p
	}
	alice, bob, carol := enter("alice", "friends"), enter("bob", "friends"), enter("carol", "others")
	for _, p := range []*browsertest.Page{alice, bob} {
		p.Until(`document.getElementById("people").textContent === "alice, bob (2)"`)
	}

	alice.Type("#text", "hello bob\r")
	bob.Until(lines + `.endsWith("alice: hello bob")`)
	bob.Type("#text", "<img src=x onerror=window.pwned=1>\r") // is what he says, and nothing else
	alice.Until(lines + `.endsWith("bob: <img src=x onerror=window.pwned=1>")`)
	alice.Type("#text", "bye\r")
	bob.Until(lines + `.endsWith("alice: bye")`)
	bob.Until(lines + ` === "alice: hello bob\nmine|<img src=x onerror=window.pwned=1>\nalice: bye"`)

	bob.Do(`location.reload()`)
	alice.Until(`document.getElementById("people").textContent === "alice (1)"`)
	alice.Until(lines + ` === "notice|bob joined\nmine|hello bob\nbob: <img src=x onerror=window.pwned=1>\nmine|bye\nnotice|bob left"`)
	carol.Until(lines + ` === "" && document.getElementById("people").textContent === "carol (1)"`)
	for _, p := range []*browsertest.Page{alice, bob, carol} {
		p.Until(`window.pwned === undefined`)
		if complaints := p.Complaints(); len(complaints) > 0 {
			t.Errorf("the browser complains: %s", strings.Join(complaints, "\n"))
		}
	}

	program.Interrupt() // the node is gone, and the page says so
	alice.Until(`document.getElementById("state").textContent.includes("Trying again")`)
}
