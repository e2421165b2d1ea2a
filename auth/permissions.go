package auth

import "strings"

// Permissions are the topics to which somebody may do what. Each is a list of patterns:
// in one, * stands for any characters.
//
//	lobby     the room
//	team:*    rooms whose name begins with team:
//	*         every room
//	@bob, @*  inboxes, to publish and signal to: reading is for their users only
//	**        everyone: the topic *
//
// The zero Permissions are those of somebody whose token grants nothing in particular: the server's
// rule for rooms holds.
type Permissions struct {
	granted               bool
	join, publish, signal []string
}

// Grant returns permissions by lists of patterns.
func Grant(join, publish, signal []string) Permissions {
	return Permissions{granted: true, join: join, publish: publish, signal: signal}
}

// Open are the permissions where the server's rule for rooms is open: every room and
// every inbox, but not everyone.
func Open() Permissions {
	every := []string{"*", "@*"}
	return Grant([]string{"*"}, every, every)
}

// Granted reports whether p grants something in particular, if only nothing: otherwise the
// server's rule holds.
func (p Permissions) Granted() bool { return p.granted }

// MayJoin reports whether a room may be joined.
func (p Permissions) MayJoin(topic string) bool { return matchAny(p.join, topic) }

// MayPublish reports whether messages may be published to a topic.
func (p Permissions) MayPublish(topic string) bool { return matchAny(p.publish, topic) }

// MaySignal reports whether signals may be sent to a topic.
func (p Permissions) MaySignal(topic string) bool { return matchAny(p.signal, topic) }

const (
	everyone        = "*"  // the topic
	everyonePattern = "**" // and how a pattern names it
	inboxSigil      = "@"
)

func matchAny(patterns []string, topic string) bool {
	for _, p := range patterns {
		if Match(p, topic) {
			return true
		}
	}
	return false
}

// Match reports whether a pattern names a topic.
func Match(pattern, topic string) bool {
	if topic == everyone || pattern == everyonePattern {
		return topic == everyone && pattern == everyonePattern
	}
	if strings.HasPrefix(pattern, inboxSigil) != strings.HasPrefix(topic, inboxSigil) {
		return false
	}
	// Each part must come after the one before; the first and the last are tied to the ends.
	parts := strings.Split(pattern, "*")
	first, last := parts[0], parts[len(parts)-1]
	if len(parts) == 1 {
		return pattern == topic
	}
	if !strings.HasPrefix(topic, first) || !strings.HasSuffix(topic[len(first):], last) {
		return false
	}
	topic = topic[len(first) : len(topic)-len(last)]
	for _, part := range parts[1 : len(parts)-1] {
		i := strings.Index(topic, part)
		if i < 0 {
			return false
		}
		topic = topic[i+len(part):]
	}
	return true
}
