package embedded

import (
	"strings"
	"sync/atomic"
)

// subscription is one client's subscription to one filter.
type subscription struct {
	to                *session
	id                uint32 // subscription identifier, MQTT 5; 0: none
	qos               byte   // granted
	noLocal           bool   // not for the client's own messages
	retainAsPublished bool
}

// subscribers are the subscriptions to one filter, at most one per session.
type subscribers struct {
	list  []subscription
	index map[*session]int // position in list; nil while the list is short
	// shares are the groups that share a subscription to this filter, by share name;
	// nil for none. Each message goes to one member of a group only.
	shares map[string]*subscribers
	turn   atomic.Uint32 // of a group: whose turn it is
}

// group is the group of that name, made if need be; the empty name stands for those who
// do not share.
func (s *subscribers) group(share string) *subscribers {
	if share == "" {
		return s
	}
	g := s.shares[share]
	if g == nil {
		g = new(subscribers)
		if s.shares == nil {
			s.shares = make(map[string]*subscribers, 1)
		}
		s.shares[share] = g
	}
	return g
}

// leave removes a subscription, and its group if it was the last one.
func (s *subscribers) leave(share string, to *session) (removed bool) {
	if share == "" {
		return s.remove(to)
	}
	g := s.shares[share]
	if g == nil {
		return false
	}
	removed = g.remove(to)
	if len(g.list) == 0 {
		delete(s.shares, share)
	}
	return removed
}

func (s *subscribers) none() bool { return len(s.list) == 0 && len(s.shares) == 0 }

// shortList is how long a list may be to be searched from the start.
const shortList = 16

func (s *subscribers) find(to *session) (at int, ok bool) {
	if s.index != nil {
		at, ok = s.index[to]
		return at, ok
	}
	for i := range s.list {
		if s.list[i].to == to {
			return i, true
		}
	}
	return 0, false
}

// set adds or replaces a subscription, and reports whether it is a new one.
func (s *subscribers) set(sub subscription) (added bool) {
	if at, ok := s.find(sub.to); ok {
		s.list[at] = sub
		return false
	}
	s.list = append(s.list, sub)
	if s.index != nil {
		s.index[sub.to] = len(s.list) - 1
	} else if len(s.list) > shortList {
		s.index = make(map[*session]int, len(s.list))
		for i := range s.list {
			s.index[s.list[i].to] = i
		}
	}
	return true
}

func (s *subscribers) remove(to *session) (removed bool) {
	at, ok := s.find(to)
	if !ok {
		return false
	}
	last := len(s.list) - 1
	s.list[at] = s.list[last]
	s.list[last] = subscription{}
	s.list = s.list[:last]
	if s.index != nil {
		delete(s.index, to)
		if at < last {
			s.index[s.list[at].to] = at
		}
	}
	return true
}

// node is one level of the filters with wildcards.
type node struct {
	subscribers                // of the filter that ends here
	children    branches[node] // by level
	plus, hash  *node
}

func (n *node) empty() bool {
	return n.none() && n.children.none() && n.plus == nil && n.hash == nil
}

// child is the node of the next level, nil if there is none and add is false.
func (n *node) child(level string, add bool) *node {
	switch level {
	case "+":
		if n.plus == nil && add {
			n.plus = new(node)
		}
		return n.plus
	case "#":
		if n.hash == nil && add {
			n.hash = new(node)
		}
		return n.hash
	}
	c := n.children.get(level)
	if c == nil && add {
		c = new(node)
		n.children.add(level, c)
	}
	return c
}

// leaf is the node of a filter, made if need be.
func (n *node) leaf(filter string) *node {
	for more := true; more; {
		var level string
		level, filter, more = strings.Cut(filter, "/")
		n = n.child(level, true)
	}
	return n
}

// prune removes a subscription and the nodes that nobody needs then.
func (n *node) prune(filter, share string, to *session) (removed bool) {
	level, rest, more := strings.Cut(filter, "/")
	c := n.child(level, false)
	if c == nil {
		return false
	}
	if more {
		removed = c.prune(rest, share, to)
	} else {
		removed = c.leave(share, to)
	}
	if !c.empty() {
		return removed
	}
	switch level {
	case "+":
		n.plus = nil
	case "#":
		n.hash = nil
	default:
		n.children.remove(level)
	}
	return removed
}

// walk calls add for every filter that stands for a topic. n is the node of the levels
// before rest; last says that there is no level left. At the root, dollar says that the
// topic starts with "$": no wildcard stands for its first level [MQTT-4.7.2-1].
func (n *node) walk(rest string, last, dollar bool, add func(*subscribers)) {
	if n.hash != nil && !dollar {
		add(&n.hash.subscribers) // "sport/#" also stands for "sport" itself [MQTT 5, 4.7.1.2]
	}
	if last {
		add(&n.subscribers)
		return
	}
	level, rest, more := strings.Cut(rest, "/")
	if c := n.children.get(level); c != nil {
		c.walk(rest, !more, false, add)
	}
	if n.plus != nil && !dollar {
		n.plus.walk(rest, !more, false, add)
	}
}
