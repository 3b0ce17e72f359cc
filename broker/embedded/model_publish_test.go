package embedded

import (
	"slices"

	"mqttsn-gateway/broker/mqtt"
)

// historyShares are the shared subscriptions.
var historyShares = []string{"$share/h/#", "$share/g/t/+"}

// modelGroup is those who share a subscription.
type modelGroup struct {
	members []*modelSession
	turn    int
}

// publish passes a message on. It reports whether anybody has subscribed to its topic.
func (m *model) publish(p *modelMessage) (anybody bool) {
	m.received[p.qos]++
	if p.retain && p.payload == "" {
		delete(m.retained, p.topic)
	} else if p.retain {
		m.retained[p.topic] = p
	}
	m.several = m.stored && m.receivers(p.topic) > 1
	defer m.goOn()
	for _, s := range m.sessions {
		d := &modelDelivery{message: p}
		gets := false
		for filter, sub := range s.subs {
			if !mqtt.Match(filter, p.topic) {
				continue
			}
			anybody = true
			if sub.noLocal && p.from == s.id {
				continue
			}
			gets = true
			d.qos = max(d.qos, sub.qos)
			d.retain = d.retain || p.retain && sub.retainAsPublished
			if sub.id != 0 {
				d.ids = append(d.ids, sub.id)
			}
		}
		if d.qos = m.outgoing(p.qos, d.qos); gets {
			m.offer(s, d)
		}
	}
	for _, filter := range historyShares { // in the order of the tree
		_, proper, _ := mqtt.Shared(filter)
		if g := m.groups[filter]; g != nil && mqtt.Match(proper, p.topic) {
			anybody = true
			m.share(g, filter, p)
		}
	}
	return anybody
}

// receivers is how many may get messages of a topic: clients, and groups of them.
func (m *model) receivers(topic string) (n int) {
	for _, s := range m.sessions {
		for filter := range s.subs {
			if mqtt.Match(filter, topic) {
				n++
				break
			}
		}
	}
	for _, filter := range historyShares {
		_, proper, _ := mqtt.Shared(filter)
		if m.groups[filter] != nil && mqtt.Match(proper, topic) {
			n++
		}
	}
	return n
}

// goOn sends what had to wait for the store.
func (m *model) goOn() {
	for _, s := range m.later {
		if s.online {
			m.pump(s)
		}
	}
	m.later = nil
}

func (m *model) outgoing(published, granted byte) byte {
	if m.upgradeQoS {
		return granted
	}
	return min(published, granted)
}

// share gives a message to the next member that is there and has room, else to the next.
func (m *model) share(g *modelGroup, filter string, p *modelMessage) {
	g.turn++
	to := g.members[g.turn%len(g.members)]
	for i := range g.members {
		if s := g.members[(g.turn+i)%len(g.members)]; s.online && m.hasRoom(s) {
			to = s
			break
		}
	}
	sub := to.subs[filter]
	d := &modelDelivery{message: p, qos: m.outgoing(p.qos, sub.qos), retain: p.retain && sub.retainAsPublished}
	if sub.id != 0 {
		d.ids = []uint32{sub.id}
	}
	m.offer(to, d)
}

// join puts a session into a group.
func (m *model) join(s *modelSession, filter string) {
	if m.groups[filter] == nil {
		m.groups[filter] = new(modelGroup)
	}
	m.groups[filter].members = append(m.groups[filter].members, s)
}

// unshare takes a session out of a group.
func (m *model) unshare(s *modelSession, filter string) {
	g := m.groups[filter]
	if g == nil {
		return
	}
	at, last := slices.Index(g.members, s), len(g.members)-1
	g.members[at] = g.members[last]
	if g.members = g.members[:last]; last == 0 {
		delete(m.groups, filter)
	}
}

func (m *model) unsubscribe(id, filter string) (had bool) {
	s := m.sessions[id]
	if _, had = s.subs[filter]; had {
		m.unshare(s, filter)
	}
	delete(s.subs, filter)
	return had
}
