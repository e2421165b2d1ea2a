package wire_test

import (
	"testing"

	"github.com/rookery-chat/rookery/wire"
)

func TestTopics(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		in, topic, user string
		inbox           bool
	}{
		{"lobby", "lobby", "", false},
		{"a@b", "a@b", "", false},
		{"*", wire.Everyone, "", false},
		{"@alice", "@alice", "alice", true},
		{"@a@b", "@a@b", "a@b", true},
		{"@zoe\u0308", "@zoë", "zoë", true},
	} {
		topic, err := wire.ParseTopic(row.in)
		if err != nil || topic != row.topic || wire.IsInbox(topic) != row.inbox || wire.InboxUser(topic) != row.user {
			t.Errorf("%q: topic %q (inbox %v) of %q, %v", row.in, topic, wire.IsInbox(topic), wire.InboxUser(topic), err)
		}
		if row.inbox && wire.Inbox(row.user) != row.topic {
			t.Errorf("the inbox of %q is %q", row.user, wire.Inbox(row.user))
		}
	}
}

// A user's name is a name, and no topic.
func TestCheckUser(t *testing.T) {
	t.Parallel()
	if got, err := wire.CheckUser("zoe\u0308"); err != nil || got != "zoë" {
		t.Errorf("%q, %v", got, err)
	}
	for _, name := range []string{"", "*", "@bob", "a b", "a\xffb"} {
		if got, err := wire.CheckUser(name); err == nil || got != "" {
			t.Errorf("%q was let pass as %q", name, got)
		}
	}
}
