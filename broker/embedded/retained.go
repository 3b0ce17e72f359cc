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

// set keeps m as the retained message of its topic, and returns the one that it replaces,
// nil for none. It reports false, and changes nothing, if there is no room for it.
func (r *retained) set(m *message) (old *message, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	count, bytes := 1, m.size()+shelves(m.Topic)
	if old = r.find(m.Topic); old != nil {
		count, bytes = 0, m.size()-old.size()
	}
	if r.count+count > r.maxMessages || r.bytes+r.cost+bytes > r.maxBytes && bytes > 0 {
		return nil, false
	}
	r.put(m, old)
	return old, true
}

// put is set however little room there is. The caller holds r.mu.
func (r *retained) put(m, old *message) {
	r.last++
	m.stored = r.last
	r.bytes += m.size()
	if old != nil {
		r.bytes -= old.size()
	} else {
		r.count++
		r.cost += shelves(m.Topic)
	}
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

// remove forgets the retained message of a topic, and returns it; nil for none.
func (r *retained) remove(topic string) (old *message) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if old = r.find(topic); old != nil {
		r.root.remove(r, topic)
	}
	return old
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

// sweep forgets what has expired at now, and returns it. It is done once a second at most:
// it visits all messages.
func (r *retained) sweep(now time.Duration) (gone []*message) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if now < r.nextSweep {
		return nil
	}
	r.nextSweep = now + time.Second
	return r.root.sweep(r, now, nil)
}

func (s *shelf) sweep(r *retained, now time.Duration, gone []*message) []*message {
	for level, c := range s.children.all() {
		if m := c.message; m != nil && m.expires != 0 && m.expires <= now {
			r.forget(c)
			gone = append(gone, m)
		}
		gone = c.sweep(r, now, gone)
		if c.empty() {
			s.children.remove(level)
		}
	}
	return gone
}

func (r *retained) stats() (count, bytes int) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.count, r.bytes
}
