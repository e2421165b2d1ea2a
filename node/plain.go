package node

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"time"

	"github.com/coder/websocket"

	"github.com/rookery-chat/rookery/wire"
)

const (
	plainTopic  = "lobby"
	nameTimeout = time.Minute // for a person to type a name
)

// servePlain is chat for any WebSocket peer: GET /plain?as=alice&topic=lobby. Text in
// is published; text out is what others published. Without as, the first text is the
// user's name.
func (n *Node) servePlain(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	topic, err := wire.ParseTopic(or(q.Get("topic"), plainTopic))
	if err == nil && !isRoom(topic) {
		err = refusal(wire.BadRequest, "plain text serves rooms only")
	}
	user := q.Get("as")
	if err == nil && user != "" {
		user, err = wire.CheckUser(user)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	s, done := n.accept(w, r, plainKind{user, topic})
	if s == nil {
		return
	}
	defer done()
	if user != "" || s.bearer != "" {
		if _, _, e := s.identify(s.bearer, user); e != nil {
			status := http.StatusUnauthorized
			if e.Retry {
				status = http.StatusServiceUnavailable
			}
			http.Error(w, e.Error(), status)
			s.depart()
			return
		}
	}
	if s.upgrade(w, r, &websocket.AcceptOptions{}) {
		s.start()
	}
}

// beginPlain says hello, and joins, for a session whose user is known.
func (s *session) beginPlain(user, topic string) error {
	s.socket.SetReadDeadline(time.Now().Add(nameTimeout))
	if user == "" && s.bearer == "" {
		return nil
	}
	s.turn.Lock()
	defer s.turn.Unlock()
	return s.enterPlain(user, topic)
}

func (s *session) enterPlain(user, topic string) error {
	who, code, e := s.identify(s.bearer, user)
	if e != nil {
		return s.refuse(code, e)
	}
	if err := s.welcome(who, wire.Command{}); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(s.node.stopped, commandTimeout)
	defer cancel()
	if err := s.join(ctx, wire.Command{Topic: topic, Presence: true}); err != nil {
		s.fail(wire.Command{}, err)
		return s.refuse(wire.CloseInternal, unavailable())
	}
	return nil
}

// handleText takes a text: the first as the user's name, unless that is known, each other as a publish.
func (s *session) handleText(b []byte, topic string) error {
	if s.user == "" {
		name, err := wire.CheckUser(string(bytes.TrimSpace(b)))
		if err != nil {
			s.fail(wire.Command{}, err)
			return s.waitRoom(ownRoom)
		}
		return s.enterPlain(name, topic)
	}
	text := bytes.TrimRight(b, "\r\n")
	if len(text) == 0 {
		return nil
	}
	data, _ := json.Marshal(string(text)) // a string always marshals
	ctx, cancel := context.WithTimeout(s.node.stopped, commandTimeout)
	defer cancel()
	if err := s.publish(ctx, wire.Command{Topic: topic, Data: data}); err != nil {
		s.fail(wire.Command{}, err)
	}
	return s.waitRoom(ownRoom)
}
