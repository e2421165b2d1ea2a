package redistest

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// Ask sends the server one command, over a connection of its own.
func (s *Server) Ask(words ...any) (any, error) {
	return s.askWithin(5*time.Second, words...)
}

func (s *Server) askWithin(d time.Duration, words ...any) (any, error) {
	c := redis.NewClient(&redis.Options{Addr: s.Addr, Protocol: 2, MaxRetries: -1, ContextTimeoutEnabled: true, DialerRetries: 1})
	defer c.Close()
	ctx, cancel := context.WithTimeout(context.Background(), d)
	defer cancel()
	return c.Do(ctx, words...).Result()
}

// must is Ask for what has to succeed.
func (s *Server) must(words ...any) any {
	s.tb.Helper()
	answer, err := s.askWithin(patience, words...)
	if err != nil {
		s.tb.Fatalf("%v at %s: %v", words, s.Addr, err)
	}
	return answer
}

// tells whether an answer of the server, which should come soon, holds a line of its own.
func (s *Server) tells(line string, words ...any) bool {
	answer, err := s.askWithin(time.Second, words...)
	return err == nil && strings.Contains("\n"+fmt.Sprint(answer), "\n"+line+"\r")
}

// patience bounds every wait here. It is only reached when something is wrong.
const patience = 60 * time.Second

func eventually(tb testing.TB, what string, done func() bool) {
	tb.Helper()
	deadline := time.Now().Add(patience)
	for !done() {
		if time.Now().After(deadline) {
			tb.Fatalf("in vain: %s", what)
		}
		time.Sleep(10 * time.Millisecond)
	}
}
