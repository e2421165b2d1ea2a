package node

import (
	"testing"
	"time"

	"github.com/rookery-chat/rookery/bus"
	"github.com/rookery-chat/rookery/presence"
	"github.com/rookery-chat/rookery/store"
)

// Messages that a full mailbox left out, and then a new life of the log: what was lost of
// the old one says nothing of the new.
func TestOverflowBeforeReset(t *testing.T) {
	n := New(bus.NewMemory(nil).Attach(), presence.NewMemory().Attach("", func(string, []byte) {}), store.NewMemory(), nil)
	sh, in := n.shards[0], n.interest
	lobby := &topic{name: "lobby"}
	sh.topics["lobby"] = lobby
	in.topics["lobby"] = &heard{shards: 1, asked: true}
	work := func() (lost int) {
		letters, left := sh.mail.take(nil)
		for _, l := range letters {
			if l.do != nil {
				l.do()
			} else {
				sh.deliver(l.topic, l.frame)
			}
		}
		for name, offset := range left {
			sh.overflow(name, offset)
		}
		return len(left)
	}
	in.Subscribed("lobby", bus.Position{Epoch: "a"})
	flood := func() {
		for i := 1; i <= mailboxMessages+10; i++ {
			in.Message("lobby", bus.Entry{Offset: uint64(i), Payload: []byte(`{}`)})
		}
	}
	flood()
	if lost := work(); lost != 1 || lobby.head != mailboxMessages+10 || len(lobby.ring) != 0 {
		t.Fatalf("after an overflow: %d topics lost messages, head %d, %d in the ring", lost, lobby.head, len(lobby.ring))
	}
	lobby.head = 0
	flood()
	in.Reset("lobby", bus.Position{Epoch: "b", Offset: 3}, "epoch", false)
	if lost := work(); lost != 0 || lobby.epoch != "b" || lobby.head != 3 {
		t.Errorf("at the reset: %d topics lost messages, epoch %s, head %d", lost, lobby.epoch, lobby.head)
	}
	in.Message("lobby", bus.Entry{Offset: 4, Payload: []byte(`{}`)})
	if lost := work(); lost != 0 || lobby.epoch != "b" || lobby.head != 4 || len(lobby.ring) != 1 {
		t.Errorf("after the reset: %d topics lost messages, epoch %s, head %d, %d in the ring", lost, lobby.epoch, lobby.head, len(lobby.ring))
	}
}

// What waits is counted from when the first of it came until it is worked off, not until it is taken.
func TestWait(t *testing.T) {
	m := newMailbox()
	now := time.Now()
	in := func(d time.Duration) time.Duration { return m.wait(now.Add(d)) }
	if in(time.Hour) != 0 {
		t.Error("nothing came, and waits")
	}
	m.post(func() {})
	if w := in(time.Hour); w < time.Hour-time.Minute || w > time.Hour {
		t.Errorf("after an hour a letter has waited %v", w)
	}
	m.take(nil)
	m.post(func() {})
	first := in(time.Hour)
	if first < time.Hour-time.Minute {
		t.Errorf("a letter that is not worked off has waited %v", first)
	}
	m.done()
	if second := in(time.Hour); second <= 0 || second > first {
		t.Errorf("the second letter has waited %v, and the first one %v", second, first)
	}
	m.take(nil)
	m.done()
	if in(time.Hour) != 0 {
		t.Error("all is worked off, and waits")
	}
}
