package chat

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/rookery-chat/rookery/client"
	"github.com/rookery-chat/rookery/wire"
)

// Lines chats until in ends or ctx is done: each line of in is sent, messages are printed
// to out, and notices to notices. It works in a pipe.
func Lines(ctx context.Context, c *client.Client, o Options, in io.Reader, out, notices io.Writer) error {
	t := &terminal{client: c, recent: o.Recent, room: o.Room, out: out, notices: notices}
	return t.run(ctx, in)
}

// A terminal is one chat on standard input and output.
type terminal struct {
	client *client.Client // Fixed at construction.
	recent int            // Fixed at construction.

	mu      sync.Mutex
	room    string    // Guarded by mu. Where typed lines go.
	out     io.Writer // Guarded by mu.
	notices io.Writer // Guarded by mu.
	seen    uint64    // Guarded by mu. The newest message of our inbox that was printed.

	met  bool  // Owned by print. There was a connection before.
	fail error // Owned by talk. The first line that was not sent.
}

// run owns three goroutines: the client's, one that prints and one that reads lines. The
// last one may outlive it, because nothing can end a read of standard input.
func (t *terminal) run(ctx context.Context, in io.Reader) error {
	ctx, stop := context.WithCancelCause(ctx)
	var work sync.WaitGroup
	work.Go(func() { stop(t.client.Run(ctx)) })
	work.Go(t.print)
	lines := make(chan string)
	go read(ctx, in, lines)

	err := t.enter(ctx, t.room)
	if err == nil {
		err = t.unread(ctx)
	}
	if err == nil {
		err = t.talk(ctx, lines)
	}
	cause := context.Cause(ctx) // why the client ended, if it did by itself
	t.markRead(ctx)
	stop(nil)
	work.Wait()
	switch {
	case cause != nil && !errors.Is(cause, context.Canceled):
		return Harmless(cause)
	case errors.Is(err, context.Canceled):
		return nil // the user ended it
	}
	return Harmless(err)
}

// read sends the lines of in, and closes lines at its end.
func read(ctx context.Context, in io.Reader, lines chan<- string) {
	defer close(lines)
	r := bufio.NewReader(in)
	for {
		line, err := r.ReadString('\n')
		if line = strings.TrimRight(line, "\r\n"); line != "" {
			select {
			case lines <- strings.ToValidUTF8(line, "\uFFFD"):
			case <-ctx.Done():
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// talk does what each line says, one after the other.
func (t *terminal) talk(ctx context.Context, lines <-chan string) error {
	for {
		select {
		case line, more := <-lines:
			if !more {
				return t.fail
			}
			err := t.line(ctx, line)
			switch {
			case err == errQuit:
				return t.fail
			case ctx.Err() != nil:
				return fmt.Errorf("not known to be sent: %q", line)
			case err != nil:
				t.notice("%s", err)
				if t.fail == nil {
					t.fail = fmt.Errorf("not everything was done: %w", err)
				}
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

var errQuit = errors.New("quit")

// line does what one line says.
func (t *terminal) line(ctx context.Context, line string) error {
	t.mu.Lock()
	room := t.room
	t.mu.Unlock()
	if !strings.HasPrefix(line, "/") {
		return t.say(ctx, room, line)
	}
	command, rest, _ := strings.Cut(line[1:], " ")
	rest = strings.TrimSpace(rest)
	switch {
	case strings.HasPrefix(command, "/"):
		return t.say(ctx, room, line[1:])
	case command == "quit":
		return errQuit
	case command == "who":
		return t.who(ctx, room)
	case command == "join" && rest != "":
		return t.enter(ctx, rest)
	case command == "msg":
		if user, text, _ := strings.Cut(rest, " "); strings.TrimSpace(text) != "" {
			return t.say(ctx, "@"+strings.TrimPrefix(user, "@"), strings.TrimSpace(text))
		}
	}
	return errors.New("there are /msg NAME TEXT, /who, /join ROOM and /quit; a line that begins with // is sent with one /")
}

// say publishes text and returns when it is stored.
func (t *terminal) say(ctx context.Context, topic, text string) error {
	data := map[string]string{"text": text}
	got, err := t.client.Publish(ctx, topic, data, &client.PublishOptions{NoEcho: true})
	if err != nil {
		return fmt.Errorf("not sent: %w", err)
	}
	if got.Reached != nil && *got.Reached == 0 {
		t.notice("%s is not online and will find it later", topic[1:])
	}
	return nil
}

// enter joins a room and makes it the one where lines go.
func (t *terminal) enter(ctx context.Context, room string) error {
	t.mu.Lock()
	before := t.room
	t.room = room // before the first of its messages is printed
	t.mu.Unlock()
	joined, err := t.client.Join(ctx, room, &client.JoinOptions{Recent: t.recent, Presence: true})
	if err != nil {
		t.mu.Lock()
		t.room = before
		t.mu.Unlock()
		return fmt.Errorf("cannot enter %s: %w", room, err)
	}
	if joined.Roster != nil {
		t.notice("in %s: %d online (%s)", room, joined.Roster.Online, names(joined.Roster.Members))
	}
	return nil
}

// unread prints the direct messages that came while the user was away.
func (t *terminal) unread(ctx context.Context) error {
	_, me := t.client.Session()
	inbox, err := t.client.Join(ctx, wire.Inbox(me), nil) // we are in it: this only tells where it stands
	if err != nil {
		return fmt.Errorf("cannot read the inbox: %w", err)
	}
	if t.recent == 0 || inbox.After <= inbox.Read {
		return nil
	}
	page, err := t.client.History(ctx, wire.Inbox(me), &client.HistoryOptions{Before: inbox.After + 1, Limit: t.recent})
	if err != nil {
		return fmt.Errorf("cannot read the inbox: %w", err)
	}
	for _, m := range page.Messages {
		if m.Offset > inbox.Read && m.To == "" {
			t.message(&m)
		}
	}
	return nil
}

// markRead tells the cluster which direct messages were printed.
func (t *terminal) markRead(ctx context.Context) {
	_, me := t.client.Session()
	t.mu.Lock()
	seen := t.seen
	t.mu.Unlock()
	if seen == 0 || ctx.Err() != nil {
		return
	}
	ctx, stop := context.WithTimeout(ctx, time.Second)
	defer stop()
	t.client.Read(ctx, wire.Inbox(me), seen) // if it fails they are printed once more
}

func (t *terminal) who(ctx context.Context, room string) error {
	roster, err := t.client.Members(ctx, room)
	if err != nil {
		return fmt.Errorf("cannot tell who is in %s: %w", room, err)
	}
	slices.Sort(roster.Members)
	t.notice("in %s: %d online (%s)", room, roster.Online, strings.Join(roster.Members, ", "))
	return nil
}

// print prints what comes in until the client has ended.
func (t *terminal) print() {
	for event := range t.client.Events(context.Background()) {
		switch e := event.(type) {
		case *wire.Message:
			t.message(e)
		case *wire.Presence:
			t.presence(e)
		case *wire.Reset:
			if !e.Recovered {
				t.notice("messages of %s were missed: the log no longer holds them", e.Topic)
			}
		case *client.Connected:
			t.connected(e)
		case *client.Disconnected:
			t.disconnected(e)
		case *client.Left:
			t.notice("out of %s: %s", e.Topic, e.Err.Message)
		case *wire.Error:
			t.notice("the node says: %s", e.Message)
		}
	}
}

func (t *terminal) connected(e *client.Connected) {
	switch {
	case !t.met:
		t.notice("connected as %s", e.User)
	case recovered(e.Topics):
		t.notice("back, nothing was missed")
	default:
		t.notice("back") // and a Reset for each topic follows
	}
	t.met = true
}

func (t *terminal) disconnected(e *client.Disconnected) {
	what := "no connection"
	if t.met {
		what = "connection lost"
	}
	t.notice("%s: %s; trying again in %.1f s", what, e.Err, e.Delay.Seconds())
}

func (t *terminal) presence(e *wire.Presence) {
	_, me := t.client.Session()
	t.mu.Lock()
	where := ""
	if e.Topic != t.room {
		where = " " + e.Topic
	}
	t.mu.Unlock()
	notMe := func(list []string) []string {
		return slices.DeleteFunc(slices.Clone(list), func(name string) bool { return name == me })
	}
	if joined := notMe(e.Joined); len(joined) > 0 {
		t.notice("%s joined%s", names(joined), where)
	}
	if left := notMe(e.Left); len(left) > 0 {
		t.notice("%s left%s", names(left), where)
	}
}

// message prints "12:03 alice: hi".
func (t *terminal) message(m *wire.Message) {
	_, me := t.client.Session()
	t.mu.Lock()
	defer t.mu.Unlock()
	who := m.From
	if who == "" {
		who = "(server)"
	}
	switch {
	case m.To != "":
		who += " to " + m.To
	case m.Topic == wire.Everyone:
		who += " to everyone"
	case m.Topic == wire.Inbox(me):
		who += " to you"
	case m.Topic != t.room:
		who = "[" + m.Topic + "] " + who
	}
	if m.Topic == wire.Inbox(me) {
		t.seen = max(t.seen, m.Offset)
	}
	if kept(m, me) {
		return
	}
	at := clockTime(time.UnixMilli(m.Time))
	fmt.Fprintf(t.out, "%s %s: %s\n", at, Printable(who), Printable(Text(m.Data)))
}

// notice prints a line that is no message.
func (t *terminal) notice(format string, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	fmt.Fprintf(t.notices, "* %s\n", Printable(fmt.Sprintf(format, args...)))
}
