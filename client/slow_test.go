package client_test

import (
	"bytes"
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rookery-chat/rookery/client"
	"github.com/rookery-chat/rookery/wire"
)

// flood sends messages of about 1 KiB, from offset on, until the connection ends or count are
// sent, and counts them.
func (p *peer) flood(from, count uint64, sent *atomic.Uint64) {
	data := append(append([]byte{'"'}, bytes.Repeat([]byte{'x'}, 1024)...), '"')
	for offset := from; offset < from+count; offset++ {
		b := wire.Message{Topic: "lobby", Offset: offset, From: "bob", Data: data}.Append(nil)
		if p.ws.Write(context.Background(), 1, b) != nil {
			return
		}
		sent.Add(1)
	}
}

// A program that does not read its events stops the reading of the socket; what it reads
// later is complete.
func TestSlowConsumer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScript(t)
		r := start(t, s.client(nil))
		p := <-s.peers
		p.welcome()
		r.join(p, 0, nil)
		const count = 5000
		var sent atomic.Uint64
		go p.flood(1, count, &sent)
		go func() { // answers to pings must not be in the way: nobody reads them for a long time
			for {
				if _, err := p.read(); err != nil {
					return
				}
			}
		}()
		synctest.Wait()
		stopped := sent.Load()
		if most := uint64(client.SoftBound/1024 + 64); stopped > most || stopped < most/2 {
			t.Errorf("%d messages of 1 KiB were read ahead, want about %d", stopped, client.SoftBound/1024)
		}
		time.Sleep(10 * time.Minute) // the client does not take its own silence for the node's
		synctest.Wait()
		if now := sent.Load(); now != stopped {
			t.Errorf("%d more messages were read meanwhile", now-stopped)
		}
		next[*client.Connected](r)
		for offset := uint64(1); offset <= count; offset++ {
			if got := next[*wire.Message](r); got.Offset != offset {
				t.Fatalf("got %d, want %d", got.Offset, offset)
			}
		}
		r.cancel()
		r.drained()
	})
}

// A call may be made from the loop over the events, though they fill the buffer.
func TestCallWithinTheLoop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScript(t)
		r := start(t, s.client(nil))
		p := <-s.peers
		p.welcome()
		r.join(p, 0, nil)
		const count = 2000 // 2 MiB come before the reply
		var sent atomic.Uint64
		go func() {
			p.flood(1, count, &sent)
			c := p.expect("ping")
			p.send(wire.OK{ID: c.ID})
		}()
		synctest.Wait()
		if err := r.Ping(r.ctx); err != nil {
			t.Errorf("Ping within the loop: %v", err)
		}
		next[*client.Connected](r)
		for offset := uint64(1); offset <= count; offset++ {
			if got := next[*wire.Message](r); got.Offset != offset {
				t.Fatalf("got %d, want %d", got.Offset, offset)
			}
		}
	})
}

// Even then the memory is bounded.
func TestBacklog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScript(t)
		r := start(t, s.client(nil))
		p := <-s.peers
		p.welcome()
		r.join(p, 0, nil)
		const count = 20000
		var sent atomic.Uint64
		go p.flood(1, count, &sent)
		if err := r.Ping(r.ctx); !errors.Is(err, client.ErrBacklog) {
			t.Errorf("got %v, want ErrBacklog", err)
		}
		if err := r.Ping(r.ctx); !errors.Is(err, client.ErrBacklog) {
			t.Errorf("once more: got %v, want ErrBacklog", err)
		}
		synctest.Wait()
		if got := sent.Load(); got > 17000 {
			t.Errorf("%d messages of 1 KiB were read ahead", got)
		}
		next[*client.Connected](r)
		for offset := uint64(1); offset <= count; offset++ {
			if got := next[*wire.Message](r); got.Offset != offset {
				t.Fatalf("got %d, want %d", got.Offset, offset)
			}
		}
	})
}

// A connection that is lost while the program is slow does not keep a call waiting.
func TestCallWhileDisconnectedAndFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScript(t)
		r := start(t, s.client(nil))
		p := <-s.peers
		p.welcome()
		r.join(p, 0, nil)
		var sent atomic.Uint64
		go p.flood(1, 1000, &sent)
		synctest.Wait()
		p.ws.CloseNow()
		published := make(chan error)
		go func() {
			_, err := r.Publish(r.ctx, "@bob", 1, nil)
			published <- err
		}()
		p = <-s.peers
		hello := p.welcome()
		if got := hello.Resume["lobby"].Offset; got == 0 || got > sent.Load()+1 {
			t.Errorf("resumed from %d, and %d were sent", got, sent.Load())
		}
		c := p.expect("publish")
		p.send(wire.OK{ID: c.ID, Topic: "@bob", Published: &wire.Published{Position: wire.Position{Epoch: "b", Offset: 1}}})
		if err := <-published; err != nil {
			t.Error(err)
		}
	})
}
