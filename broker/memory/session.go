package memory

import (
	"maps"
	"slices"
	"strings"

	"mqttsn-gateway/broker"
)

// session is what the broker keeps for one client id.
type session struct {
	broker   *Broker
	id       string
	conn     *conn // nil while the client is away
	clean    bool
	persists bool // it outlives a crash of its gateway, though it is clean
	filters  map[string]byte
	queue    []*delivery // QoS 1 and 2, in order: un-acknowledged first, then waiting
}

// delivery is a message on its way to the client.
type delivery struct {
	event broker.Event
	sent  bool // on the present connection, and not acknowledged
}

// offer takes a message for the client.
func (s *session) offer(m *broker.Message, qos byte, retain bool) {
	ev := broker.Event{Kind: broker.Delivered, QoS: qos, Retain: retain, Message: m}
	if qos == 0 {
		if s.conn != nil && !s.broker.down {
			s.broker.emit(s.conn, ev)
		}
		return
	}
	s.broker.tokens[s.id]++
	ev.Token = s.broker.tokens[s.id]
	s.queue = append(s.queue, &delivery{event: ev})
	s.deliver()
}

// deliver hands over what waits, as far as the receive maximum allows.
func (s *session) deliver() {
	if s.conn == nil || s.broker.down {
		return
	}
	for _, d := range s.queue[:min(len(s.queue), ReceiveMaximum)] {
		if !d.sent {
			d.sent = true
			s.broker.emit(s.conn, d.event)
		}
	}
}

func (s *session) ack(t broker.Token) {
	s.queue = slices.DeleteFunc(s.queue, func(d *delivery) bool { return d.sent && d.event.Token == t })
	s.deliver()
}

// attach connects the client; what it had not acknowledged comes again.
func (s *session) attach(c *conn) {
	s.conn = c
	for _, d := range s.queue {
		d.sent = false
	}
}

// detach ends the connection and, if it was a clean one, the session.
func (s *session) detach(id string) {
	s.conn = nil
	if s.clean {
		delete(s.broker.sessions, id)
	}
}

// granted is the highest QoS granted to a filter that matches topic.
func (s *session) granted(topic string) (qos byte, ok bool) {
	for filter, q := range s.filters {
		if matches(filter, topic) {
			qos, ok = max(qos, q), true
		}
	}
	return qos, ok
}

// matches is the naive matcher: wildcards do not match the first level of $-topics.
func matches(filter, topic string) bool {
	fs, ts := strings.Split(filter, "/"), strings.Split(topic, "/")
	if strings.HasPrefix(topic, "$") && (fs[0] == "+" || fs[0] == "#") {
		return false
	}
	for i, f := range fs {
		switch {
		case f == "#":
			return true
		case i >= len(ts) || f != "+" && f != ts[i]:
			return false
		}
	}
	return len(fs) == len(ts)
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
