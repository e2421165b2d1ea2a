package client

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"time"
	"unicode/utf8"

	"github.com/rookery-chat/rookery/wire"
)

// keyLife is for how long a publish is repeated under its key. The cluster knows a key for
// two minutes from the first time on.
const keyLife = 100 * time.Second

// A call is one command that waits for its reply.
type call struct {
	cmd     wire.Command
	once    bool  // not to be repeated
	rejoins bool  // a join that the client makes by itself
	on      *conn // the only connection to be used; nil for any

	reply chan any  // Capacity 1. Made anew for each try. The reader sends once.
	sent  time.Time // when the first try went out; zero before. Wall clock: a machine may sleep.
}

// joins tells whether the application waits for this join.
func (k *call) joins() bool { return k.cmd.Type == "join" && !k.rejoins }

// reply hands the answer to the call that waits for it. Client.mu is held.
func (cn *conn) reply(id uint64, frame any) {
	if k := cn.calls[id]; k != nil {
		delete(cn.calls, id)
		k.reply <- frame
	}
}

// ask makes a call for the application.
func (c *Client) ask(ctx context.Context, k *call) (any, error) {
	if k.cmd.Type != "ping" {
		topic, err := wire.ParseTopic(k.cmd.Topic)
		if err != nil {
			return nil, err
		}
		k.cmd.Topic = topic
	}
	c.queue.enter()
	defer c.queue.exit()
	return c.do(ctx, k, c.queue.stuck())
}

// do makes a call, again and again until it is answered. An error frame is returned as the
// error. When stuck is closed it gives up.
func (c *Client) do(ctx context.Context, k *call, stuck <-chan struct{}) (any, error) {
	wait := backoff{jitter: c.jitter}
	var last error // why the try before failed
	for {
		answer, err := c.try(ctx, k, stuck)
		refused, _ := answer.(*wire.Error)
		switch {
		case refused != nil && (k.once || !refused.Retry):
			return nil, refused
		case refused != nil:
			last = refused
			if !sleep(ctx, wait.next(0)) {
				return nil, fmt.Errorf("%w (%w)", ctx.Err(), last)
			}
		case err == nil:
			return answer, nil
		case !errors.Is(err, ErrDisconnected) || ctx.Err() != nil || k.once || k.on != nil:
			if last != nil {
				err = fmt.Errorf("%w (%w)", err, last)
			}
			return nil, err
		}
	}
}

// try sends the command once and waits for the reply, which may be an error frame.
func (c *Client) try(ctx context.Context, k *call, stuck <-chan struct{}) (any, error) {
	cn := k.on
	if cn == nil {
		var err error
		if cn, err = c.await(ctx, k, stuck); err != nil {
			return nil, err
		}
	}
	if k.cmd.Key != "" && !k.sent.IsZero() && time.Since(k.sent) > keyLife {
		return nil, errors.New("gave up before its key would be forgotten")
	}
	id, frame, err := c.register(cn, k)
	if err != nil {
		return nil, err
	}
	defer c.forget(cn, id)
	select {
	case cn.out <- frame:
		if k.sent.IsZero() {
			k.sent = time.Now().Round(0)
		}
	case <-cn.ctx.Done():
	case <-stuck:
		return nil, ErrBacklog
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	select {
	case answer := <-k.reply:
		return answer, nil
	case <-cn.gone:
		select {
		case answer := <-k.reply:
			return answer, nil
		default:
			return nil, fmt.Errorf("%w: it was lost before the reply came", ErrDisconnected)
		}
	case <-stuck:
		return nil, ErrBacklog
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// register makes the frame of a call and readies cn for its reply.
func (c *Client) register(cn *conn, k *call) (uint64, []byte, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lastID++
	k.cmd.ID = c.lastID
	if m := c.topics[k.cmd.Topic]; m != nil && k.cmd.Type == "join" {
		k.cmd.Presence = k.cmd.Presence || m.presence
		if at := m.at; at != (wire.Position{}) {
			k.cmd.After, k.cmd.Recent = &at, 0 // it goes on where it is
		}
	}
	frame := k.cmd.Append(nil)
	if c.frame > 0 && len(frame) > c.frame {
		return 0, nil, &wire.Error{Topic: k.cmd.Topic, Code: wire.TooLarge,
			Message: fmt.Sprintf("the frame would have %d bytes, and the node takes %d", len(frame), c.frame)}
	}
	if !utf8.Valid(frame) { // the node would close the connection (RFC 6455, 8.1)
		return 0, nil, &wire.Error{Topic: k.cmd.Topic, Code: wire.BadRequest, Message: "the data is not valid UTF-8"}
	}
	k.reply = make(chan any, 1)
	cn.calls[k.cmd.ID] = k
	return k.cmd.ID, frame, nil
}

func (c *Client) forget(cn *conn, id uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(cn.calls, id)
}

// JoinOptions are the optional arguments of Join. At most one of After and Recent is of use;
// with neither, the topic's messages come from now on.
type JoinOptions struct {
	After    *wire.Position // go on behind this position
	Recent   int            // begin with so many of the newest messages
	Presence bool           // tell who comes and goes, and keep the roster
}

// Join enters a room, and stays in it over all connections until Leave. It is repeated until
// it is answered or ctx is done. Where the log no longer holds what follows opts.After,
// Recovered is false in the answer. A room that the client is in already just goes on.
func (c *Client) Join(ctx context.Context, topic string, opts *JoinOptions) (*wire.Joined, error) {
	if opts == nil {
		opts = &JoinOptions{}
	}
	cmd := wire.Command{Type: "join", Topic: topic, After: opts.After, Recent: opts.Recent, Presence: opts.Presence}
	ok, err := expect[*wire.OK](c.ask(ctx, &call{cmd: cmd}))
	if err != nil {
		return nil, err
	}
	if ok.Joined == nil {
		return nil, errAnswer
	}
	return ok.Joined, nil
}

// Leave leaves a room. Events of it that came before may still be waiting.
func (c *Client) Leave(ctx context.Context, topic string) error {
	topic, err := wire.ParseTopic(topic)
	if err != nil {
		return err
	}
	if topic == wire.Everyone || wire.IsInbox(topic) {
		return &wire.Error{Topic: topic, Code: wire.BadRequest, Message: "every session stays in its inbox and in *"}
	}
	c.mu.Lock()
	delete(c.topics, topic)
	c.notify()
	c.mu.Unlock()
	_, err = c.ask(ctx, &call{cmd: wire.Command{Type: "leave", Topic: topic}})
	if refused := (*wire.Error)(nil); errors.As(err, &refused) && refused.Code == wire.NotFound {
		return nil // not in it: a connection was lost, and the next one did not resume it
	}
	return err
}

// PublishOptions are the optional arguments of Publish.
type PublishOptions struct {
	// Key makes the publish safe to repeat by the program: the same key means the same
	// message, for two minutes. "" lets the client choose one.
	Key string
	// NoEcho keeps the message from coming back to this session.
	NoEcho bool
}

// Publish stores a message in a topic, which is a room that was joined or an inbox ("@bob").
// Data is what encoding/json makes JSON of; a json.RawMessage is taken as it is. Publish
// repeats itself under one key over lost connections and while the cluster is unavailable,
// until ctx is done, so that the message is stored once. An error that wraps a [*wire.Error]
// means that it is not stored, one that wraps [ErrUnknown] that nobody can tell.
func (c *Client) Publish(ctx context.Context, topic string, data any, opts *PublishOptions) (*wire.Published, error) {
	if opts == nil {
		opts = &PublishOptions{}
	}
	raw, err := json.Marshal(data)
	if err != nil {
		return nil, fmt.Errorf("client: the data cannot be JSON: %w", err)
	}
	k := &call{cmd: wire.Command{Type: "publish", Topic: topic, Data: raw, Key: opts.Key, NoEcho: opts.NoEcho}}
	if k.cmd.Key == "" {
		k.cmd.Key = rand.Text()
	}
	ok, err := expect[*wire.OK](c.ask(ctx, k))
	if err != nil {
		if refused := (*wire.Error)(nil); !k.sent.IsZero() && !(errors.As(err, &refused) && !refused.Retry) {
			err = fmt.Errorf("%w: %w", ErrUnknown, err)
		}
		return nil, err
	}
	if ok.Published == nil {
		return nil, errAnswer
	}
	return ok.Published, nil
}

// Signal sends data to those who are in a topic now; it is stored nowhere and not repeated.
func (c *Client) Signal(ctx context.Context, topic string, data any) error {
	raw, err := json.Marshal(data)
	if err != nil {
		return fmt.Errorf("client: the data cannot be JSON: %w", err)
	}
	_, err = c.ask(ctx, &call{cmd: wire.Command{Type: "signal", Topic: topic, Data: raw}, once: true})
	return err
}

// HistoryOptions are the optional arguments of History.
type HistoryOptions struct {
	Before uint64 // only messages with smaller offsets; 0 means the newest
	Limit  int    // at most so many; 0 leaves it to the node
}

// History reads one page of a topic's log, ending before an offset.
func (c *Client) History(ctx context.Context, topic string, opts *HistoryOptions) (*wire.History, error) {
	if opts == nil {
		opts = &HistoryOptions{}
	}
	cmd := wire.Command{Type: "history", Topic: topic, Before: opts.Before, Limit: opts.Limit}
	return expect[*wire.History](c.ask(ctx, &call{cmd: cmd}))
}

// Members reads who is in a topic: all pages of the roster.
func (c *Client) Members(ctx context.Context, topic string) (*wire.Roster, error) {
	var all wire.Roster
	for cursor := ""; ; {
		page, err := expect[*wire.Members](c.ask(ctx, &call{cmd: wire.Command{Type: "members", Topic: topic, Cursor: cursor}}))
		if err != nil {
			return nil, err
		}
		all.Version, all.Online = page.Version, page.Online
		all.Members = append(all.Members, page.Members...)
		if cursor = page.Next; cursor == "" {
			return &all, nil
		}
	}
}

// Reads asks how far those who are in a room have read it. Who has read nothing is missing,
// and of more than 1,000 people the first are told.
func (c *Client) Reads(ctx context.Context, room string) (map[string]uint64, error) {
	page, err := expect[*wire.Members](c.ask(ctx, &call{cmd: wire.Command{Type: "members", Topic: room, Reads: true}}))
	if err != nil {
		return nil, err
	}
	return page.Reads, nil
}

// Read tells the cluster that the user has read a topic up to offset.
func (c *Client) Read(ctx context.Context, topic string, offset uint64) error {
	_, err := c.ask(ctx, &call{cmd: wire.Command{Type: "read", Topic: topic, Offset: offset}})
	return err
}

// Ping asks the node for a sign of life. It waits for a connection but is not repeated.
func (c *Client) Ping(ctx context.Context) error {
	_, err := c.ask(ctx, &call{cmd: wire.Command{Type: "ping"}, once: true})
	return err
}

var errAnswer = errors.New("client: the node's answer does not fit the command")

// expect wants an answer to be of one type.
func expect[T any](answer any, err error) (T, error) {
	t, ok := answer.(T)
	if err == nil && !ok {
		err = errAnswer
	}
	return t, err
}
