package wire

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// MaxName bounds the name of a user or room, in bytes of UTF-8 after normalisation.
const MaxName = 128

// Everyone is the topic that every session is in.
const Everyone = "*"

const inboxSigil = "@"

// IsInbox reports whether topic is a user's inbox.
func IsInbox(topic string) bool { return strings.HasPrefix(topic, inboxSigil) }

// Inbox returns the topic of user's inbox.
func Inbox(user string) string { return inboxSigil + user }

// InboxUser returns the user whose inbox topic is, "" for other topics.
func InboxUser(topic string) string {
	user, ok := strings.CutPrefix(topic, inboxSigil)
	if !ok {
		return ""
	}
	return user
}

// ParseTopic checks a topic, a room, an inbox or Everyone, and returns it in the normal form NFC.
// The error is a *Error.
func ParseTopic(s string) (string, error) {
	if s == Everyone {
		return s, nil
	}
	if user, ok := strings.CutPrefix(s, inboxSigil); ok {
		name, err := checkName("user", user)
		if err != nil {
			return "", err
		}
		return inboxSigil + name, nil
	}
	return checkName("topic", s)
}

// CheckUser checks a user's name and returns it in the normal form NFC. The error is a *Error.
func CheckUser(s string) (string, error) { return checkName("user", s) }

func checkName(what, s string) (string, error) {
	bad := func(why string) (string, error) {
		return "", &Error{Code: BadRequest, Message: what + " name " + why}
	}
	if !utf8.ValidString(s) {
		return bad("is not UTF-8")
	}
	if len(s) > 8*MaxName { // normalising shortens nothing to an eighth, and is not cheap
		return bad("is longer than 128 bytes")
	}
	s = norm.NFC.String(s)
	switch {
	case s == "":
		return bad("is empty: give 1 to 128 bytes")
	case len(s) > MaxName:
		return bad("is longer than 128 bytes")
	case strings.HasPrefix(s, inboxSigil):
		return bad(`must not begin with "@"`)
	}
	for _, r := range s {
		switch {
		case unicode.IsSpace(r):
			return bad("must not contain white space")
		case unicode.IsControl(r):
			return bad("must not contain control characters")
		case r == '{' || r == '}' || r == '*':
			return bad("must not contain { } or *")
		}
	}
	return s, nil
}
