package embedded

import (
	"slices"
	"sync/atomic"
)

// route says to whom messages of one topic go. It never changes.
type route struct {
	topic   string
	targets []target // one per session
	groups  []group  // of shared subscriptions
	// changes of filters that the route was made after, and where they are counted. After
	// another one the route is not used any more.
	changes uint64
	begin   begin
}

// group is those who share a subscription: one of them gets the message.
type group struct {
	members []target
	turn    *atomic.Uint32
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

func (r *route) cost() int {
	n := len(r.targets)
	for i := range r.groups {
		n += 2 + len(r.groups[i].members)
	}
	return routeCost + len(r.topic) + targetCost*n
}

// nobody reports whether there is no receiver.
func (r *route) nobody() bool { return len(r.targets) == 0 && len(r.groups) == 0 }

// queues reports whether some receiver's queue is used for messages with QoS 1 and 2.
func (r *route) queues() bool {
	for i := range r.targets {
		if r.targets[i].qos > 0 {
			return true
		}
	}
	for i := range r.groups {
		for j := range r.groups[i].members {
			if r.groups[i].members[j].qos > 0 {
				return true
			}
		}
	}
	return false
}

// isDurable reports whether somebody gets the messages whose session survives a crash.
func (r *route) isDurable() bool {
	for i := range r.targets {
		if r.targets[i].isDurable() {
			return true
		}
	}
	for i := range r.groups {
		if slices.ContainsFunc(r.groups[i].members, func(t target) bool { return t.isDurable() }) {
			return true
		}
	}
	return false
}

// isDurable reports whether the receiver's queue survives a crash, and is used.
func (t *target) isDurable() bool {
	t.to.mu.Lock()
	defer t.to.mu.Unlock()
	return t.qos > 0 && t.to.isDurable()
}

// match makes the route of a topic. The caller holds t.mu for writing.
func (t *topics) match(topic string) *route {
	r := &route{topic: topic, begin: t.changes.begin(topic)}
	r.changes = t.changes.count(r.begin)
	t.round++
	noLocal := false
	t.each(topic, func(s *subscribers) {
		r.targets = slices.Grow(r.targets, len(s.list))
		for i := range s.list {
			sub := &s.list[i]
			if sub.to.round != t.round {
				sub.to.round, sub.to.slot = t.round, int32(len(r.targets))
				r.targets = append(r.targets, target{to: sub.to})
			}
			r.targets[sub.to.slot].add(sub)
			noLocal = noLocal || sub.noLocal
		}
		for _, g := range s.shares {
			r.groups = append(r.groups, newGroup(g))
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

func newGroup(s *subscribers) group {
	g := group{turn: &s.turn, members: make([]target, len(s.list))}
	for i := range s.list {
		g.members[i].to = s.list[i].to
		g.members[i].add(&s.list[i])
	}
	return g
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
