package embedded

import (
	"strings"
	"sync"

	"mqttsn-gateway/broker"
	"mqttsn-gateway/broker/mqtt"
)

// topics finds who subscribes to a topic. Filters without wildcards are in a flat table,
// the others in a tree, and what was found for a topic is remembered in a cache: a topic
// that is published to again and again costs one look-up.
type topics struct {
	maxLevels int

	mu      sync.RWMutex
	exact   map[string]*subscribers
	root    node
	count   int // subscriptions
	shared  int // those among them that are shared
	sys     int // those among them to filters that start with "$SYS"
	routes  map[string]*route
	cost    int     // sum of their costs
	changes changes // of the filters in the tree
	round   uint64  // counts matches, see session.round
	uses    uses    // for an uplink
}

// The bounds of the cache.
const (
	routesCost  = 16 << 20 // octets, about
	routeCost   = 128      // of a route itself, about
	targetCost  = 24
	largestCost = routesCost / 8 // of a route that is remembered
)

func newTopics(maxLevels int) topics {
	return topics{
		maxLevels: maxLevels,
		exact:     make(map[string]*subscribers),
		routes:    make(map[string]*route),
		changes:   newChanges(),
	}
}

// route is the route of a topic to which a client publishes. The code is a failure if it
// may not.
func (t *topics) route(topic string) (*route, broker.Code) {
	t.mu.RLock()
	r := t.routes[topic]
	if r != nil && r.changes == t.changes.count(r.begin) {
		t.mu.RUnlock()
		return r, broker.CodeSuccess
	}
	t.mu.RUnlock()
	return t.find(topic)
}

// routeBytes is route for a topic as it stands in a packet.
func (t *topics) routeBytes(topic []byte) (*route, broker.Code) {
	t.mu.RLock()
	r := t.routes[string(topic)]
	if r != nil && r.changes == t.changes.count(r.begin) {
		t.mu.RUnlock()
		return r, broker.CodeSuccess
	}
	t.mu.RUnlock()
	if r != nil {
		return t.find(r.topic)
	}
	return t.find(string(topic))
}

// find makes a route and remembers it. Only topics that clients may publish to are
// remembered, so that one that was found needs no further check.
func (t *topics) find(topic string) (*route, broker.Code) {
	if code := t.mayPublish(topic); code.Failed() {
		return nil, code
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	r := t.match(topic)
	if r.cost() <= largestCost {
		t.forget(topic)
		t.routes[topic] = r
		t.cost += r.cost()
		for topic := range t.routes {
			if t.cost <= routesCost {
				break
			}
			t.forget(topic)
		}
	}
	return r, broker.CodeSuccess
}

func (t *topics) forget(topic string) {
	if r := t.routes[topic]; r != nil {
		t.cost -= r.cost()
		delete(t.routes, topic)
	}
}

// routeOwn is the route of one of the broker's own topics. It is not remembered.
func (t *topics) routeOwn(topic string) *route {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.match(topic)
}

// mayPublish judges a topic that a client wants to publish to.
func (t *topics) mayPublish(topic string) broker.Code {
	switch {
	case !mqtt.ValidTopicName(topic), strings.Count(topic, "/") >= t.maxLevels:
		return broker.CodeTopicName
	case isSys(topic):
		return broker.CodeNotAuthorized // it is the broker's own
	}
	return broker.CodeSuccess
}

// maySubscribe judges a filter.
func (t *topics) maySubscribe(filter string) broker.Code {
	if !mqtt.ValidTopicFilter(filter) || strings.Count(filter, "/") >= t.maxLevels {
		return broker.CodeTopicFilter
	}
	return broker.CodeSuccess
}

func isSys(topic string) bool {
	return strings.HasPrefix(topic, "$SYS") && (len(topic) == 4 || topic[4] == '/')
}

func hasWildcard(filter string) bool { return strings.ContainsAny(filter, "+#") }

// splitShare splits a filter into the share name, empty for none, and the filter proper
// [MQTT 5, 4.8.2]. As with Mosquitto, versions before MQTT 5 and devices can share, too.
func splitShare(filter string) (share, proper string) {
	if name, proper, ok := mqtt.Shared(filter); ok {
		return name, proper
	}
	return "", filter
}

// subscribe adds a subscription or replaces the one of the same session and filter. It
// reports whether it is a new one.
func (t *topics) subscribe(filter string, sub subscription) (added bool) {
	whole := filter
	share, filter := splitShare(filter)
	t.mu.Lock()
	defer t.mu.Unlock()
	if hasWildcard(filter) {
		added = t.root.leaf(filter).group(share).set(sub)
		t.changes.add(filter)
	} else {
		s := t.exact[filter]
		if s == nil {
			s = new(subscribers)
			t.exact[filter] = s
		}
		added = s.group(share).set(sub)
		t.forget(filter)
	}
	if added {
		t.account(share, filter, 1)
		t.uses.add(whole)
	}
	return added
}

func (t *topics) unsubscribe(filter string, to *session) (removed bool) {
	whole := filter
	share, filter := splitShare(filter)
	t.mu.Lock()
	defer t.mu.Unlock()
	if hasWildcard(filter) {
		if removed = t.root.prune(filter, share, to); removed {
			t.changes.add(filter)
		}
	} else if s := t.exact[filter]; s != nil {
		removed = s.leave(share, to)
		if s.none() {
			delete(t.exact, filter)
		}
		t.forget(filter)
	}
	if removed {
		t.account(share, filter, -1)
		t.uses.remove(whole)
	}
	return removed
}

// of is a session's subscription to a filter, which there is.
func (t *topics) of(filter string, to *session) (sub subscription) {
	share, filter := splitShare(filter)
	t.mu.RLock()
	defer t.mu.RUnlock()
	s := t.exact[filter]
	if hasWildcard(filter) {
		s = &t.root.leaf(filter).subscribers
	}
	s = s.group(share)
	if at, ok := s.find(to); ok {
		sub = s.list[at]
	}
	return sub
}

func (t *topics) account(share, filter string, n int) {
	t.count += n
	if share != "" {
		t.shared += n
	}
	if isSys(filter) {
		t.sys += n
	}
}

func (t *topics) stats() (count, shared, sys int) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.count, t.shared, t.sys
}
