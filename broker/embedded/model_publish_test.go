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
