package node

import (
	"context"
	"encoding/json"
	"log/slog"
	"strings"

	"github.com/rookery-chat/rookery/wire"
)

// An order is what the server API asks of a user's sessions, on whichever nodes they are.
// It travels as a signal on the user's inbox, or on the topic of one node.
type order struct {
	Do       string `json:"do"`
	Topic    string `json:"topic,omitempty"`
	Session  string `json:"session,omitempty"`  // only this one; "" for all that hear the order
	Question string `json:"question,omitempty"` // which question Topic's node has asked
	After    string `json:"after,omitempty"`    // topics: those that follow this name
	Limit    int    `json:"limit,omitempty"`    // topics: at most so many
	Percent  int    `json:"percent,omitempty"`  // shed: how many of a hundred sessions
}

const (
	doKick   = "kick"
	doJoin   = "join"
	doRemove = "remove"

	// Questions: see report.go.
	doReport   = "report"   // which sessions of the user?
	doDescribe = "describe" // what about the node?
	doTopics   = "topics"   // which topics are its sessions in?
	doShed     = "shed"     // send some sessions away: how many were there?

	doSanctions = "sanctions" // look at the bans and mutes: they have changed
)

// nodeTopic is where one node is reached. No room can have such a name.
func nodeTopic(id string) string { return "{" + id + "}" }

// Kick ends all sessions of a user, and tells on how many nodes there are some.
func (n *Node) Kick(ctx context.Context, user string) (nodes int, err error) {
	return n.send(ctx, wire.Inbox(user), order{Do: doKick})
}

// KickSession ends one session, on whichever node it is. False: its node is not there.
func (n *Node) KickSession(ctx context.Context, session string) (bool, error) {
	id, _, _ := strings.Cut(session, "-")
	nodes, err := n.send(ctx, nodeTopic(id), order{Do: doKick, Session: session})
	return nodes > 0, err
}

// JoinUser lets all sessions that a user has now join a room, and tells on how many
// nodes there are some.
func (n *Node) JoinUser(ctx context.Context, topic, user string) (nodes int, err error) {
	return n.send(ctx, wire.Inbox(user), order{Do: doJoin, Topic: topic})
}

// RemoveUser lets all sessions of a user leave a room, and tells on how many nodes there
// are some. They may join again.
func (n *Node) RemoveUser(ctx context.Context, topic, user string) (nodes int, err error) {
	return n.send(ctx, wire.Inbox(user), order{Do: doRemove, Topic: topic})
}

func (n *Node) send(ctx context.Context, topic string, o order) (nodes int, err error) {
	b, err := json.Marshal(o)
	if err != nil {
		return 0, err
	}
	return n.bus.Signal(ctx, topic, append([]byte{orderSignal}, b...))
}

// obey carries out an order for the sessions of this shard. The topic is where it was heard.
func (sh *shard) obey(topic string, o order) {
	for _, s := range sh.sessions {
		if s.gone || s.last || o.Session != "" && o.Session != s.id || wire.IsInbox(topic) && (!s.entered || topic != wire.Inbox(s.user)) {
			continue
		}
		if o.Do == doKick {
			sh.close(s, &wire.Goodbye{Code: "kicked"}, wire.CloseKicked, "kicked")
			continue
		}
		// Joining waits for the cluster, and takes its turn with the session's own commands.
		sh.node.helpers.Go(func() { s.obey(o) })
	}
}

// obey carries out an order that changes what the session is in.
func (s *session) obey(o order) {
	s.turn.Lock()
	defer s.turn.Unlock()
	if s.over {
		return
	}
	m := s.member(o.Topic)
	switch {
	case o.Do == doJoin && m == nil:
		ctx, cancel := context.WithTimeout(s.node.stopped, commandTimeout)
		defer cancel()
		if err := s.joinRoom(ctx, 0, request{topic: o.Topic, ordered: true}); err != nil {
			slog.Warn("server-side join", "session", s.id, "err", err)
		}
	case o.Do == doRemove && m != nil:
		s.quit(m)
		s.reply((&wire.Error{Topic: o.Topic, Code: wire.Forbidden, Message: "removed from the room"}).Append(nil))
	}
}

// order has an order carried out. Those about sessions go to every shard: the sessions of a
// user can be on all of them.
func (in *interest) order(topic string, payload []byte) {
	var o order
	if err := json.Unmarshal(payload, &o); err != nil {
		o = order{}
	}
	switch o.Do {
	case doKick, doJoin, doRemove:
		for _, sh := range in.node.shards {
			sh.mail.post(func() { sh.obey(topic, o) })
		}
	case doReport, doDescribe, doTopics, doShed:
		in.node.answer(topic, o)
	case doSanctions:
		in.node.sanctions.changed()
	default:
		slog.Warn("order ignored: it is of another version", "topic", topic)
	}
}
