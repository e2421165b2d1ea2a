package chat_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/x/ansi"

	"github.com/rookery-chat/rookery/client"
	"github.com/rookery-chat/rookery/cmd/rookery/chat"
	"github.com/rookery-chat/rookery/wire"
)

// A desk is a screen without a terminal: what happens goes in, what would be seen comes out.
type desk struct {
	t      *testing.T
	model  tea.Model
	asked  []string // what the model wanted of the cluster since the test looked
	full   bool     // no more requests are taken
	now    time.Time
	people map[string][]string // who is in a room
	quit   bool
}

// newDesk is alice's, who is connected and in the lobby, where nobody said anything yet.
func newDesk(t *testing.T) *desk {
	d := &desk{t: t, now: time.Now(), people: map[string][]string{"lobby": {"alice", "bob"}}}
	d.model = chat.NewModel(chat.Options{Room: "lobby", Recent: 5}, func(r string) bool {
		if !d.full {
			d.asked = append(d.asked, r)
		}
		return !d.full
	}, func(room string) (wire.Roster, bool) {
		members, ok := d.people[room]
		return wire.Roster{Online: len(members), Members: members}, ok
	})
	d.hears(tea.WindowSizeMsg{Width: 110, Height: 12})
	d.connects("n1", nil)
	d.hears(chat.Joined("lobby", wire.Joined{Recovered: true}, nil))
	d.asks("join {room:lobby recent:5}")
	return d
}

func (d *desk) hears(msg tea.Msg) {
	_, cmd := d.model.Update(msg)
	if cmd != nil {
		if _, quits := cmd().(tea.QuitMsg); quits {
			d.quit = true
		}
	}
}

func (d *desk) happens(e client.Event) { d.hears(chat.Event(e, d.now)) }

func (d *desk) passes(length time.Duration) {
	d.now = d.now.Add(length)
	d.hears(chat.Tick(d.now))
}

func (d *desk) connects(node string, topics map[string]wire.Joined) {
	d.happens(&client.Connected{Node: node, User: "alice", Topics: topics})
}

func (d *desk) says(topic string, offset uint64, from, text string) {
	d.happens(said(topic, offset, from, text))
}

func said(topic string, offset uint64, from, text string) *wire.Message {
	data, _ := json.Marshal(text)
	return &wire.Message{Topic: topic, Offset: offset, From: from, Time: time.Now().UnixMilli(), Data: data}
}

// types presses the keys of a line, and enter.
func (d *desk) types(line string) {
	for _, r := range line {
		d.hears(tea.KeyPressMsg{Code: r, Text: string(r)})
	}
	d.presses(tea.KeyEnter, 0)
}

func (d *desk) presses(key rune, mod tea.KeyMod) {
	d.hears(tea.KeyPressMsg{Code: key, Mod: mod})
}

// screen is what would be seen, without colours.
func (d *desk) screen() string { return ansi.Strip(d.model.View().Content) }

func (d *desk) sees(texts ...string) {
	d.t.Helper()
	for _, text := range texts {
		if !strings.Contains(d.screen(), text) {
			d.t.Errorf("%q is not seen on\n%s", text, d.screen())
		}
	}
}

func (d *desk) seesNo(texts ...string) {
	d.t.Helper()
	for _, text := range texts {
		if strings.Contains(d.screen(), text) {
			d.t.Errorf("%q is seen on\n%s", text, d.screen())
		}
	}
}

// asks checks what was wanted of the cluster since it was checked.
func (d *desk) asks(want ...string) {
	d.t.Helper()
	if !slices.Equal(d.asked, want) {
		d.t.Errorf("the cluster was asked for %q, want %q", d.asked, want)
	}
	d.asked = nil
}

func TestScreenLooks(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.hears(tea.WindowSizeMsg{Width: 80, Height: 10})
	d.says("lobby", 1, "bob", "a message that is longer than the row and goes on in the next")
	d.says("dev", 7, "bob", "elsewhere")
	d.happens(&wire.Presence{Topic: "lobby", Online: 3, Joined: []string{"carol"}})
	d.types("hi")
	got := strings.Split(regexp.MustCompile(`\d\d:\d\d`).ReplaceAllString(d.screen(), "12:00"), "\n")
	for i := range got {
		got[i] = strings.TrimRight(got[i], " ")
	}
	want := []string{
		"rooms             │lobby · 2 online                          │people",
		"  dev (1)         │                                          │alice",
		"> lobby           │                                          │bob",
		"                  │nothing is before this                    │",
		"                  │12:00 bob: a message that is longer than  │",
		"                  │      the row and goes on in the next     │",
		"                  │    * carol joined                        │",
		"                  │  ... alice: hi                           │",
		"alice on node n1",
		">",
	}
	if !slices.Equal(got, want) {
		t.Errorf("it looks like\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestUnreadCounts(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.types("/join dev")
	d.asks("join {room:dev recent:5}")
	d.hears(chat.Joined("dev", wire.Joined{Position: wire.Position{Epoch: "e", Offset: 3}, After: 3, Read: 3, Recovered: true}, nil))
	d.says("lobby", 1, "bob", "one")
	d.says("lobby", 2, "alice", "mine, from another device")
	d.says("lobby", 3, "bob", "two")
	d.sees("  lobby (2)", "> dev ")
	d.passes(time.Second)
	d.asks() // nothing was read

	d.presses(tea.KeyTab, 0)
	d.sees("> lobby ", "bob: one")
	d.seesNo("(2)")
	d.passes(time.Second)
	d.asks("markRead {topic:lobby offset:3}")
	d.passes(time.Second)
	d.asks() // it was told

	d.says("dev", 4, "bob", "three")
	d.sees("  dev (1)")
	d.happens(&wire.Read{Topic: "dev", From: "bob", Offset: 4})
	d.sees("  dev (1)")
	d.happens(&wire.Read{Topic: "dev", From: "alice", Offset: 4}) // on another device
	d.seesNo("(1)")
}

func TestDirectTalks(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.says("@alice", 1, "bob", "psst")
	d.says("@alice", 2, "", "88 %")
	d.says("*", 1, "", "maintenance at noon")
	d.happens(&wire.Message{Topic: "@alice", Offset: 3, From: "alice", To: "carol", Data: json.RawMessage(`"from my phone"`)})
	d.sees("  @bob (1)", "  (server) (1)", "  (everyone) (1)", "  @carol ")
	d.types("/msg carol")
	d.sees("> @carol ", "alice: from my phone")
	d.passes(time.Second)
	d.asks() // the inbox is read only up to the first unread message
	d.types("/msg bob hi")
	d.asks("publish {id:1 topic:@bob text:hi}")
	d.sees("bob: psst", "... alice: hi")
	d.passes(time.Second)
	d.asks("markRead {topic:@alice offset:1}")
	nobody := 0
	d.hears(chat.Published(1, "@bob", "hi", wire.Published{Reached: &nobody}, nil))
	d.sees("* bob is not online and will find it later", " alice: hi")
	d.seesNo("... ")
	d.happens(&wire.Message{Topic: "@alice", Offset: 4, From: "alice", To: "bob", Data: json.RawMessage(`{"text":"hi"}`)})
	if n := strings.Count(d.screen(), "alice: hi"); n != 1 {
		t.Errorf("the message is seen %d times:\n%s", n, d.screen())
	}
	d.types("/leave")
	d.seesNo("@bob")

	// What the chat page keeps in its user's inbox is no talk; whoever says the same to alice has said it.
	d.happens(&wire.Message{Topic: "@alice", Offset: 5, From: "alice", Data: json.RawMessage(`{"kind":"rooms","rooms":["attic"]}`)})
	d.happens(&wire.Message{Topic: "@alice", Offset: 6, From: "alice", Data: json.RawMessage(`{"kind":"mark","with":"bob","offset":4}`)})
	d.seesNo("@alice")
	d.says("@alice", 7, "mallory", "hello")
	d.happens(&wire.Message{Topic: "@alice", Offset: 8, From: "mallory", Data: json.RawMessage(`{"kind":"mark","with":"bob","offset":4}`)})
	d.sees("@mallory (2)")
}

// A line that is typed is seen at once, and once, whichever comes first: its answer or the
// message itself, which a back end may have rewritten.
func TestPendingLines(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"hi", "hi, said a back end"} {
		for _, answerFirst := range []bool{true, false} {
			d := newDesk(t)
			d.types("hi")
			d.asks("publish {id:1 topic:lobby text:hi}")
			d.sees("... alice: hi")
			steps := []func(){
				func() { d.says("lobby", 1, "alice", text) },
				func() {
					d.hears(chat.Published(1, "lobby", "hi", wire.Published{Position: wire.Position{Offset: 1}}, nil))
				},
			}
			if answerFirst {
				slices.Reverse(steps)
				steps[0]()
				d.sees(" alice: hi ")
				d.seesNo("...")
				steps = steps[1:]
			}
			for _, step := range steps {
				step()
			}
			if n := strings.Count(d.screen(), "alice: "); n != 1 || len(chat.Unsent(d.model)) > 0 {
				t.Errorf("%q, answer first: %v: it is seen %d times\n%s", text, answerFirst, n, d.screen())
			}
			d.sees("alice: " + text)
			d.seesNo("...")
		}
	}

	d := newDesk(t)
	d.types("hi")
	d.hears(chat.Published(1, "lobby", "hi", wire.Published{}, &wire.Error{Code: wire.Forbidden, Message: "you are muted"}))
	d.sees(`* not sent: "hi": `, "you are muted")
	d.seesNo("... ")
	d.full = true
	d.types("more")
	d.sees("* not sent: too many lines are waiting")
	if got := chat.Unsent(d.model); len(got) > 0 {
		t.Errorf("it waits for %q to be sent", got)
	}
}

func TestStatusLine(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	lost := &client.Disconnected{Err: errors.New("EOF\x1b[2J"), Delay: 3 * time.Second}
	d.happens(lost)
	d.sees(`connection lost: EOF\x1b[2J; trying again in 3 s`)
	d.passes(2 * time.Second)
	d.sees("trying again in 1 s")
	d.connects("n2", map[string]wire.Joined{"lobby": {Recovered: true}})
	d.sees("alice on node n2 · back after 2s: nothing was missed")

	d.happens(lost)
	d.seesNo("nothing was missed", "node n2")
	d.connects("n3", map[string]wire.Joined{"lobby": {Recovered: false}})
	d.seesNo("nothing was missed")
	d.happens(&wire.Reset{Topic: "lobby", Position: wire.Position{Epoch: "f", Offset: 9}, After: 5, Reason: "trimmed"})
	d.sees("node n3 · back after 0s; messages of lobby were missed", "--- messages are missing here")

	d.happens(lost)
	d.connects("n4", map[string]wire.Joined{"lobby": {Err: &wire.Error{Code: wire.Unavailable, Retry: true}}})
	d.seesNo("nothing was missed") // nobody knows yet
}

func TestScrollback(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.types("/join dev")
	d.asked = nil
	d.hears(chat.Joined("dev", wire.Joined{Position: wire.Position{Epoch: "e", Offset: 20}, After: 18, Recovered: true}, nil))
	d.says("dev", 19, "bob", "line 19")
	d.says("dev", 20, "bob", "line 20")
	d.sees("page up for older messages")
	d.presses(tea.KeyPgUp, 0)
	d.asks("history {topic:dev before:19 limit:50}")
	d.sees("loading older messages")
	d.presses(tea.KeyPgUp, 0)
	d.asks() // once is enough
	d.hears(chat.Page("dev", 19, wire.History{}, errors.New("unavailable")))
	d.sees("cannot read what was before: unavailable")
	d.presses(tea.KeyPgUp, 0)
	d.asks("history {topic:dev before:19 limit:50}")
	var older []wire.Message
	for i := range 18 {
		older = append(older, *said("dev", uint64(i+1), "bob", fmt.Sprintf("line %d.", i+1)))
	}
	d.hears(chat.Page("dev", 19, wire.History{Messages: older}, nil))
	d.seesNo("line 20")
	d.sees("line 10.")
	before := d.screen()
	for i := range 5 {
		d.says("dev", uint64(21+i), "bob", "news")
	}
	if after := d.screen(); !strings.Contains(after, "5 new below") || strings.Count(after, "line 1") != strings.Count(before, "line 1") {
		t.Errorf("news moved what is read from\n%s\nto\n%s", before, after)
	}
	for range 5 {
		d.presses(tea.KeyPgUp, 0)
	}
	d.sees("nothing is before this", "line 1.")
	d.asks()
	d.types("typing goes to the newest")
	d.sees("news", "... alice: typing goes to the newest")
}

// A talk that goes on for ever does not grow for ever, and what was dropped can be had again.
func TestBounded(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	for i := range 3 * chat.Most {
		d.says("lobby", uint64(i+1), "bob", "line")
	}
	kept := chat.Kept(d.model, "lobby")
	if kept > 2*chat.Most {
		t.Fatalf("%d lines are kept", kept)
	}
	d.asked = nil
	for range kept / 5 { // a page has some rows more
		d.presses(tea.KeyPgUp, 0)
	}
	d.asks(fmt.Sprintf("history {topic:lobby before:%d limit:50}", 3*chat.Most-kept+1))
}

func TestCommandsAndKeys(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.hears(tea.WindowSizeMsg{Width: 100, Height: 40})
	d.types("/help")
	d.sees("/join ROOM", "/leave", "/msg NAME [TEXT]", "/who", "/quit", "PgUp, PgDn", "Ctrl+C")
	d.types("/dance")
	d.sees("* no such command")
	d.types("//slash")
	d.asks("publish {id:1 topic:lobby text:/slash}")
	d.types("/who")
	d.asks("who {room:lobby}")
	d.types("/join @bob")
	d.sees("cannot enter @bob: it is no room")
	d.types("/join two words")
	d.sees("cannot enter two words: ")
	d.types("/join secret")
	d.asks("join {room:secret recent:5}")
	d.hears(chat.Joined("secret", wire.Joined{}, &wire.Error{Code: wire.Forbidden, Message: "no"}))
	d.sees("> lobby", "cannot enter secret: ")
	d.types("/leave")
	d.asks("leave {room:lobby}")
	d.hears(chat.Left("lobby", nil))
	d.sees("You are in no room")
	d.types("hello?")
	d.sees("not sent: you are in no room")
	d.asks()

	d.presses(tea.KeyUp, 0)
	d.presses(tea.KeyUp, 0)
	d.sees("> /leave")
	d.presses(tea.KeyDown, 0)
	d.sees("> hello?")
	d.presses('a', tea.ModCtrl)
	d.hears(tea.PasteMsg{Content: "pasted\nin front, "})
	d.sees("> pasted in front, hello?")
	d.presses('d', tea.ModCtrl)
	if d.quit {
		t.Error("^D left with a line half typed")
	}
	d.presses('c', tea.ModCtrl)
	if !d.quit {
		t.Error("^C does not leave")
	}
}

// Whoever leaves with lines on the way is told, and leaves once they are sent.
func TestLeaving(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.types("last words")
	d.presses('c', tea.ModCtrl)
	d.sees("* lines not sent yet: 1")
	if d.quit {
		t.Fatal("it left before its line was sent")
	}
	d.hears(chat.Published(1, "lobby", "last words", wire.Published{Position: wire.Position{Offset: 1}}, nil))
	if !d.quit {
		t.Error("it did not leave")
	}
}

// Taken out of a room, the user is told why; what waits there cannot stop the program.
func TestTakenOut(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.happens(&client.Left{Topic: "lobby", Err: &wire.Error{Code: wire.Forbidden, Message: "you are banned"}})
	d.sees("* out of lobby: you are banned")
	d.types("/leave")
	d.asks()
	d.sees("You are in no room")
}

func TestEverySize(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	for i := range 30 {
		d.says("lobby", uint64(i+1), "bob", strings.Repeat("wörd 漢字 👩‍👩‍👧 ", i))
		d.says(fmt.Sprint("room", i), 1, "bob", "hi")
	}
	d.types("a line that waits")
	for range 2 { // at the newest message, and scrolled back
		for width := range 100 {
			if width > 20 && width%7 > 0 {
				continue
			}
			for height := range 8 {
				d.hears(tea.WindowSizeMsg{Width: width, Height: height})
				rows := strings.Split(d.screen(), "\n")
				if width > 0 && height > 0 && len(rows) != height {
					t.Fatalf("%dx%d: %d rows", width, height, len(rows))
				}
				for _, row := range rows {
					if w := ansi.StringWidth(row); w > width {
						t.Fatalf("%dx%d: a row is %d wide: %q", width, height, w, row)
					}
				}
			}
		}
		d.hears(tea.WindowSizeMsg{Width: 80, Height: 10})
		d.presses(tea.KeyPgUp, 0)
	}
}

// Whatever others write, and whatever they call themselves, the view has no control
// sequences but its own styles, and no rows but its own.
func FuzzView(f *testing.F) {
	for _, evil := range []string{
		"\x1b[2J\x1b]0;title\x07", "a\r12:00 admin: hi", "a\nb\tc", "\u009b31m", "\u202egnp.exe", "a\u2028b", "\x00\x08\x7f", "\u2066x", "e\u0301 👨\u200d👩", "\xff\x9b2J",
		"\x1b[31mred\x1b[m", "\x1bPq\x1b\\", "│", "ä", strings.Repeat("x", 500),
	} {
		f.Add(evil)
	}
	style := regexp.MustCompile(`\x1b\[[0-9;:]*m`)
	f.Fuzz(func(t *testing.T, evil string) {
		d := newDesk(t)
		d.people["lobby"] = []string{evil}
		d.says("lobby", 1, evil, evil)
		d.says(evil, 1, evil, evil)
		d.says("@alice", 1, evil, evil)
		d.happens(&wire.Presence{Topic: "lobby", Online: 2, Joined: []string{evil}})
		d.happens(&client.Left{Topic: "lobby", Err: &wire.Error{Message: evil}})
		d.happens(&wire.Error{Message: evil})
		d.hears(chat.Published(1, "lobby", evil, wire.Published{}, errors.New(evil)))
		check := func() {
			rows := strings.Split(d.model.View().Content, "\n")
			if len(rows) != 12 {
				t.Errorf("%d rows", len(rows))
			}
			for _, row := range rows {
				checkHarmless(t, style.ReplaceAllString(row, ""))
				for _, s := range style.FindAllString(row, -1) {
					if s == "\x1b[31m" || s == "\x1b[2J" {
						t.Errorf("somebody else's style %q", s)
					}
				}
			}
		}
		check()
		for range 4 {
			d.presses(tea.KeyTab, 0)
			check()
		}
		d.happens(&client.Disconnected{Err: errors.New(evil)})
		check()
		d.happens(&client.Connected{User: evil, Node: evil})
		check()
	})
}
