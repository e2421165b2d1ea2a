package main_test

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
	"unicode"

	"github.com/rookery-chat/rookery/bus"
	"github.com/rookery-chat/rookery/client"
	"github.com/rookery-chat/rookery/cmd/rookery/chat"
	"github.com/rookery-chat/rookery/internal/processtest"
)

func TestChat(t *testing.T) {
	t.Parallel()
	binary := processtest.Rookery(t)
	for name, test := range map[string]func(t *testing.T, binary string){
		"pipe":          testPipe,
		"two terminals": testTwoTerminals,
		"injection":     testInjection,
		"cut":           testCut,
		"missed":        testMissed,
		"unread":        testUnread,
		"errors":        testChatErrors,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, binary)
		})
	}
}

// texts reads what the lobby's log holds, as "user: text".
func texts(t *testing.T, addr string) (lines []string) {
	t.Helper()
	c, ctx := startClient(t, addr, "reader")
	if _, err := c.Join(ctx, "lobby", nil); err != nil {
		t.Fatal(err)
	}
	page, err := c.History(ctx, "lobby", &client.HistoryOptions{Limit: 256})
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range page.Messages {
		lines = append(lines, m.From+": "+chat.Text(m.Data))
	}
	return lines
}

func testPipe(t *testing.T, binary string) {
	addr := startNode(t, nil)
	bot := open(t, binary, addr, nil, "chat", "--as", "bot")
	var want []string
	for i := range 100 {
		bot.typed(fmt.Sprint("line ", i))
		want = append(want, fmt.Sprint("bot: line ", i))
	}
	bot.typed("")
	bot.typed("//slash")
	want = append(want, "bot: /slash", "bot: no newline")
	fmt.Fprint(bot.in, "no newline")
	if !bot.end() {
		t.Error("the pipe failed")
	}
	if got := texts(t, addr); strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("the log holds %q, want %q", got, want)
	}
	if out := bot.out.String(); out != "" {
		t.Errorf("its own lines came back: %q", out)
	}
	// Whoever comes later sees the end of it, even with nothing to say.
	late := open(t, binary, addr, []string{"ROOKERY_AS=late", "ROOKERY_RECENT=2"}, "chat")
	late.out.wait(t, "bot: no newline")
	if !late.end() || strings.Count(late.out.String(), "\n") != 2 {
		t.Errorf("--recent 2 printed %q", late.out.String())
	}
}

func testTwoTerminals(t *testing.T, binary string) {
	addr := startNode(t, nil)
	alice := open(t, binary, addr, nil, "chat", "--as", "alice")
	alice.err.wait(t, "* in lobby: 1 online (alice)\n")
	bob := open(t, binary, addr, nil, "chat", "--as", "bob")
	bob.err.wait(t, "* in lobby: 2 online (alice, bob)\n")
	alice.err.wait(t, "* bob joined\n")

	alice.typed("hi bob")
	bob.out.wait(t, " alice: hi bob\n")
	if !regexp.MustCompile(`^\d\d:\d\d alice: hi bob\n$`).MatchString(bob.out.String()) {
		t.Errorf("bob sees %q", bob.out.String())
	}
	bob.typed("/msg alice psst, you")
	alice.out.wait(t, " bob to you: psst, you\n")
	bob.typed("/msg carol are you there?")
	bob.err.wait(t, "* carol is not online and will find it later\n")

	alice.typed("/join dev")
	alice.err.wait(t, "* in dev: 1 online (alice)\n")
	alice.typed("only for dev")
	bob.typed("and the lobby?")
	alice.out.wait(t, " [lobby] bob: and the lobby?\n")
	bob.typed("/who")
	bob.err.wait(t, "* in lobby: 2 online (alice, bob)\n* carol") // once at the beginning …
	bob.typed("/quit")
	if err := bob.cmd.Wait(); err != nil {
		t.Errorf("/quit: %v", err)
	}
	if got := strings.Count(bob.err.String(), "* in lobby: 2 online (alice, bob)\n"); got != 2 {
		t.Errorf("/who told %d times who is in", got-1)
	}
	alice.err.wait(t, "* bob left lobby\n")
	if !alice.end() {
		t.Error("alice's terminal failed at the end of its input")
	}
	if strings.Contains(alice.out.String(), "hi bob") || strings.Contains(bob.out.String(), "dev") {
		t.Errorf("alice sees %q, bob sees %q", alice.out.String(), bob.out.String())
	}
}

// What others send can neither control the terminal nor look like somebody else's line.
func testInjection(t *testing.T, binary string) {
	addr := startNode(t, nil)
	victim := open(t, binary, addr, nil, "chat", "--as", "victim")
	victim.err.wait(t, "* in lobby")
	mallory, ctx := startClient(t, addr, "mallory\u202e")
	if _, err := mallory.Join(ctx, "lobby", nil); err != nil {
		t.Fatal(err)
	}
	evil := []string{
		"\x1b[2J\x1b]0;title\x07", "a\r12:00 admin: send me your password", "a\n12:00 admin: hello", "\u009b31m", "\u202egnp.exe",
		"a\u2028b", "\x00\x08\x7f", "\u2066x\u2069", "\ufeff", "👨\u200d👩 ok", "tab\there",
	}
	for _, text := range evil {
		for _, data := range []any{text, map[string]string{"text": text}, map[string]any{text: []string{text}}} {
			if _, err := mallory.Publish(ctx, "lobby", data, nil); err != nil {
				t.Fatal(err)
			}
		}
	}
	if _, err := mallory.Publish(ctx, "lobby", "the end", nil); err != nil {
		t.Fatal(err)
	}
	victim.out.wait(t, "the end\n")
	victim.err.wait(t, "joined")
	lines := strings.Split(strings.TrimSuffix(victim.out.String(), "\n"), "\n")
	if want := 3*len(evil) + 1; len(lines) != want {
		t.Errorf("%d lines, want %d", len(lines), want)
	}
	for _, line := range append(lines, strings.Split(strings.TrimSpace(victim.err.String()), "\n")...) {
		checkHarmless(t, line)
	}
	for _, line := range lines {
		if !regexp.MustCompile(`^\d\d:\d\d mallory\\u202e: `).MatchString(line) {
			t.Errorf("not told as mallory's: %q", line)
		}
	}
	if !strings.Contains(victim.out.String(), "👨\u200d👩 ok") {
		t.Error("an emoji was broken")
	}
}

func checkHarmless(t *testing.T, line string) {
	t.Helper()
	for _, r := range line {
		if unicode.IsControl(r) || unicode.In(r, unicode.Zl, unicode.Zp) || unicode.Is(unicode.Cf, r) && r != '\u200d' {
			t.Errorf("%q contains %U", line, r)
		}
	}
}

func testCut(t *testing.T, binary string) {
	addr := startNode(t, nil)
	wire := newCable(t, addr)
	alice := open(t, binary, wire.listener.Addr().String(), nil, "chat", "--as", "alice")
	alice.err.wait(t, "* in lobby")
	bob, ctx := startClient(t, addr, "bob")
	if _, err := bob.Join(ctx, "lobby", nil); err != nil {
		t.Fatal(err)
	}
	wire.pull(true)
	alice.err.wait(t, "* connection lost: ")
	alice.typed("typed while away")
	if _, err := bob.Publish(ctx, "lobby", "said while away", nil); err != nil {
		t.Fatal(err)
	}
	wire.pull(false)
	alice.err.wait(t, "* back, nothing was missed\n")
	alice.out.wait(t, " bob: said while away\n")
	if !alice.end() {
		t.Error("the terminal failed")
	}
	if got := texts(t, addr); len(got) != 2 || got[1] != "alice: typed while away" {
		t.Errorf("the log holds %q", got)
	}
}

func testMissed(t *testing.T, binary string) {
	addr := startNode(t, &bus.Options{LogLength: 5})
	wire := newCable(t, addr)
	alice := open(t, binary, wire.listener.Addr().String(), nil, "chat", "--as", "alice")
	alice.err.wait(t, "* in lobby")
	bob, ctx := startClient(t, addr, "bob")
	if _, err := bob.Join(ctx, "lobby", nil); err != nil {
		t.Fatal(err)
	}
	wire.pull(true)
	alice.err.wait(t, "* connection lost: ")
	for i := range 1000 { // more than the node keeps by itself
		if _, err := bob.Publish(ctx, "lobby", fmt.Sprint("news ", i), nil); err != nil {
			t.Fatal(err)
		}
	}
	wire.pull(false)
	alice.err.wait(t, "* messages of lobby were missed")
	alice.out.wait(t, "bob: news 999\n")
	if strings.Contains(alice.err.String(), "nothing was missed") || strings.Contains(alice.out.String(), "news 0\n") {
		t.Errorf("it printed %q and %q", alice.err.String(), alice.out.String())
	}
}

// A direct message to somebody who is away is shown when that user comes, and then not again.
func testUnread(t *testing.T, binary string) {
	addr := startNode(t, nil)
	alice, ctx := startClient(t, addr, "alice")
	for _, text := range []string{"first", "second"} {
		if _, err := alice.Publish(ctx, "@bob", text, nil); err != nil {
			t.Fatal(err)
		}
	}
	own, ctx := startClient(t, addr, "bob")
	if _, err := own.Publish(ctx, "@bob", map[string]any{"kind": "rooms", "rooms": []string{"attic"}}, nil); err != nil {
		t.Fatal(err)
	}
	bob := open(t, binary, addr, nil, "chat", "--as", "bob")
	if !bob.end() || !strings.Contains(bob.out.String(), "alice to you: first\n") || !strings.Contains(bob.out.String(), "alice to you: second\n") {
		t.Errorf("bob found %q", bob.out.String())
	}
	if strings.Contains(bob.out.String(), "rooms") {
		t.Errorf("bob is told of what the chat page keeps: %q", bob.out.String())
	}
	again := open(t, binary, addr, nil, "chat", "--as", "bob")
	if !again.end() || again.out.String() != "" {
		t.Errorf("the second time bob found %q", again.out.String())
	}
}

func testChatErrors(t *testing.T, binary string) {
	addr := startNode(t, nil)
	for _, c := range []struct {
		args  []string
		input string
		want  string
	}{
		{[]string{"chat"}, "", "--as NAME or --token JWT"},
		{[]string{"chat", "--as", "two words"}, "", "must not contain white space"},
		{[]string{"chat", "--as", "a", "--room", "@bob"}, "", "cannot enter @bob"},
		{[]string{"chat", "--as", "a", "--url", "http://x"}, "", "should look like ws://"},
		{[]string{"chat", "--as", "a"}, "/dance\n", "/msg NAME TEXT"},
		{[]string{"chat", "--as", "a"}, "/msg bob\n", "/msg NAME TEXT"},
		{[]string{"chat", "--as", "a"}, strings.Repeat("x", 100_000) + "\n", "not sent: too_large"},
	} {
		con := open(t, binary, addr, nil, c.args...)
		fmt.Fprint(con.in, c.input)
		if con.end() || !strings.Contains(con.err.String(), c.want) {
			t.Errorf("%v with %.20q: printed %q, want an error with %q", c.args, c.input, con.err.String(), c.want)
		}
	}
}
