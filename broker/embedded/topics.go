package embedded

import (
	"slices"
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
	sys     int // those among them to filters that start with "$SYS"
	routes  map[string]*route
	cost    int // sum of their costs
	version uint64
	round   uint64 // counts matches, see session.round
}

// route says to whom messages of one topic go. It never changes.
type route struct {
	topic   string
	targets []target // one per session
	// version of the wildcard filters that the route was made with. A route of an
	// earlier version is not used any more.
	version uint64
}

// target is one receiver of the messages of a topic: all of a session's subscriptions
// that match it, taken together, since it gets one copy only.
type target struct {
	to                *session
	rare              *rare // nil for almost all
	qos               byte  // the highest that was granted [MQTT-3.3.4-2]
	retainAsPublished bool
}

// rare is what few targets have.
type rare struct {
	ids []uint32 // subscription identifiers [MQTT-3.3.4-3]
	// noLocal says that for the client's own messages own counts instead: the
	// subscriptions without "no local" [MQTT-3.8.3-3]. Nil: it does not get them.
	noLocal bool
	own     *target
}

// The bounds of the cache.
const (
	routesCost  = 16 << 20 // octets, about
	routeCost   = 128      // of a route itself, about
	targetCost  = 24
	largestCost = routesCost / 8 // of a route that is remembered
)

func (r *route) cost() int { return routeCost + len(r.topic) + targetCost*len(r.targets) }

func newTopics(maxLevels int) topics {
	return topics{maxLevels: maxLevels, exact: make(map[string]*subscribers), routes: make(map[string]*route)}
}

// route is the route of a topic to which a client publishes. The code is a failure if it
// may not.
func (t *topics) route(topic string) (*route, broker.Code) {
	t.mu.RLock()
	r := t.routes[topic]
	if r != nil && r.version == t.version {
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
	if r != nil && r.version == t.version {
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

// subscribe adds a subscription or replaces the one of the same session and filter. It
// reports whether it is a new one.
func (t *topics) subscribe(filter string, sub subscription) (added bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if hasWildcard(filter) {
		added = t.root.leaf(filter).set(sub)
		t.version++
	} else {
		s := t.exact[filter]
		if s == nil {
			s = new(subscribers)
			t.exact[filter] = s
		}
		added = s.set(sub)
		t.forget(filter)
	}
	if added {
		t.account(filter, 1)
	}
	return added
}

func (t *topics) unsubscribe(filter string, to *session) (removed bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if hasWildcard(filter) {
		if removed = t.root.prune(filter, to); removed {
			t.version++
		}
	} else if s := t.exact[filter]; s != nil {
		removed = s.remove(to)
		if len(s.list) == 0 {
			delete(t.exact, filter)
		}
		t.forget(filter)
	}
	if removed {
		t.account(filter, -1)
	}
	return removed
}

func (t *topics) account(filter string, n int) {
	t.count += n
	if isSys(filter) {
		t.sys += n
	}
}

func (t *topics) stats() (count, sys int) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.count, t.sys
}

// match makes the route of a topic. The caller holds t.mu for writing.
func (t *topics) match(topic string) *route {
	r := &route{topic: topic, version: t.version}
	t.round++
	noLocal := false
	t.each(topic, func(s *subscribers) {
		r.targets = slices.Grow(r.targets, len(s.list))
		for i := range s.list {
			sub := &s.list[i]
			if sub.to.round != t.round {
				sub.to.round, sub.to.slot = t.round, len(r.targets)
				r.targets = append(r.targets, target{to: sub.to})
			}
			r.targets[sub.to.slot].add(sub)
			noLocal = noLocal || sub.noLocal
		}
	})
	if noLocal {
		t.each(topic, func(s *subscribers) {
			for i := range s.list {
				r.targets[s.list[i].to.slot].addOwn(&s.list[i])
			}
		})
	}
	return r
}

// each calls f for every filter that stands for a topic.
func (t *topics) each(topic string, f func(*subscribers)) {
	if s := t.exact[topic]; s != nil {
		f(s)
	}
	t.root.walk(topic, false, topic[0] == '$', f)
}

// add takes one more subscription into account.
func (t *target) add(sub *subscription) {
	t.qos = max(t.qos, sub.qos)
	t.retainAsPublished = t.retainAsPublished || sub.retainAsPublished
	if sub.id == 0 && !sub.noLocal {
		return
	}
	if t.rare == nil {
		t.rare = new(rare)
	}
	if sub.id != 0 {
		t.rare.ids = append(t.rare.ids, sub.id)
	}
	t.rare.noLocal = t.rare.noLocal || sub.noLocal
}

// addOwn takes a subscription into account for the client's own messages.
func (t *target) addOwn(sub *subscription) {
	if sub.noLocal || t.rare == nil || !t.rare.noLocal {
		return
	}
	if t.rare.own == nil {
		t.rare.own = &target{to: t.to}
	}
	t.rare.own.add(sub)
}

// local is the target for a message that the client has published itself, nil for none.
func (t *target) local() *target {
	if t.rare != nil && t.rare.noLocal {
		return t.rare.own
	}
	return t
}
