package web_test

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/rookery-chat/rookery/internal/browsertest"
	"github.com/rookery-chat/rookery/internal/processtest"
)

// corpus are strings that have run as a script in some page somewhere: markup, addresses, templates,
// ways out of quotes, and what tricks the eye. Each would set window.pwned.
var corpus = []string{
	`<script>window.pwned=1</script>`,
	`<ScRiPt>window.pwned=1</sCrIpT>`,
	`"><script>window.pwned=1</script>`,
	`'><script>window.pwned=1</script>`,
	`</title><script>window.pwned=1</script>`,
	`</textarea><script>window.pwned=1</script>`,
	`</style><script>window.pwned=1</script>`,
	`--><script>window.pwned=1</script>`,
	`]]><script>window.pwned=1</script>`,
	`<script/src=data:,window.pwned=1></script>`,
	`<img/src/onerror=window.pwned=1>`,
	`<img/src="x"/onerror="window.pwned=1"//`,
	`"/onmouseover="window.pwned=1`,
	`'/onfocus='window.pwned=1'/autofocus='`,
	`<svg/onload=window.pwned=1>`,
	`<svg><script>window.pwned=1</script></svg>`,
	`<svg><animate/onbegin=window.pwned=1/attributeName=x></svg>`,
	`<math><mtext></mtext><mglyph><svg><mtext></mtext><style><img/src/onerror=window.pwned=1>`,
	`<iframe/src=javascript:window.parent.pwned=1>`,
	`<iframe/srcdoc="<script>parent.pwned=1</script>">`,
	`<object/data=javascript:window.pwned=1>`,
	`<embed/src=javascript:window.pwned=1>`,
	`<a/href=javascript:window.pwned=1>x</a>`,
	`<a/href="java&#9;script:window.pwned=1">x</a>`,
	`<form/action=javascript:window.pwned=1><button>x`,
	`<button/formaction=javascript:window.pwned=1>x`,
	`<input/autofocus/onfocus=window.pwned=1>`,
	`<details/open/ontoggle=window.pwned=1>`,
	`<video><source/onerror=window.pwned=1>`,
	`<body/onload=window.pwned=1>`,
	`<base/href=javascript:window.pwned=1//>`,
	`<meta/http-equiv=refresh/content=0;url=javascript:window.pwned=1>`,
	`<link/rel=stylesheet/href=data:text/css,*{display:none}>`,
	`<template><script>window.pwned=1</script></template>`,
	`<noscript><p/title="</noscript><img/src/onerror=window.pwned=1>">`,
	`javascript:window.pwned=1`,
	`JaVaScRiPt://x/%0awindow.pwned=1`,
	`data:text/html,<script>window.pwned=1</script>`,
	`https://x.example/"onclick="window.pwned=1`,
	`https://x.example/<script>window.pwned=1</script>`,
	"`<img/src/onerror=window.pwned=1>`",
	"```<img/src/onerror=window.pwned=1>```",
	`${window.pwned=1}`,
	"constructor.constructor('window.pwned=1')()",
	`&lt;script&gt;window.pwned=1&lt;/script&gt;`,
	"\u202e>tpircs/<1=denwp.wodniw>tpircs<",
	`__proto__`,
}

// None of it runs, as a name, a room, a text, a reply, an edit, a reaction, a file's name, type
// and address, a signal, a direct message; and the policy had nothing to hold back.
func TestInjections(t *testing.T) {
	t.Parallel()
	if len(corpus) < 40 {
		t.Fatalf("only %d strings", len(corpus))
	}
	n := processtest.Serve(t)
	browser := browsertest.Start(t)
	alice, bob := open(t, browser, "http://"+n.Addr+"/"), open(t, browser, "http://"+n.Addr+"/")
	alice.enter("alice")
	alice.Until(`online() === 1`)
	args, err := json.Marshal(corpus)
	if err != nil {
		t.Fatal(err)
	}
	bob.Do(fmt.Sprintf(`(async (corpus) => {
		const { connect } = await import("/rookery.js");
		const name = (s) => s.replace(/[\s{}*]/g, "").slice(0, 40);
		window.people = [];
		for (const s of corpus) {
			const client = connect("/ws", { user: name(s) });
			people.push(client);
			await client.join("lobby", { presence: true });
			const { offset } = await client.publish("lobby", s);
			client.signal("lobby", { typing: true, text: s });
			const emoji = name(s).slice(0, 16);
			const gif = "data:image/gif;base64,R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7";
			const all = [
				{ text: s }, { [s]: s, html: s }, [s],
				{ kind: "reply", of: offset, text: s },
				{ kind: "edit", of: offset, text: s + s },
				{ kind: "reaction", of: offset, emoji },
				{ kind: s, of: s },
				{ text: s, file: { name: s, url: "data:text/html;base64,PHNjcmlwdD53aW5kb3cucHduZWQ9MTwvc2NyaXB0Pg==" } },
				{ text: s, file: { name: s, url: gif, width: 1, height: 1 } },
				{ text: s, file: { name: s, url: "data:image/svg+xml;base64,PHN2ZyB4bWxucz0iaHR0cDovL3d3dy53My5vcmcvMjAwMC9zdmciIG9ubG9hZD0id2luZG93LnB3bmVkPTEiLz4=" } },
				{ text: s, file: { name: s, url: s } },
			];
			for (const data of all) await client.publish("lobby", data);
			await client.publish("@alice", { text: s, id: "x", file: { name: s, url: gif } });
			await client.publish("@alice", { kind: "reaction", of: "x", by: name(s), emoji });
			await client.read("lobby", 1e6);
		}
		await people[0].publish("lobby", "the end");
	})(%s)`, args))
	alice.Until(`log().includes("the end")`)
	harmless := func() {
		t.Helper()
		alice.Until(`window.pwned === undefined`)
		alice.Until(`document.querySelectorAll("script, svg, iframe, object, embed, base, template, form, style, video, math, body, template").length ===
			document.querySelectorAll("head > script, body, #door, #go, #say, dialog > form").length`)
		alice.Until(`Array.from(document.querySelectorAll("a")).every((a) => /^https?:$/.test(a.protocol))`)
		alice.Until(`Array.from(document.querySelectorAll("main img")).every((i) => i.src.startsWith("data:image/gif;"))`)
		alice.Until(`Array.from(document.querySelectorAll("*")).every((e) => Array.from(e.attributes).every((a) => !a.name.startsWith("on")))`)
	}
	harmless()
	alice.Do(`(async () => {
		// All of it is looked at: up to the first message, every picture and every list.
		const log = document.getElementById("log");
		for (let i = 0; i < 400 && !line(1); i++) { log.scrollTop -= 3000; await new Promise(requestAnimationFrame); }
		if (!line(1)) throw new Error("the first message is not there");
		document.getElementById("online").click();
	})()`)
	harmless()
	alice.Click("#log .file")
	for _, room := range corpus[10:15] {
		alice.Do(fmt.Sprintf(`location.hash = %q`, room))
		alice.Until(fmt.Sprintf(`text("title") === %q`, room))
		harmless()
	}
	alice.Click("#directs button")
	alice.Until(`shown(".message").length > 0`)
	harmless()
	alice.quiet()
	bob.Do(`Promise.all(people.map((p) => p.close()))`)
	alice.control()
}
