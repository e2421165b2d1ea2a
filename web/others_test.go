package web_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/rookery-chat/rookery/internal/browsertest"
	"github.com/rookery-chat/rookery/internal/processtest"
)

// What other programs say is shown sensibly: a back end's numbers and objects, with and without a
// name, to the room, to one user and to everyone; and somebody at /plain.
func TestOtherPrograms(t *testing.T) {
	t.Parallel()
	n := processtest.Serve(t)
	p := open(t, browsertest.Start(t), "http://"+n.Addr+"/")
	p.enter("alice")
	p.Until(`online() === 1`)
	push := func(topic, message string) {
		t.Helper()
		r, err := http.Post("http://"+n.Admin+"/v1/topics/"+topic+"/messages", "application/json", strings.NewReader(message))
		if err != nil {
			t.Fatal(err)
		}
		r.Body.Close()
		if r.StatusCode/100 != 2 {
			t.Fatalf("publish to %s: %s", topic, r.Status)
		}
	}
	push("lobby", `{"data":7,"from":"backend"}`)
	push("lobby", `{"data":{"uid":"x","percent":"88%"}}`)
	push("lobby", `{"data":"nobody said this"}`)
	push("lobby", `{"data":[1,null]}`)
	p.Do(`new Promise((resolve, reject) => {
		const plain = new WebSocket("/plain?as=zoe&topic=lobby");
		plain.onopen = () => { plain.send("in plain text"); setTimeout(resolve, 100); };
		plain.onerror = reject;
	})`)
	p.Until(`shown(".message").join("|") === 'backend: 7|: {"uid":"x","percent":"88%"}|: nobody said this|: [1,null]|zoe: in plain text'`)
	p.Until(`line(2).querySelector(".from").textContent === "the server"`)

	p.Do(`window.kept = document.querySelector('#rooms button[data-name="lobby"]')`)
	push("@alice", `{"data":{"text":"your order is ready"}}`)
	push("@alice", `{"data":"from the shop","from":"shop"}`)
	push("*", `{"data":"maintenance at noon"}`)
	p.Until(`count("@") === 1 && count("@shop") === 1 && count("*") === 1`)
	p.Until(`kept.isConnected`) // the list has changed, and who was about to click on it still can
	p.Click(`#directs button[data-name="@"]`)
	p.Until(`shown(".message").join() === ": your order is ready" && text("title") === "The server" && document.getElementById("say").hidden`)
	p.Click(`#rooms button[data-name="*"]`)
	p.Until(`shown(".message").join() === ": maintenance at noon" && text("title") === "Everyone"`)
	p.Until(`count("@") === 0 && count("*") === 0 && count("@shop") === 1`)
	p.quiet()
}
