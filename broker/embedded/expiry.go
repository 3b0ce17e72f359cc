package embedded

import (
	"math"
	"time"
)

// A message that has expired is not sent. So that it does not stand in the way of others
// either, a queue is swept: at the first full second after one of its messages has expired,
// and so once a second at most, and only while something waits that can expire.

// sooner is the earlier of the second at, 0 for never, and the first full second at which
// what expires at that instant, 0 for never, has expired.
func sooner(at uint32, expires time.Duration) uint32 {
	if expires == 0 {
		return at
	}
	second := uint32(min((expires+time.Second-1)/time.Second, math.MaxUint32))
	if at == 0 {
		return second
	}
	return min(at, second)
}

// sweep drops what has expired while it waited, if it is time to look. What was sent
// before is kept, as the client may have it. It reports whether anything was dropped. The
// caller holds s.mu.
func (s *session) sweep() bool {
	if s.sweepAt == 0 {
		return false
	}
	now := s.broker.now()
	if now < time.Duration(s.sweepAt)*time.Second {
		return false
	}
	s.sweepAt = 0
	var t tally
	r := s.broker.gather()
	s.queue.filter(func(d *delivery) bool {
		m := d.message
		switch {
		case d.sent || m.expires == 0:
			return true
		case m.expires > now:
			s.sweepAt = sooner(s.sweepAt, m.expires)
			return true
		case d.record&pending != 0: // its publisher is not done with it
			s.sweepAt = sooner(s.sweepAt, now+1)
			return true
		}
		s.discard(r, d)
		t.queued--
		t.queuedBytes -= int64(m.size())
		t.held -= m.letGo()
		return false
	})
	s.broker.commit(r)
	s.broker.stats.dropped[expired].Add(uint64(-t.queued))
	dropped := t.queued < 0
	s.broker.stats.add(&t)
	return dropped
}

// file notes when something is due for a session next. The caller holds s.mu.
func (s *session) file() {
	at := forever
	if s.line == nil {
		at = s.due
		if s.will != nil {
			at = min(at, s.will.due)
		}
	}
	if s.sweepAt != 0 {
		at = min(at, time.Duration(s.sweepAt)*time.Second)
	}
	if at == forever {
		s.broker.deadlines.remove(s)
	} else {
		s.broker.deadlines.file(s, at)
	}
}
