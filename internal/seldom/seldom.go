// Package seldom keeps what may happen a thousand times a second from filling the log.
package seldom

import (
	"log/slog"
	"sync"
	"time"
)

// A Log is told of one kind of thing. The zero value is ready.
type Log struct {
	mu     sync.Mutex
	last   time.Time // Guarded by mu, as is silent.
	silent int       // warnings since then
}

// Warn logs a warning, unless there was one in the last 10 s.
func (l *Log) Warn(message string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.last.IsZero() && time.Since(l.last) < 10*time.Second {
		l.silent++
		return
	}
	slog.Warn(message, append(args, "alike", l.silent)...)
	l.last, l.silent = time.Now(), 0
}
