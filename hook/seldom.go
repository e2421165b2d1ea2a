package hook

import (
	"log/slog"
	"sync"
	"time"
)

// seldom keeps what may happen a thousand times a second from filling the log.
type seldom struct {
	mu     sync.Mutex
	last   time.Time // Guarded by mu, as is silent.
	silent int       // warnings since then
}

// warn logs a warning, unless there was one in the last 10 s.
func (s *seldom) warn(message string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.last.IsZero() && time.Since(s.last) < 10*time.Second {
		s.silent++
		return
	}
	slog.Warn(message, append(args, "alike", s.silent)...)
	s.last, s.silent = time.Now(), 0
}
