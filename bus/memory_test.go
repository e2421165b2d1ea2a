package bus_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rookery-chat/rookery/bus"
	"github.com/rookery-chat/rookery/bus/bustest"
)

// What depends on time can be seen in memory, where a bubble's time passes at once.
func TestMemoryOverTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := bus.NewMemory(nil).Attach()
		ctx, cancel := context.WithCancel(t.Context())
		heard := bustest.NewRecorder()
		go b.Run(ctx, heard)
		b.Subscribe(ctx, "kept")
		publish := func(topic, key string) bus.Receipt {
			r, err := b.Publish(ctx, topic, bus.Draft{Payload: []byte(`{}`), Key: key})
			if err != nil {
				t.Fatal(err)
			}
			return r
		}
		first := publish("lobby", "k")
		publish("kept", "")
		time.Sleep(2*time.Minute - time.Millisecond)
		if r := publish("lobby", "k"); !r.Duplicate {
			t.Error("a key was forgotten within two minutes")
		}
		time.Sleep(time.Millisecond)
		if r := publish("lobby", "k"); r.Duplicate || r.Offset != 2 {
			t.Errorf("after two minutes the publish got %+v", r)
		}

		read := func(topic string) bus.Page {
			p, err := b.Read(ctx, topic, 0, 10)
			if err != nil {
				t.Fatal(err)
			}
			return p
		}
		time.Sleep(24*time.Hour - time.Second)
		if p := read("lobby"); p.First != 1 || len(p.Entries) != 2 {
			t.Errorf("within a day of the last message the log is %+v", p)
		}
		time.Sleep(time.Second)
		if p := read("lobby"); p.First != 3 || p.Head != 2 || p.Epoch != first.Epoch {
			t.Errorf("a day after the last message the log is %+v", p)
		}
		time.Sleep(6 * 24 * time.Hour)
		if p := read("lobby"); p.Epoch != first.Epoch {
			t.Error("a position was forgotten within a week")
		}
		time.Sleep(8 * 24 * time.Hour)
		if p := read("lobby"); p.Epoch == first.Epoch || p.Head != 0 {
			t.Errorf("after more than a week without use the log is %+v", p)
		}
		publish("kept", "")
		if h := heard.Topic("kept"); h.At.Offset != 2 || len(h.Resets) > 0 || len(heard.Faults()) > 0 {
			t.Errorf("a subscribed topic went on with %+v, %q", h, heard.Faults())
		}
		cancel()
	})
}

func TestMemoryFailover(t *testing.T) {
	m := bus.NewMemory(nil)
	b := m.Attach()
	heard := bustest.NewRecorder()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- b.Run(ctx, heard) }()
	b.Subscribe(ctx, "lobby")
	heard.WaitSubscribed(t, "lobby")
	for range 5 {
		if _, err := b.Publish(ctx, "lobby", bus.Draft{Payload: []byte(`{}`)}); err != nil {
			t.Fatal(err)
		}
	}
	m.Failover(2)
	h := heard.Topic("lobby")
	if len(h.Resets) != 1 || h.Resets[0].At.Offset != 3 || h.Resets[0].Recovered || len(heard.Faults()) > 0 {
		t.Errorf("after the failover: %+v, %q", h.Resets, heard.Faults())
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if _, err := b.Publish(t.Context(), "lobby", bus.Draft{Payload: []byte(`{}`)}); err != nil {
		t.Error(err)
	}
	if got := heard.Topic("lobby"); len(got.Messages) != 5 {
		t.Error("a message was heard after Run had ended")
	}
}
