package dtls

import (
	"log/slog"
	"sync"
	"time"
)

// lineEvery is how often a line is logged for one cause; those left out are counted. A
// cause is one of Stats' counters. At most some 30 octets per second come of each.
const lineEvery = 10 * time.Second

// lines is a log that strangers cannot fill.
type lines struct {
	log *slog.Logger

	mu     sync.Mutex // guards what follows
	causes map[any]*lineCount
}

type lineCount struct {
	last    time.Time // when the last line was written
	dropped int       // since then
}

func newLines(log *slog.Logger) *lines { return &lines{log: log, causes: map[any]*lineCount{}} }

// warn logs a line unless there has been one for that cause lately. Causes are few.
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
	switch {
	case c == nil:
		c = &lineCount{}
		l.causes[cause] = c
	case now.Sub(c.last) < lineEvery:
		c.dropped++
		return 0, false
	}
	dropped, c.last, c.dropped = c.dropped, now, 0
	return dropped, true
}
