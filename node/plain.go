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
	s, done := n.accept(w, r, plainKind{})
	if s == nil {
		return
	}
	defer done()
	if user != "" || s.bearer != "" {
		if _, _, e := s.identify(s.bearer, user); e != nil {
			http.Error(w, e.Error(), http.StatusUnauthorized)
			s.depart()
			return
		}
	}
	if s.upgrade(w, r, &websocket.AcceptOptions{}) {
		go s.runPlain(user, topic)
	}
}

// runPlain is run for a plain session: it says hello and joins by itself, and turns each
// text into a publish.
func (s *session) runPlain(user, topic string) {
	s.begin()
	s.end(s.readPlain(user, topic))
}

func (s *session) readPlain(user, topic string) error {
	var b bytes.Buffer
	s.socket.SetReadDeadline(time.Now().Add(nameTimeout))
	for user == "" && s.bearer == "" {
		if err := s.nextPlain(&b); err != nil {
			return err
		}
		name, err := wire.CheckUser(string(bytes.TrimSpace(b.Bytes())))
		if err != nil {
			s.fail(wire.Command{}, err)
			if err := s.waitRoom(ownRoom); err != nil {
				return err
			}
		}
		user = name
		b.Reset()
	}
	who, code, e := s.identify(s.bearer, user)
	if e != nil {
		return s.refuse(code, e)
	}
	if err := s.welcome(who, wire.Command{}); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(s.node.stopped, commandTimeout)
	err := s.join(ctx, wire.Command{Topic: topic, Presence: true})
	cancel()
	if err != nil {
		s.fail(wire.Command{}, err)
		return s.refuse(wire.CloseInternal, unavailable())
	}
	for {
		b.Reset()
		if err := s.nextPlain(&b); err != nil {
			return err
		}
		text := bytes.TrimRight(b.Bytes(), "\r\n")
		if len(text) == 0 {
			continue
		}
		data, _ := json.Marshal(string(text)) // a string always marshals
		ctx, cancel := context.WithTimeout(s.node.stopped, commandTimeout)
		if err := s.publish(ctx, wire.Command{Topic: topic, Data: data}); err != nil {
			s.fail(wire.Command{}, err)
		}
		cancel()
		if err := s.waitRoom(ownRoom); err != nil {
			return err
		}
	}
}

func (s *session) nextPlain(b *bytes.Buffer) error {
	if err := s.await(); err != nil {
		return err
	}
	if err := s.next(b); err != nil {
		return err
	}
	return s.slowDown()
}
