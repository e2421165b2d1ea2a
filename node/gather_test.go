package node_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/rookery-chat/rookery/bus"
	"github.com/rookery-chat/rookery/node"
	"github.com/rookery-chat/rookery/wire"
)

// A program sends many frames without waiting for the answers. Its publishes are stored a few at a time, and all
// is as if they had been handled one by one: answers, offsets and messages come in the order of the commands.

// lines of commands, all of which are sent in one write.
func together(commands ...wire.Command) string {
	var lines []string
	for _, c := range commands {
		lines = append(lines, string(c.Append(nil)))
	}
	return strings.Join(lines, "\n")
}

// appendMasked appends text as a WebSocket frame of a client whose mask is 0.
func appendMasked(dst, text []byte) []byte {
	dst = append(dst, 0x81, 0x80|126, byte(len(text)>>8), byte(len(text)), 0, 0, 0, 0)
	return append(dst, text...)
}

func say(id uint64, topic, text string) wire.Command {
	return wire.Command{Type: "publish", ID: id, Topic: topic, Data: quote(text), NoEcho: true}
}

// answers returns the next n answers, and passes over everything else.
func (p *peer) answers(n int) (all []any) {
	p.t.Helper()
	for len(all) < n {
		switch f := p.next().(type) {
		case *wire.OK, *wire.Error:
			all = append(all, f)
		}
	}
	return all
}

// counted is a bus that counts its steps and can fail.
type counted struct {
	bus.Bus
	mu    sync.Mutex
	steps int   // Guarded by mu.
	err   error // Guarded by mu.
}

func (c *counted) PublishAll(ctx context.Context, topic string, drafts []bus.Draft) ([]bus.Receipt, error) {
	c.mu.Lock()
	c.steps++
	err := c.err
	c.mu.Unlock()
	if err != nil {
		return nil, err
	}
	return c.Bus.PublishAll(ctx, topic, drafts)
}

// taken returns how many steps there were since it was asked before.
func (c *counted) taken() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	defer func() { c.steps = 0 }()
	return c.steps
}

func (c *counted) fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.err = err
}

func TestPublishesTogether(t *testing.T) {
	t.Parallel()
	c, steps := newCluster(t, 0, nil), &counted{}
	c.wrap = func(b bus.Bus) bus.Bus { steps.Bus = b; return steps }
	e := c.add(t, nil)
	addr := serveTCP(t, e)
	p := enterLine(t, addr, "alice")
	p.join(wire.Command{Topic: "lobby"})
	p.join(wire.Command{Topic: "den"})
	bob := enter(t, e, "bob")
	bob.join(wire.Command{Topic: "lobby"})

	const n = 20
	var commands []wire.Command
	for i := range uint64(n) {
		commands = append(commands, say(10+i, "lobby", fmt.Sprint(i)))
	}
	p.write(together(commands...))
	for i, a := range p.answers(n) {
		if ok, _ := a.(*wire.OK); ok == nil || ok.ID != uint64(10+i) || ok.Published == nil || ok.Published.Offset != uint64(i+1) {
			t.Errorf("answer %d is %+v", i, a)
		}
	}
	for i := range n {
		if m := want[*wire.Message](bob); m.Offset != uint64(i+1) || text(m) != fmt.Sprint(i) {
			t.Errorf("message %d is %+v", i, m)
		}
	}
	if taken := steps.taken(); taken > n/2 {
		t.Errorf("%d publishes, sent at once as lines, took %d steps", n, taken)
	}
	var frames []byte
	for _, c := range commands {
		frames = appendMasked(frames, c.Append(nil))
	}
	if _, err := enterBare(t, e, addr, "carol", "WebSocket").Write(frames); err != nil {
		t.Fatal(err)
	}
	for i := range n {
		if m := want[*wire.Message](bob); m.Offset != uint64(n+i+1) || text(m) != fmt.Sprint(i) {
			t.Errorf("message %d is %+v", n+i, m)
		}
	}
	if taken := steps.taken(); taken > n/2 {
		t.Errorf("%d publishes, sent at once as WebSocket frames, took %d steps", n, taken)
	}

	// Whatever stands between publishes has its turn, and its answer, between theirs.
	p.write(together(say(1, "lobby", "a"), say(2, "lobby", "b"), say(3, "den", "c"), wire.Command{Type: "ping", ID: 4},
		say(5, "lobby", "d"), say(6, "elsewhere", "e"), say(7, "lobby", "f"), say(8, "@bob", "g"), say(9, "den", "h"),
		wire.Command{Type: "leave", ID: 10, Topic: "den"}, say(11, "den", "i")) + "\n{broken\n" + together(say(12, "lobby", "j")))
	got := ""
	for _, a := range p.answers(13) {
		switch a := a.(type) {
		case *wire.OK:
			got += fmt.Sprint(" ", a.ID)
			if a.Published != nil {
				got += fmt.Sprint("@", a.Published.Offset)
			}
		case *wire.Error:
			got += fmt.Sprint(" ", a.ID, ":", a.Code)
		}
	}
	if want := " 1@41 2@42 3@1 4 5@43 6:forbidden 7@44 8@1 9@2 10 11:forbidden 0:bad_request 12@45"; got != want {
		t.Errorf("the answers are\n%s, want\n%s", got, want)
	}

	// An error is everybody's, and what comes later is not concerned.
	steps.fail(fmt.Errorf("%w: for a test", bus.ErrUnavailable))
	p.write(together(say(1, "lobby", "x"), say(2, "lobby", "y")))
	for i, a := range p.answers(2) {
		if e, _ := a.(*wire.Error); e == nil || e.ID != uint64(1+i) || e.Code != wire.Unavailable || !e.Retry || e.Topic != "lobby" {
			t.Errorf("the answer to a publish that failed is %+v", a)
		}
	}
	steps.fail(nil)
	if r := p.say("lobby", "z"); r.Offset != 46 {
		t.Errorf("after a failure, a publish got %+v", r)
	}
}

// What was said before a mistake that ends the session is stored and answered.
func TestPublishesBeforeTheEnd(t *testing.T) {
	t.Parallel()
	e := newCluster(t, 1, nil).nodes[0]
	addr := serveTCP(t, e)
	for what, end := range map[string]string{"invalid UTF-8": "\"\xff\"", "a NUL byte": "\x00"} {
		p := enterLine(t, addr, "alice")
		room := strings.ReplaceAll(what, " ", "-")
		p.join(wire.Command{Topic: room})
		p.write(together(say(5, room, "a"), say(6, room, "b")) + "\n" + end)
		for i, a := range p.answers(2) {
			if ok, _ := a.(*wire.OK); ok == nil || ok.ID != uint64(5+i) {
				t.Errorf("before %s, answer %d is %+v", what, i, a)
			}
		}
		if _, ok := p.answers(1)[0].(*wire.Error); !ok {
			t.Errorf("%s was not refused", what)
		}
		if page, err := e.bus.Read(t.Context(), room, 0, 10); err != nil || page.Head != 2 {
			t.Errorf("before %s, %d messages were stored, %v", what, page.Head, err)
		}
	}
}

// More publishes than a session may make are refused, each by itself.
func TestTooManyTogether(t *testing.T) {
	t.Parallel()
	e := newCluster(t, 1, &node.Options{Limits: node.Limits{Publishes: 2}}).nodes[0]
	p := enterLine(t, serveTCP(t, e), "alice")
	p.join(wire.Command{Topic: "lobby"})
	var commands []wire.Command
	for i := range uint64(12) {
		commands = append(commands, say(10+i, "lobby", "x"))
	}
	p.write(together(commands...))
	stored, refused := 0, 0
	for i, a := range p.answers(12) {
		switch a := a.(type) {
		case *wire.OK:
			if stored++; a.ID != uint64(10+i) || refused > 0 {
				t.Errorf("answer %d is %+v", i, a)
			}
		case *wire.Error:
			if refused++; a.ID != uint64(10+i) || a.Code != wire.RateLimited {
				t.Errorf("answer %d is %+v", i, a)
			}
		}
	}
	if page, err := e.bus.Read(t.Context(), "lobby", 0, 20); err != nil || page.Head != uint64(stored) || stored < 4 || refused < 4 {
		t.Errorf("%d were answered as stored, %d refused; the log has %d, %v", stored, refused, page.Head, err)
	}
}
