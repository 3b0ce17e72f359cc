package embedded

import (
	"hash/maphash"
	"strings"
	"sync"
	"time"
)

// stripes are locks that share the topics among them: a message for many subscribers keeps
// few others waiting.
type stripes struct {
	seed  maphash.Seed
	locks [64]sync.Mutex
}

func (s *stripes) of(topic string) *sync.Mutex {
	return &s.locks[maphash.String(s.seed, topic)%uint64(len(s.locks))]
}

// retained keeps the last retained message of each topic, by levels.
type retained struct {
	maxMessages, maxBytes int

	mu    sync.RWMutex
	root  shelf
	count int
	bytes int // sum of the messages' sizes
	cost  int // and of what their topics' levels take
	// last numbers the messages as they are retained. A new subscription gets those up to
	// the last one before it; what is retained later comes to it anyway.
	last uint64

	nextSweep time.Duration
}

// shelf is one level of the topics that have a retained message.
type shelf struct {
	children branches[shelf]
	message  *message // of the topic that ends here; nil for none
}

func (s *shelf) empty() bool { return s.message == nil && s.children.none() }

// shelfCost is what one level of a topic counts against max_retained_bytes: a topic has
// few octets and many levels if somebody is out for memory. What topics share counts for
// each of them.
const shelfCost = 64

// shelves is what the levels of a topic count.
func shelves(topic string) int { return shelfCost * (1 + strings.Count(topic, "/")) }

// set keeps m as the retained message of its topic. It reports false, and changes
// nothing, if there is no room for it.
func (r *retained) set(m *message) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	count, bytes, cost := 1, m.size(), shelves(m.Topic)
	if old := r.find(m.Topic); old != nil {
		count, bytes, cost = 0, m.size()-old.size(), 0
	}
	if r.count+count > r.maxMessages || r.bytes+bytes+r.cost+cost > r.maxBytes && bytes+cost > 0 {
		return false
	}
	r.last++
	m.stored = r.last
	r.count += count
	r.bytes += bytes
	r.cost += cost
	s := &r.root
	for rest, more := m.Topic, true; more; {
		var level string
		level, rest, more = strings.Cut(rest, "/")
		c := s.children.get(level)
		if c == nil {
			c = new(shelf)
			s.children.add(level, c)
		}
		s = c
	}
	s.message = m
	return true
}

// now is the number of the message that was retained last.
func (r *retained) now() uint64 {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.last
}

// find is the message of a topic, nil for none. The caller holds r.mu.
func (r *retained) find(topic string) *message {
	s := &r.root
	for more := true; more && s != nil; {
		var level string
		level, topic, more = strings.Cut(topic, "/")
		s = s.children.get(level)
	}
	if s == nil {
		return nil
	}
	return s.message
}

// current reports whether m is the retained message of its topic, or one of the broker's
// own, which are not kept.
func (r *retained) current(m *message) bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return isSys(m.Topic) || r.find(m.Topic) == m
}

// remove forgets the retained message of a topic, if there is one.
func (r *retained) remove(topic string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.root.remove(r, topic)
}

// forget forgets the message on a shelf. The caller holds r.mu.
func (r *retained) forget(s *shelf) {
	r.count--
	r.bytes -= s.message.size()
	r.cost -= shelves(s.message.Topic)
	s.message = nil
}

func (s *shelf) remove(r *retained, topic string) {
	level, rest, more := strings.Cut(topic, "/")
	c := s.children.get(level)
	switch {
	case c == nil:
		return
	case more:
		c.remove(r, rest)
	case c.message != nil:
		r.forget(c)
	}
	if c.empty() {
		s.children.remove(level)
	}
}

// sweep forgets what has expired at now, and reports whether there was anything. It is
// done once a second at most: it visits all messages.
func (r *retained) sweep(now time.Duration) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if now < r.nextSweep {
		return false
	}
	r.nextSweep = now + time.Second
	before := r.count
	r.root.sweep(r, now)
	return r.count < before
}

func (s *shelf) sweep(r *retained, now time.Duration) {
	for level, c := range s.children.all() {
		if m := c.message; m != nil && m.expires != 0 && m.expires <= now {
			r.forget(c)
		}
		c.sweep(r, now)
		if c.empty() {
			s.children.remove(level)
		}
	}
}

func (r *retained) stats() (count, bytes int) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.count, r.bytes
}
