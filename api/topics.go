package api

import (
	"encoding/json"
	"net/http"
	"time"

	"github.com/rookery-chat/rookery/wire"
)

type topicJSON struct {
	Topic  string `json:"topic"`
	Online int    `json:"online"`
}

type messageJSON struct {
	Offset  uint64          `json:"offset"`
	From    string          `json:"from,omitempty"`
	Session string          `json:"session,omitempty"`
	To      string          `json:"to,omitempty"`
	Time    int64           `json:"time"`
	Data    json.RawMessage `json:"data,omitempty"`
	Removed bool            `json:"removed,omitempty"`
}

type pageJSON struct {
	Topic    string        `json:"topic"`
	Epoch    string        `json:"epoch"`
	First    uint64        `json:"first"`
	Head     uint64        `json:"head"`
	Messages []messageJSON `json:"messages"`
	More     bool          `json:"more"`
}

func (s *server) topics(r *http.Request) (any, error) {
	cursor, limit, err := page(r)
	if err != nil {
		return nil, err
	}
	p, err := s.backend.Topics(r.Context(), cursor, limit)
	if err != nil {
		return nil, err
	}
	out := struct {
		Topics []topicJSON `json:"topics"`
		Next   string      `json:"next,omitempty"`
		Silent int         `json:"silent,omitempty"`
	}{make([]topicJSON, 0, len(p.Topics)), p.Next, p.Silent}
	for _, t := range p.Topics {
		out.Topics = append(out.Topics, topicJSON{t.Name, t.Online})
	}
	return out, nil
}

func (s *server) deleteTopic(r *http.Request) (any, error) {
	topic, err := pathTopic(r)
	if err != nil {
		return nil, err
	}
	if _, err := query(r); err != nil {
		return nil, err
	}
	return nil, s.backend.DeleteTopic(r.Context(), topic)
}

func (s *server) history(r *http.Request) (any, error) {
	topic, err := pathTopic(r)
	if err != nil {
		return nil, err
	}
	q, err := query(r, "after", "limit")
	if err != nil {
		return nil, err
	}
	var after uint64
	if q.Has("after") {
		if after, err = offset("after", q.Get("after"), 0); err != nil {
			return nil, err
		}
	}
	limit, err := pageLimit(q)
	if err != nil {
		return nil, err
	}
	p, err := s.backend.History(r.Context(), topic, after, limit)
	if err != nil {
		return nil, err
	}
	out := pageJSON{topic, p.Epoch, p.First, p.Head, make([]messageJSON, 0, len(p.Messages)), p.More}
	for _, m := range p.Messages {
		out.Messages = append(out.Messages, messageJSON{m.Offset, m.From, m.Session, m.To, m.Time, m.Data, m.Data == nil})
	}
	return out, nil
}

func (s *server) deleteMessage(r *http.Request) (any, error) {
	topic, err := pathTopic(r)
	if err != nil {
		return nil, err
	}
	at, err := offset("the offset", r.PathValue("offset"), 1)
	if err != nil {
		return nil, err
	}
	if _, err := query(r); err != nil {
		return nil, err
	}
	return nil, s.backend.DeleteMessage(r.Context(), topic, at)
}

func (s *server) members(r *http.Request) (any, error) {
	topic, err := pathTopic(r)
	if err != nil {
		return nil, err
	}
	if wire.IsInbox(topic) {
		return nil, bad("an inbox has no members: GET /v1/users/{user} tells whether its user is online")
	}
	cursor, limit, err := page(r)
	if err != nil {
		return nil, err
	}
	roster, err := s.backend.Members(r.Context(), topic, cursor, limit)
	if err != nil {
		return nil, err
	}
	return struct {
		Topic   string   `json:"topic"`
		Version uint64   `json:"version"`
		Online  int      `json:"online"`
		Members []string `json:"members"`
		Next    string   `json:"next,omitempty"`
	}{topic, roster.Version, roster.Online, append([]string{}, roster.Users...), roster.Next}, nil
}

// room returns the room and the user that the path names.
func room(r *http.Request) (topic, user string, err error) {
	if topic, user, err = pathBoth(r); err != nil {
		return "", "", err
	}
	if topic == wire.Everyone || wire.IsInbox(topic) {
		return "", "", bad("sessions join and leave rooms only: they are in * and in their user's inbox by themselves")
	}
	_, err = query(r)
	return topic, user, err
}

func (s *server) join(r *http.Request) (any, error) {
	topic, user, err := room(r)
	if err != nil {
		return nil, err
	}
	return nil, s.backend.Join(r.Context(), topic, user)
}

func (s *server) remove(r *http.Request) (any, error) {
	topic, user, err := room(r)
	if err != nil {
		return nil, err
	}
	return nil, s.backend.Remove(r.Context(), topic, user)
}

func (s *server) ban(r *http.Request) (any, error) {
	topic, user, until, err := sentence(r)
	if err != nil {
		return nil, err
	}
	return nil, s.backend.Ban(r.Context(), topic, user, until)
}

func (s *server) unban(r *http.Request) (any, error) {
	topic, user, err := pathBoth(r)
	if err != nil {
		return nil, err
	}
	if _, err := query(r); err != nil {
		return nil, err
	}
	return nil, s.backend.Unban(r.Context(), topic, user)
}

func (s *server) mute(r *http.Request) (any, error) {
	topic, user, until, err := sentence(r)
	if err != nil {
		return nil, err
	}
	return nil, s.backend.Mute(r.Context(), topic, user, until)
}

func (s *server) unmute(r *http.Request) (any, error) {
	topic, user, err := pathBoth(r)
	if err != nil {
		return nil, err
	}
	if _, err := query(r); err != nil {
		return nil, err
	}
	return nil, s.backend.Unmute(r.Context(), topic, user)
}

// sentence reads whom to ban or mute where, and until when. Without a body it is for ever.
func sentence(r *http.Request) (topic, user string, until time.Time, err error) {
	if topic, user, err = pathBoth(r); err != nil {
		return "", "", until, err
	}
	if r.ContentLength == 0 {
		_, err = query(r)
		return topic, user, until, err
	}
	b, err := object(r)
	if err != nil {
		return "", "", until, err
	}
	var in struct {
		Until *string `json:"until"`
	}
	if err := decode(b, &in); err != nil || in.Until == nil {
		return topic, user, until, err
	}
	if until, err = instant("until", *in.Until); err == nil && !until.After(time.Now()) {
		err = bad("until lies in the past: DELETE ends it now")
	}
	return topic, user, until, err
}

// instant reads a time.
func instant(name, s string) (time.Time, error) {
	t, err := time.Parse(time.RFC3339, s)
	if err != nil || t.Year() < 1970 {
		return time.Time{}, bad("%s must be a time as in RFC 3339: 2030-01-31T12:00:00Z", name)
	}
	return t, nil
}
