package client_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"

	"github.com/rookery-chat/rookery/client"
	"github.com/rookery-chat/rookery/wire"
)

func TestHeartbeat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScript(t)
		r := start(t, s.client(nil))
		p := <-s.peers
		p.welcome()
		next[*client.Connected](r)
		last := time.Now()
		for range 3 {
			c := p.expect("ping")
			if since := time.Since(last); since != 25*time.Second {
				t.Errorf("a ping after %v, want one after 25s", since)
			}
			last = time.Now()
			p.send(wire.OK{ID: c.ID})
		}
		p.expect("ping") // and no answer
		lost := next[*client.Disconnected](r)
		if since := time.Since(last); since != 25*time.Second+client.Grace {
			t.Errorf("held for dead after %v of silence: %v", since, lost.Err)
		}
		(<-s.peers).welcome()
		next[*client.Connected](r)
	})
}

// Without an answer to the hello the client tries elsewhere.
func TestNoWelcome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScript(t)
		r := start(t, s.client(nil))
		begin := time.Now()
		(<-s.peers).expect("hello")
		next[*client.Disconnected](r)
		if since := time.Since(begin); since != client.DialTimeout {
			t.Errorf("gave up after %v, want after %v", since, client.DialTimeout)
		}
		(<-s.peers).welcome()
		next[*client.Connected](r)
	})
}

func TestRetryAfter(t *testing.T) {
	seconds := func(status int, after string) func(http.ResponseWriter) {
		return func(w http.ResponseWriter) {
			w.Header().Set("Retry-After", after)
			w.WriteHeader(status)
		}
	}
	synctest.Test(t, func(t *testing.T) {
		s := newScript(t)
		date := time.Now().Add(2 * time.Minute)
		s.refuseNext(seconds(503, "7"), seconds(429, "20"), func(w http.ResponseWriter) {
			seconds(503, date.UTC().Format(http.TimeFormat))(w)
		}, seconds(503, "soon"))
		r := start(t, s.client(nil))
		begin := time.Now()
		var waited time.Duration
		for i, least := range []time.Duration{7 * time.Second, 20 * time.Second, 0, 0} {
			lost := next[*client.Disconnected](r)
			if since := time.Since(begin); since != waited {
				t.Errorf("try %d came after %v, want after %v", i, since, waited)
			}
			if i == 2 {
				least = max(0, time.Until(date))
			}
			most := max(least+least/2, client.BackoffBase<<i) + client.BackoffBase
			if lost.Delay < least || lost.Delay > most {
				t.Errorf("try %d: waits %v, want %v to %v", i, lost.Delay, least, most)
			}
			waited += lost.Delay
		}
		(<-s.peers).welcome()
		next[*client.Connected](r)
	})
}

func TestBackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScript(t)
		for range 12 {
			s.refuseNext(func(w http.ResponseWriter) { w.WriteHeader(http.StatusInternalServerError) })
		}
		c := s.client(nil)
		c.SetJitter(func(limit time.Duration) time.Duration { return limit })
		r := start(t, c)
		begin := time.Now()
		var waited time.Duration
		for i := range 12 {
			want := min(client.BackoffBase<<i, client.BackoffCap)
			if lost := next[*client.Disconnected](r); lost.Delay != want {
				t.Errorf("try %d: waits up to %v, want up to %v", i, lost.Delay, want)
			}
			if since := time.Since(begin); since != waited {
				t.Errorf("try %d: came after %v, want after %v", i, since, waited)
			}
			waited += want
		}
		p := <-s.peers
		p.welcome()
		next[*client.Connected](r)
		p.ws.CloseNow()
		if lost := next[*client.Disconnected](r); lost.Delay != client.BackoffCap {
			t.Errorf("a connection that was lost at once is not forgiven: waits up to %v", lost.Delay)
		}
		p = <-s.peers
		p.welcome()
		next[*client.Connected](r)
		time.Sleep(client.Settled)
		p.ws.CloseNow()
		if lost := next[*client.Disconnected](r); lost.Delay != client.BackoffBase {
			t.Errorf("after a connection that stood: waits up to %v, want %v", lost.Delay, client.BackoffBase)
		}
	})
}

func TestGoodbye(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScript(t)
		r := start(t, s.client(nil))
		p := <-s.peers
		p.welcome()
		next[*client.Connected](r)
		p.send(wire.Goodbye{Code: "draining", Reconnect: true, After: 1830})
		p.ws.Close(websocket.StatusGoingAway, "draining")
		lost := next[*client.Disconnected](r)
		if least := 1830 * time.Millisecond; lost.Delay < least || lost.Delay > 2*least {
			t.Errorf("waits %v after a goodbye with 1830 ms", lost.Delay)
		}
		p = <-s.peers
		p.welcome()
		next[*client.Connected](r)
		p.send(wire.Goodbye{Code: "kicked", Reconnect: false})
		p.ws.Close(websocket.StatusCode(wire.CloseKicked), "kicked")
		r.drained()
		err := <-r.result
		var closed *client.CloseError
		if !errors.As(err, &closed) || closed.Code != wire.CloseKicked {
			t.Errorf("Run returned %v, want a CloseError", err)
		}
		if err := r.Ping(r.ctx); !errors.Is(err, client.ErrClosed) || !errors.As(err, &closed) {
			t.Errorf("Ping after the end: got %v, want ErrClosed and why", err)
		}
	})
}

func TestCloseCodes(t *testing.T) {
	for _, c := range []struct {
		code  wire.CloseCode
		again bool
	}{
		{wire.CloseDraining, true}, {wire.CloseInternal, true}, {wire.CloseExpired, true}, {wire.CloseLost, true},
		{wire.CloseUnauthorized, false}, {wire.CloseKicked, false}, {wire.ClosePolicy, false}, {wire.CloseSessions, false},
	} {
		t.Run(c.code.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tokens := 0
				s := newScript(t)
				r := start(t, s.client(&client.Options{Token: func(context.Context) (string, error) {
					tokens++
					return fmt.Sprint("token-", tokens), nil
				}}))
				p := <-s.peers
				hello := p.expect("hello")
				if hello.Token != "token-1" {
					t.Errorf("the first token is %q", hello.Token)
				}
				p.send(&wire.Error{ID: hello.ID, Code: wire.Unauthorized, Message: "who are you?"})
				p.ws.Close(websocket.StatusCode(c.code), "")
				if c.again {
					next[*client.Disconnected](r)
					if hello := (<-s.peers).welcome(); hello.Token != "token-2" {
						t.Errorf("the second token is %q", hello.Token)
					}
					next[*client.Connected](r)
					return
				}
				r.drained()
				err := <-r.result
				var closed *client.CloseError
				if !errors.As(err, &closed) || closed.Code != c.code || closed.Err == nil || !strings.Contains(err.Error(), "who are you?") {
					t.Errorf("Run returned %v, want a CloseError that says what the node said", err)
				}
			})
		})
	}
}

// The node learns that the client means to go.
func TestEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScript(t)
		r := start(t, s.client(nil))
		p := <-s.peers
		p.welcome()
		next[*client.Connected](r)
		r.cancel()
		if err := p.ended(); websocket.CloseStatus(err) != websocket.StatusNormalClosure {
			t.Errorf("the connection ended with %v, want a normal closure", err)
		}
		if err := <-r.result; err != nil {
			t.Errorf("Run returned %v, want nil", err)
		}
		if err := r.Ping(context.Background()); !errors.Is(err, client.ErrClosed) {
			t.Errorf("Ping after the end: got %v, want ErrClosed", err)
		}
	})
}

func TestBadURL(t *testing.T) {
	t.Parallel()
	for _, url := range []string{"", "127.0.0.1:8000", "ftp://host/ws", "ws://", "ws://[::1"} {
		if err := client.New(url, nil).Run(t.Context()); err == nil {
			t.Errorf("Run with the address %q returned no error", url)
		}
	}
}

// A call that waited in vain says what is wrong.
func TestNoConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScript(t)
		for range 9 {
			s.refuseNext(func(w http.ResponseWriter) { w.WriteHeader(http.StatusTeapot) })
		}
		r := start(t, s.client(nil))
		ctx, cancel := context.WithTimeout(r.ctx, time.Second)
		defer cancel()
		_, err := r.Join(ctx, "lobby", nil)
		if !errors.Is(err, client.ErrDisconnected) || !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "418") {
			t.Errorf("got %v, want the deadline, and that the answer was 418", err)
		}
	})
}

func TestRunTwice(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	c := client.New("ws://127.0.0.1:1/ws", nil)
	if err := c.Run(ctx); err != nil {
		t.Errorf("Run with a context that is done returned %v, want nil", err)
	}
	if err := c.Run(ctx); err == nil {
		t.Error("the second Run returned no error")
	}
}
