package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/rookery-chat/rookery/api"
	"github.com/rookery-chat/rookery/bus"
	"github.com/rookery-chat/rookery/node"
	"github.com/rookery-chat/rookery/presence"
	"github.com/rookery-chat/rookery/store"
	"github.com/rookery-chat/rookery/wire"
)

// backend is the cluster as the server API and the push port see it: this node, and what it
// shares with the others.
type backend struct {
	node     *node.Node
	bus      bus.Bus
	presence presence.Presence
	store    store.Store
}

var _ api.Backend = backend{}

// told makes an error one that the API knows.
func told(err error) error {
	if errors.Is(err, bus.ErrUnavailable) || errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("%w: %w", api.ErrUnavailable, err)
	}
	return err
}

// facts is told for errors of the store and of presence: what keeps them from answering is that
// Redis does not.
func facts(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%w: %w", api.ErrUnavailable, err)
}

func (b backend) Publish(ctx context.Context, topic string, m api.Message) (api.Receipt, error) {
	r, err := b.node.Publish(ctx, topic, node.Publication{Data: m.Data, From: m.From, Key: m.Key, Except: m.Except})
	if err != nil {
		return api.Receipt{}, told(err)
	}
	receipt := api.Receipt{Epoch: r.Epoch, Offset: r.Offset, Duplicate: r.Duplicate}
	if wire.IsInbox(topic) {
		receipt.Reached = r.Receivers
	}
	return receipt, nil
}

func (b backend) Signal(ctx context.Context, topic, from string, data json.RawMessage) error {
	_, err := b.bus.Signal(ctx, topic, wire.AppendPayload(nil, from, "", "", data))
	return told(err)
}

func (b backend) History(ctx context.Context, topic string, after uint64, limit int) (api.Page, error) {
	p, err := b.bus.Read(ctx, topic, after, limit)
	if err != nil {
		return api.Page{}, told(err)
	}
	page := api.Page{Epoch: p.Epoch, First: p.First, Head: p.Head}
	if p.First > p.Head {
		page.First = 0
	}
	for _, e := range p.Entries {
		s := api.Stored{Offset: e.Offset, Time: e.Time}
		if e.Payload != nil {
			m, err := wire.ParsePayload(e.Payload)
			if err != nil {
				return api.Page{}, err
			}
			s.From, s.Session, s.To, s.Data = m.From, m.Session, m.To, m.Data
		}
		page.Messages = append(page.Messages, s)
		page.More = e.Offset < p.Head
	}
	return page, nil
}

func (b backend) DeleteMessage(ctx context.Context, topic string, offset uint64) error {
	return told(b.bus.Remove(ctx, topic, offset))
}

func (b backend) DeleteTopic(ctx context.Context, topic string) error {
	return told(b.bus.Clear(ctx, topic))
}

// Topics asks every node for its page of the list, and makes one of them: no place has them all.
func (b backend) Topics(ctx context.Context, cursor string, limit int) (api.TopicPage, error) {
	ids, err := b.nodes(ctx)
	if err != nil {
		return api.TopicPage{}, err
	}
	names, silent, err := b.node.Topics(ctx, ids, cursor, limit+1)
	if err != nil {
		return api.TopicPage{}, told(err)
	}
	page := api.TopicPage{Silent: silent}
	if len(names) > limit {
		names = names[:limit]
		page.Next = names[limit-1]
	}
	rosters := slices.DeleteFunc(slices.Clone(names), wire.IsInbox) // of inboxes there are none
	online, err := b.presence.Online(ctx, rosters...)
	if err != nil {
		return api.TopicPage{}, facts(err)
	}
	for _, name := range names {
		t := api.Topic{Name: name, Online: 1}
		if !wire.IsInbox(name) {
			t.Online, online = online[0], online[1:]
		}
		page.Topics = append(page.Topics, t)
	}
	return page, nil
}

func (b backend) Members(ctx context.Context, topic, cursor string, limit int) (api.Roster, error) {
	r, err := b.presence.Roster(ctx, topic, cursor, limit)
	switch {
	case err != nil && cursor != "" && ctx.Err() == nil:
		return api.Roster{}, &wire.Error{Code: wire.BadRequest, Message: "the cursor leads nowhere: start again without one"}
	case err != nil:
		return api.Roster{}, facts(err)
	}
	return api.Roster{Version: r.Version, Online: r.Online, Users: r.Users, Next: r.Next}, nil
}

// nodes returns the ids of the nodes that are alive.
func (b backend) nodes(ctx context.Context) ([]string, error) {
	ids, err := b.presence.Nodes(ctx)
	for i, name := range ids {
		ids[i] = strings.TrimPrefix(name, connPrefix)
	}
	return ids, facts(err)
}

func (b backend) Nodes(ctx context.Context) ([]api.Node, error) {
	ids, err := b.nodes(ctx)
	if err != nil {
		return nil, err
	}
	infos, err := b.node.Nodes(ctx, ids)
	if err != nil {
		return nil, told(err)
	}
	nodes := make([]api.Node, len(infos))
	for i, n := range infos {
		nodes[i] = api.Node{
			ID: n.ID, State: string(n.State), Address: n.Address, Since: n.Since, Version: n.Version,
			Sessions: n.Sessions, Users: n.Users,
		}
	}
	return nodes, nil
}

func (b backend) Shed(ctx context.Context, node string, percent int) (int, error) {
	shed, there, err := b.node.Shed(ctx, node, percent)
	if err == nil && !there {
		return 0, api.ErrNotFound
	}
	return shed, told(err)
}

func (b backend) Sessions(ctx context.Context, user string) ([]api.Session, int, error) {
	infos, silent, err := b.node.Sessions(ctx, user)
	if err != nil {
		return nil, 0, told(err)
	}
	sessions := make([]api.Session, len(infos))
	for i, s := range infos {
		sessions[i] = api.Session{ID: s.ID, Node: s.Node, Address: s.Address, Since: s.Since, Version: s.Version, Client: s.Agent}
	}
	return sessions, silent, nil
}

// someone turns the number of nodes that heard an order into the API's answer.
func someone(nodes int, err error) error {
	if err == nil && nodes == 0 {
		return api.ErrNotFound
	}
	return told(err)
}

func (b backend) Join(ctx context.Context, topic, user string) error {
	return someone(b.node.JoinUser(ctx, topic, user))
}

func (b backend) Remove(ctx context.Context, topic, user string) error {
	_, err := b.node.RemoveUser(ctx, topic, user)
	return told(err)
}

func (b backend) Kick(ctx context.Context, user string) error {
	_, err := b.node.Kick(ctx, user)
	return told(err)
}

func (b backend) KickSession(ctx context.Context, session string) error {
	there, err := b.node.KickSession(ctx, session)
	if err == nil && !there {
		return api.ErrNotFound
	}
	return told(err)
}

func (b backend) DeleteUser(ctx context.Context, user string) error {
	if err := b.Kick(ctx, user); err != nil {
		return err
	}
	inbox := wire.Inbox(user)
	if err := b.DeleteTopic(ctx, inbox); err != nil {
		return err
	}
	if err := b.store.DeleteTopic(ctx, inbox); err != nil { // others' mutes there, say
		return facts(err)
	}
	return facts(b.store.DeleteUser(ctx, user))
}

func (b backend) Ban(ctx context.Context, topic, user string, until time.Time) error {
	return facts(b.node.Sanction(ctx, store.Sanction{Kind: store.Ban, Topic: topic, User: user, Until: until}))
}

func (b backend) Unban(ctx context.Context, topic, user string) error {
	_, err := b.node.Pardon(ctx, store.Ban, topic, user)
	return facts(err)
}

func (b backend) Mute(ctx context.Context, topic, user string, until time.Time) error {
	return facts(b.node.Sanction(ctx, store.Sanction{Kind: store.Mute, Topic: topic, User: user, Until: until}))
}

func (b backend) Unmute(ctx context.Context, topic, user string) error {
	_, err := b.node.Pardon(ctx, store.Mute, topic, user)
	return facts(err)
}

func (b backend) AddTimer(ctx context.Context, t api.Timer) (api.Timer, error) {
	t.ID = rand.Text()
	if t.Next.IsZero() {
		t.Next = time.Now().Add(t.Every)
	}
	err := b.store.AddTimer(ctx, store.Timer{ID: t.ID, Topic: t.Topic, Data: t.Data, Every: t.Every, At: t.Next})
	return t, facts(err)
}

func (b backend) Timers(ctx context.Context, cursor string, limit int) (api.TimerPage, error) {
	timers, next, err := b.store.Timers(ctx, cursor, limit)
	page := api.TimerPage{Next: next}
	for _, t := range timers {
		page.Timers = append(page.Timers, api.Timer{ID: t.ID, Topic: t.Topic, Data: t.Data, Every: t.Every, Next: t.At})
	}
	return page, facts(err)
}

func (b backend) DeleteTimer(ctx context.Context, id string) error {
	was, err := b.store.DeleteTimer(ctx, id)
	if err == nil && !was {
		return api.ErrNotFound
	}
	return facts(err)
}
