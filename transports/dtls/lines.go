package dtls

import (
	"log/slog"
	"sync"
	"time"
)

// linesPerSecond is how many lines are logged for one cause; the rest are counted.
const linesPerSecond = 10

// lines is a log that strangers cannot fill.
type lines struct {
	log *slog.Logger

	mu     sync.Mutex // guards what follows
	causes map[any]*lineCount
}

type lineCount struct {
	second  time.Time // when the present second of this cause began
	written int
	dropped int // since the last line written
}

func newLines(log *slog.Logger) *lines { return &lines{log: log, causes: map[any]*lineCount{}} }

// warn logs a line unless there have been too many for that cause. Causes are few.
func (l *lines) warn(cause any, text string, args ...any) {
	dropped, ok := l.take(cause, time.Now())
	if !ok {
		return
	}
	if dropped > 0 {
		args = append(args, "not_logged", dropped)
	}
	l.log.Warn(text, args...)
}

func (l *lines) take(cause any, now time.Time) (dropped int, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := l.causes[cause]
	if c == nil {
		c = &lineCount{second: now}
		l.causes[cause] = c
	}
	if now.Sub(c.second) >= time.Second {
		c.second, c.written = now, 0
	}
	if c.written == linesPerSecond {
		c.dropped++
		return 0, false
	}
	c.written++
	dropped, c.dropped = c.dropped, 0
	return dropped, true
}
