package web_test

import (
	"testing"

	"github.com/rookery-chat/rookery/internal/browsertest"
	"github.com/rookery-chat/rookery/internal/processtest"
)

// The browser's buttons go back and forward over the conversations, each with its draft; a room that was
// left is passed over, and not entered again.
func TestBackAndForward(t *testing.T) {
	t.Parallel()
	n := processtest.Serve(t)
	p := open(t, browsertest.Start(t), "http://"+n.Addr+"/")
	p.enter("alice")
	p.Type("#text", "half a thought")
	p.to("attic")
	p.to("cellar")
	p.to("@bob")
	at := func(title string) {
		t.Helper()
		p.Until(`text("title") === "` + title + `"`)
	}
	p.Do(`history.back()`)
	at("cellar")
	p.Do(`history.back()`)
	at("attic")
	p.Do(`history.forward()`)
	at("cellar")
	p.Do(`history.go(-2)`)
	at("lobby")
	p.Until(`document.getElementById("text").value === "half a thought"`)
	p.to("attic")
	p.to("cellar")
	p.to("attic")
	p.Click("#leave")
	at("cellar")
	p.Do(`history.go(-2)`) // the attic, from before
	at("lobby")
	p.Until(`Array.from(document.querySelectorAll("#rooms button"), (b) => b.dataset.name).join() === "cellar,lobby"`)
	p.quiet()
}
