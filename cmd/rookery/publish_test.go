package main_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/rookery-chat/rookery/client"
	"github.com/rookery-chat/rookery/internal/processtest"
)

type receipt struct {
	Epoch     string
	Offset    uint64
	Duplicate *bool
	Reached   *int
}

// receipts reads what publish printed, one a line.
func receipts(t *testing.T, text string) (all []receipt) {
	t.Helper()
	for line := range strings.Lines(text) {
		var r receipt
		if err := json.Unmarshal([]byte(line), &r); err != nil || r.Epoch == "" || r.Duplicate == nil {
			t.Errorf("%q is no receipt: %v", line, err)
		}
		all = append(all, r)
	}
	return all
}

func TestPublish(t *testing.T) {
	t.Parallel()
	binary, addr := processtest.Rookery(t), startNode(t, nil)
	publish := func(input string, env []string, args ...string) []receipt {
		t.Helper()
		con := open(t, binary, addr, env, append([]string{"publish"}, args...)...)
		fmt.Fprint(con.in, input)
		if !con.end() {
			t.Fatalf("%v: %s", args, con.err.String())
		}
		return receipts(t, con.out.String())
	}

	if got := publish("", nil, "--as", "bot", "lobby", `{"text":"hi"}`); len(got) != 1 || got[0].Offset != 1 || got[0].Reached != nil {
		t.Errorf("a room: %+v", got)
	}
	publish("", []string{"ROOKERY_AS=bot"}, "lobby", "just words")
	for _, duplicate := range []bool{false, true} {
		if got := publish("", nil, "--as", "bot", "--key", "k", "lobby", "42"); got[0].Offset != 3 || *got[0].Duplicate != duplicate {
			t.Errorf("with a key: %+v, want offset 3, duplicate %v", got, duplicate)
		}
	}
	for _, duplicate := range []bool{false, true} { // the whole input may be repeated
		got := publish("one\n\n{\"n\":2}\n", nil, "--as", "bot", "--key", "in", "lobby", "-")
		if len(got) != 2 || got[0].Offset != 4 || got[1].Offset != 5 || *got[1].Duplicate != duplicate {
			t.Errorf("from standard input: %+v, want offsets 4 and 5, duplicate %v", got, duplicate)
		}
	}
	if got := publish("", nil, "--as", "bot", "@nobody", "hi"); got[0].Reached == nil || *got[0].Reached != 0 {
		t.Errorf("an inbox: %+v, want it to reach nobody", got)
	}

	c, ctx := startClient(t, addr, "reader")
	if _, err := c.Join(ctx, "lobby", nil); err != nil {
		t.Fatal(err)
	}
	page, err := c.History(ctx, "lobby", &client.HistoryOptions{Limit: 100})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, m := range page.Messages {
		got = append(got, m.From+" "+string(m.Data))
	}
	want := []string{`bot {"text":"hi"}`, `bot "just words"`, `bot 42`, `bot "one"`, `bot {"n":2}`}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("the log holds %q, want %q", got, want)
	}

	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"--as", "bot", "*", "hi"}, "you may not write to everyone"},
		{[]string{"--as", "bot", "two words", "hi"}, "must not contain white space"},
		{[]string{"--as", "", "lobby", "hi"}, "--as NAME or --token JWT"},
		{[]string{"--as", "bot", "--url", "ws://127.0.0.1:1/ws", "--timeout", "300ms", "lobby", "hi"}, "connection refused"},
		{[]string{"--as", "bot", "lobby", strings.Repeat("x", 70_000)}, "too_large"},
		{[]string{"--as", "bot", "lobby"}, "<data>"},
	} {
		con := open(t, binary, addr, nil, append([]string{"publish"}, c.args...)...)
		if con.end() || !strings.Contains(con.err.String(), c.want) || con.out.String() != "" {
			t.Errorf("%.60q: printed %q and %q, want an error with %q", c.args, con.out.String(), con.err.String(), c.want)
		}
	}
}
