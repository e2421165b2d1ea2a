package client

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/rookery-chat/rookery/wire"
)

// receive reads cn's frames until the connection is lost. It runs in Run's goroutine.
func (c *Client) receive(ctx context.Context, cn *conn) error {
	for {
		_, data, err := cn.ws.Read(cn.ctx)
		if err != nil {
			return err
		}
		cn.watchdog.Stop() // nothing is to be heard while the application keeps us waiting
		if ctx.Err() != nil {
			continue // only the answer to our close frame matters
		}
		frame, err := wire.ParseFrame(data)
		if err != nil {
			return err
		}
		items, err := c.take(cn, frame)
		for i, it := range items {
			if i == 0 {
				it.size = len(data)
			}
			if c.queue.push(ctx, it) != nil {
				break // ctx is done
			}
		}
		if err != nil {
			return err
		}
		cn.watchdog.Reset(cn.silence)
	}
}

// take applies one frame to what the client knows and returns what the application is to hear.
func (c *Client) take(cn *conn, frame any) ([]item, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch f := frame.(type) {
	case *wire.Message:
		return c.advance(f.Topic, f.Offset, f)
	case *wire.Skip:
		return c.advance(f.Topic, f.Offset, nil)
	case *wire.Reset:
		if m := c.topics[f.Topic]; m != nil && m.reset(f) {
			return []item{{event: f, topic: f.Topic, at: m.at}}, nil
		}
	case *wire.Presence:
		m := c.topics[f.Topic]
		if m == nil {
			return nil, nil
		}
		switch {
		case m.roster == nil:
		case f.Roster != nil:
			m.roster = newRoster(*f.Roster)
		default:
			m.roster.apply(f)
		}
		return []item{{event: f}}, nil
	case *wire.Signal, *wire.Read:
		return []item{{event: f}}, nil
	case *wire.Welcome:
		return c.welcome(cn, f), nil
	case *wire.OK:
		return c.ok(cn, f), nil
	case *wire.History:
		cn.reply(f.ID, f)
	case *wire.Members:
		cn.reply(f.ID, f)
	case *wire.Error:
		return c.refuse(cn, f), nil
	case *wire.Goodbye:
		cn.goodbye = f
	}
	return nil, nil // a newer node may send what this client does not know
}

// advance moves topic's cursor over one message, which event is; nil for a skip.
func (c *Client) advance(topic string, offset uint64, event Event) ([]item, error) {
	m := c.topics[topic]
	if m == nil || !m.in {
		return nil, nil // it was under way when we left
	}
	next, err := m.step(offset)
	if !next {
		return nil, err
	}
	return []item{{event: event, topic: topic, at: m.at}}, nil
}

// welcome takes the answer to the hello: from here on the connection is live.
func (c *Client) welcome(cn *conn, w *wire.Welcome) []item {
	if !cn.welcomed.IsZero() {
		return nil
	}
	beat := time.Duration(w.Heartbeat) * time.Second
	if beat <= 0 {
		beat = defaultHeartbeat
	}
	cn.heartbeat <- beat
	cn.silence = beat + grace
	cn.welcomed = time.Now()
	c.session, c.user, c.frame = w.Session, w.User, w.MaxFrame

	items := []item{{event: &Connected{Session: w.Session, User: w.User, Node: w.Node, Topics: w.Topics}}}
	for _, topic := range slices.Sorted(maps.Keys(w.Topics)) {
		answer := w.Topics[topic]
		m := c.topics[topic]
		if m == nil && (topic == wire.Everyone || topic == wire.Inbox(w.User)) {
			m = &membership{}
			c.topics[topic] = m
		}
		switch {
		case m == nil: // left since the hello
		case answer.Err == nil:
			items = append(items, m.items(topic, answer)...)
		case !answer.Err.Retry:
			items = append(items, c.drop(topic, answer.Err))
		}
	}
	for topic, m := range c.topics {
		if !m.in || m.presence && w.Topics[topic].Roster == nil {
			cn.workers.Go(func() { c.rejoin(cn, topic) })
		}
	}
	c.live, c.trouble = cn, nil
	c.notify()
	return items
}

const defaultHeartbeat = 25 * time.Second

// items applies the node's answer to a join or a resume.
func (m *membership) items(topic string, answer wire.Joined) []item {
	reset := m.enter(topic, answer)
	it := item{topic: topic, at: m.at}
	if reset != nil {
		it.event = reset
	}
	return []item{it}
}

// drop ends the membership of topic against the application's will.
func (c *Client) drop(topic string, why *wire.Error) item {
	delete(c.topics, topic)
	c.notify()
	return item{event: &Left{Topic: topic, Err: why}}
}

// ok takes the answer to a call, and a join that the server API made.
func (c *Client) ok(cn *conn, f *wire.OK) (items []item) {
	call := cn.calls[f.ID]
	if f.Joined != nil {
		m := c.topics[f.Topic]
		switch {
		case m != nil:
		case f.ID == 0, call != nil && call.joins():
			m = &membership{}
			c.topics[f.Topic] = m
		default: // nobody waits for this join any more
			cn.workers.Go(func() { cn.post(wire.Command{Type: "leave", Topic: f.Topic}.Append(nil)) })
		}
		if m != nil {
			if call != nil {
				m.presence = m.presence || call.cmd.Presence
			}
			items = m.items(f.Topic, *f.Joined)
			c.notify()
		}
	}
	cn.reply(f.ID, f)
	return items
}

// refuse takes an error frame.
func (c *Client) refuse(cn *conn, f *wire.Error) []item {
	if cn.welcomed.IsZero() {
		cn.refused = f
		return nil
	}
	call := cn.calls[f.ID]
	switch {
	case call != nil && call.rejoins && !f.Retry && c.topics[call.cmd.Topic] != nil:
		cn.reply(f.ID, f)
		return []item{c.drop(call.cmd.Topic, f)}
	case call != nil:
		cn.reply(f.ID, f)
		return nil
	case f.ID == 0 && f.Code == wire.Forbidden && c.topics[f.Topic] != nil: // the user was taken out of it
		return []item{c.drop(f.Topic, f)}
	}
	return []item{{event: f}}
}

// rejoin joins a topic that the hello could not resume, or for which it brought no roster.
// The reader takes the answer.
func (c *Client) rejoin(cn *conn, topic string) {
	c.do(cn.ctx, &call{cmd: wire.Command{Type: "join", Topic: topic}, rejoins: true, on: cn}, nil)
}
