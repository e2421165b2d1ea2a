package node

import (
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/rookery-chat/rookery/auth"
	"github.com/rookery-chat/rookery/store"
	"github.com/rookery-chat/rookery/wire"
)

// anonymousSigil begins the names of anonymous users where others have tokens.
const anonymousSigil = "~"

// bearer returns the token of an Authorization header (RFC 6750, section 2.1), or "".
func bearer(r *http.Request) string {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return token
}

// identify tells who somebody with a token, or of a chosen name, is. Otherwise it returns
// the error to tell and the code to close with.
func (n *Node) identify(token, name string) (auth.Identity, wire.CloseCode, *wire.Error) {
	refuse := func(code wire.CloseCode, message string) (auth.Identity, wire.CloseCode, *wire.Error) {
		return auth.Identity{}, code, &wire.Error{Code: wire.Unauthorized, Message: message}
	}
	if n.auth == nil || token == "" {
		switch {
		case !n.anonymous:
			return refuse(wire.CloseUnauthorized, `hello needs a "token"`)
		case name == "":
			return refuse(wire.CloseUnauthorized, `hello needs a "user"`)
		case n.auth != nil:
			name = anonymousSigil + name
		}
		name, err := wire.CheckUser(name)
		if err != nil {
			return refuse(wire.CloseUnauthorized, err.Error())
		}
		return auth.Identity{User: name}, 0, nil
	}
	who, err := n.auth.Verify(token)
	switch {
	case errors.Is(err, auth.ErrExpired):
		return refuse(wire.CloseExpired, err.Error())
	case errors.Is(err, auth.ErrUnavailable):
		return auth.Identity{}, wire.CloseInternal, &wire.Error{Code: wire.Unavailable, Retry: true, Message: err.Error()}
	case err != nil:
		return refuse(wire.CloseUnauthorized, err.Error())
	}
	user, err := wire.CheckUser(who.User)
	switch {
	case err != nil:
		return refuse(wire.CloseUnauthorized, "the token's sub cannot be a user's name")
	case n.anonymous && strings.HasPrefix(user, anonymousSigil):
		return refuse(wire.CloseUnauthorized, `the token's sub begins with "~", as anonymous users' names do`)
	case name != "" && name != user:
		return refuse(wire.CloseUnauthorized, `"user" is another than the token's: leave it out`)
	}
	who.User = user
	return who, 0, nil
}

// identify is the node's. A token that is not valid is charged to the caller's address, so that
// guessing is slow; one that has only expired is no guess.
func (s *session) identify(token, name string) (auth.Identity, wire.CloseCode, *wire.Error) {
	who, code, e := s.node.identify(token, name)
	if e != nil && token != "" && code == wire.CloseUnauthorized {
		s.node.addresses.charge(s.from.Addr(), badToken)
	}
	return who, code, e
}

// admit makes the connection a session of who.
func (s *session) admit(who auth.Identity) {
	s.user, s.may, s.bearer = who.User, nil, ""
	if who.Granted() {
		s.may = &who.Permissions
	}
	s.shard.step(func() {
		s.entered = true
		s.shard.setExpiry(s, who.Expires)
	})
}

// grants returns what the session may do: what its token says, else the node's rule.
func (s *session) grants() auth.Permissions {
	if s.may == nil {
		return s.node.rule
	}
	return *s.may
}

// renew takes a fresh token of the same user: the session goes on until that one ends, with
// its permissions. Rooms that those do not cover are left.
func (s *session) renew(c wire.Command) error {
	if s.node.auth == nil || c.Token == "" {
		return refusal(wire.BadRequest, "hello was said already: open another connection for another user")
	}
	if s.node.addresses.overdrawn(s.from.Addr()) {
		return &wire.Error{Code: wire.RateLimited, Retry: true, Message: "too many bad tokens or connections from your address: wait, then say hello again"}
	}
	who, _, e := s.identify(c.Token, c.User)
	switch {
	case e != nil:
		return e
	case who.User != s.user:
		return refusal(wire.Unauthorized, "the token is of another user: open another connection")
	}
	s.admit(who)
	for _, m := range append([]*membership(nil), s.joined...) {
		if e := s.mayJoin(m.topic); e != nil {
			s.quit(m)
			e.Topic = m.topic
			s.reply(e.Append(nil))
		}
	}
	s.ok(wire.OK{ID: c.ID})
	return nil
}

// mayJoin checks that the session may read a topic.
func (s *session) mayJoin(topic string) *wire.Error {
	switch {
	case s.node.sanctions.hit(store.Ban, topic, s.user):
		return refusal(wire.Forbidden, "you are banned here")
	case topic == wire.Everyone:
		return nil
	case wire.IsInbox(topic):
		if wire.InboxUser(topic) != s.user {
			return refusal(wire.Forbidden, "an inbox can be read by its user only")
		}
	case !s.grants().MayJoin(topic):
		return refusal(wire.Forbidden, "you may not join this room")
	}
	return nil
}

// mayWrite checks that the session may publish or signal to a topic, as allowed has it.
func (s *session) mayWrite(topic string, allowed func(topic string) bool) error {
	switch {
	case s.node.sanctions.hit(store.Mute, topic, s.user), s.node.sanctions.hit(store.Ban, topic, s.user):
		return refusal(wire.Forbidden, "you are muted here")
	case topic == wire.Everyone:
		if !allowed(topic) {
			return refusal(wire.Forbidden, "you may not write to everyone")
		}
	case topic == wire.Inbox(s.user):
	case !wire.IsInbox(topic) && s.member(topic) == nil:
		return refusal(wire.Forbidden, "join the room first")
	case !allowed(topic):
		return refusal(wire.Forbidden, "you may not write to this topic")
	}
	return nil
}

// mayRead checks that the session is in a topic.
func (s *session) mayRead(topic string) error {
	if s.member(topic) == nil {
		return refusal(wire.Forbidden, "join the topic first")
	}
	return nil
}

// setExpiry notes when a session's token ends.
func (sh *shard) setExpiry(s *session, at time.Time) {
	s.expires = 0
	if !at.IsZero() {
		s.expires = at.UnixMilli()
	}
	if !at.IsZero() && (sh.expires.IsZero() || at.Before(sh.expires)) {
		sh.expires = at
		sh.expiry.Reset(time.Until(at))
	}
}

// expire closes the sessions whose tokens have ended, and looks for the next.
func (sh *shard) expire(now time.Time) {
	sh.expires = time.Time{}
	for _, s := range sh.sessions {
		switch {
		case s.expires == 0 || s.last:
		case s.expires <= now.UnixMilli():
			e := wire.Error{Code: wire.Unauthorized, Message: "the token has expired: connect with a fresh one"}
			sh.own(s, s.kind.own(e.Append(nil)))
			sh.close(s, nil, wire.CloseExpired, "token expired")
		case sh.expires.IsZero() || s.expires < sh.expires.UnixMilli():
			sh.expires = time.UnixMilli(s.expires)
		}
	}
	if !sh.expires.IsZero() {
		sh.expiry.Reset(sh.expires.Sub(now))
	}
}
