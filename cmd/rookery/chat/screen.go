package chat

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/colorprofile"

	"github.com/rookery-chat/rookery/client"
)

// Screen chats on the terminal of standard input and output, until the user leaves or ctx is
// done. It owns the goroutines of the client, of its events, of the clock and of the errands,
// beside Bubble Tea's.
func Screen(ctx context.Context, c *client.Client, o Options) error {
	e := newErrands(c)
	m := newModel(o, e.ask, c.Roster)
	opts := []tea.ProgramOption{tea.WithContext(ctx), tea.WithoutSignalHandler()}
	if os.Getenv("NO_COLOR") != "" { // whatever it says: no-color.org
		opts = append(opts, tea.WithColorProfile(colorprofile.Ascii))
	}
	p := tea.NewProgram(m, opts...)

	ctx, stop := context.WithCancel(ctx)
	var work sync.WaitGroup
	work.Go(func() {
		if err := c.Run(ctx); err != nil {
			p.Send(ended{err})
		}
	})
	work.Go(func() {
		for event := range c.Events(context.Background()) {
			p.Send(happened{event, time.Now()})
		}
	})
	work.Go(func() { clock(ctx, p.Send) })
	work.Go(func() { e.run(ctx, e.typed, p.Send) })
	work.Go(func() { e.run(ctx, e.looks, p.Send) })

	_, err := p.Run() // it puts the terminal back, also after a panic
	if m.ended == nil {
		m.tellReadNow(ctx, c)
	}
	stop()
	work.Wait()
	switch unsent := m.unsent(); {
	case m.ended != nil:
		return Harmless(m.ended)
	case err != nil && !errors.Is(err, context.Canceled):
		return Harmless(err)
	case len(unsent) > 0:
		return fmt.Errorf("not known to be sent: %q", unsent)
	}
	return nil
}

// clock lets the screen tell the time that is left, each second.
func clock(ctx context.Context, send func(tea.Msg)) {
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for {
		select {
		case now := <-ticker.C:
			send(tick(now))
		case <-ctx.Done():
			return
		}
	}
}

// tellReadNow tells the cluster what was read last. If that fails it is unread the next time.
func (m *model) tellReadNow(ctx context.Context, c *client.Client) {
	ctx, stop := context.WithTimeout(ctx, time.Second)
	defer stop()
	for _, r := range m.reads() {
		if m.link.node == "" || c.Read(ctx, r.topic, r.offset) != nil {
			return
		}
	}
}
