package embedded

import (
	"slices"
	"strings"
	"sync"
	"time"
	"weak"
)

// lookups is whose turn it is to look up many retained messages. Who finds little waits
// for nobody. The others do it one after the other, and pause for as long as it took: a
// few clients that subscribe to everything, again and again, could else keep the processor
// busy and everybody who publishes a retained message waiting.
type lookups struct{ turn sync.Mutex }

// smallLookup is how many levels of topics are visited out of turn.
const smallLookup = 250

// lookUp lists the retained messages for a new subscription of a session whose client is
// connected by l. It may take a while; no lock may be held. It reports false, having given
// up, if the client has gone and there is more than a little to find.
func (b *Broker) lookUp(s *session, l line, w *wanted) (part retainedPart, ok bool) {
	found, ok := b.retained.match(w.filter, w.last, b.now(), smallLookup)
	if ok {
		return s.part(found, w), true
	}
	if _, device := l.(*device); device { // the gateway waits for nobody
		found, _ = b.retained.match(w.filter, w.last, b.now(), anySize)
		return s.part(found, w), true
	}
	b.Flush() // SUBACK need not wait as well
	b.lookups.turn.Lock()
	defer b.lookups.turn.Unlock()
	if l.lost() || !b.Up() {
		return part, false
	}
	start := time.Now()
	found, _ = b.retained.match(w.filter, w.last, b.now(), anySize)
	part = s.part(found, w)
	time.Sleep(time.Since(start))
	return part, true
}

// part is what the client of a new subscription is to get of the retained messages found.
func (s *session) part(found []*message, w *wanted) retainedPart {
	if isSys(w.filter) {
		found = append(found, s.broker.sys.match(w.filter)...)
	}
	if w.sub.noLocal {
		found = slices.DeleteFunc(found, func(m *message) bool { return m.from == s.id })
	}
	s.mu.Lock()
	rights := s.tied().rights
	s.mu.Unlock()
	found = slices.DeleteFunc(found, func(m *message) bool { return !m.mayReplay(rights) })
	part := retainedPart{messages: make([]weak.Pointer[message], len(found)), qos: w.sub.qos}
	for i, m := range found {
		part.messages[i] = weak.Make(m)
		if isSys(m.Topic) {
			part.own = append(part.own, m)
		}
	}
	if w.sub.id != 0 {
		part.rare = &rare{ids: []uint32{w.sub.id}}
	}
	return part
}

// search is a look-up that is under way.
type search struct {
	last  uint64
	now   time.Duration
	found []*message
	left  int // how many more levels may be visited; negative: it has given up
}

// match lists the messages of all topics that a filter stands for, but for those that
// were retained after the one with number last or have expired at now. all is false, and
// messages are missing, if that needs a visit to more than limit levels of topics.
func (r *retained) match(filter string, last uint64, now time.Duration, limit int) (found []*message, all bool) {
	s := search{last: last, now: now, left: limit}
	r.mu.RLock()
	defer r.mu.RUnlock()
	if hasWildcard(filter) {
		s.match(&r.root, filter, true)
	} else {
		s.add(r.find(filter))
	}
	return s.found, s.left >= 0
}

func (s *search) add(m *message) {
	if m != nil && m.stored <= s.last && (m.expires == 0 || m.expires > s.now) {
		s.found = append(s.found, m)
	}
}

// visit reports whether there is another level to be visited.
func (s *search) visit() bool {
	s.left--
	return s.left >= 0
}

// match finds the topics below a shelf that the rest of a filter stands for.
func (s *search) match(at *shelf, filter string, root bool) {
	level, rest, more := strings.Cut(filter, "/")
	switch level {
	case "#":
		if !root {
			s.add(at.message) // "sport/#" also stands for "sport" itself
		}
		s.below(at, root)
	case "+":
		for name, c := range at.children.all() {
			if root && strings.HasPrefix(name, "$") {
				continue // [MQTT-4.7.2-1]
			}
			if !s.visit() {
				return
			}
			s.next(c, rest, more)
		}
	default:
		if c := at.children.get(level); c != nil && s.visit() {
			s.next(c, rest, more)
		}
	}
}

func (s *search) next(at *shelf, rest string, more bool) {
	if more {
		s.match(at, rest, false)
	} else {
		s.add(at.message)
	}
}

// below finds all topics below a shelf.
func (s *search) below(at *shelf, root bool) {
	for name, c := range at.children.all() {
		if root && strings.HasPrefix(name, "$") {
			continue // [MQTT-4.7.2-1]
		}
		if !s.visit() {
			return
		}
		s.add(c.message)
		s.below(c, false)
	}
}
