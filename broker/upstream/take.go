package upstream

import (
	"fmt"
	"time"

	"mqttsn-gateway/broker"
	"mqttsn-gateway/gateway/planted"
	"mqttsn-gateway/gateway/store"
)

// take does what a packet from the broker demands. An error ends the line.
func (s *session) take(l *line, in *incoming) error {
	l.pinged = time.Time{} // it is alive
	switch in.kind {
	case kindPublish:
		return s.deliver(l, in)
	case kindPuback:
		s.puback(in)
	case kindPubrec:
		s.pubrec(l, in)
	case kindPubrel:
		s.pubrel(l, in)
	case kindPubcomp:
		s.pubcomp(in)
	case kindSuback:
		s.suback(in)
	case kindUnsuback:
		s.unsuback(in)
	case kindPingresp:
	case kindDisconnect:
		return &disconnected{code: in.code, reason: in.reason}
	default:
		return malformed(fmt.Sprintf("type %d after CONNACK", in.kind))
	}
	return nil
}

// deliver takes a message from the broker.
func (s *session) deliver(l *line, in *incoming) error {
	d, counts := s.deliveries, &s.broker.counts
	if d == nil {
		return nil // leaving: the broker keeps it, if it is to be kept
	}
	if in.qos == 0 {
		if in.code.Failed() {
			counts.malformed.Add(1)
			return nil
		}
		counts.delivered.Add(1)
		s.tell(broker.Event{Kind: broker.Delivered, Retain: in.retain, Message: in.message})
		return nil
	}
	if d.full() {
		return malformed("far more messages than receive_maximum allows")
	}
	unreleased := len(d.unreleased)
	token, fresh := d.arrive(in.id, in.qos, in.dup)
	if len(d.unreleased) < unreleased && s.spool != nil {
		// After a crash the identifier would stand for a message that the broker has dropped.
		s.apply(store.Delete(store.UpstreamUnreleased, s.spool.client, uint64(in.id)))
	}
	switch {
	case !fresh:
		counts.repeated.Add(1)
	case in.code.Failed():
		counts.malformed.Add(1)
		d.ack(token, in.code, 0)
	default:
		s.arrived(broker.Event{Kind: broker.Delivered, Token: token, QoS: in.qos, Retain: in.retain, Message: in.message})
	}
	s.acknowledge(l)
	return nil
}

// arrived takes the message that is the last of those un-acknowledged.
func (s *session) arrived(ev broker.Event) {
	d := s.deliveries
	e := &d.open[len(d.open)-1]
	d.add(ev, e.number)
	if s.keeps() {
		e.message = ev.Message
		s.shelve(d.shelving && len(d.open) >= s.broker.options.ReceiveMaximum)
	}
	s.passOn()
}

// passOn gives the gateway what its turn has come for.
func (s *session) passOn() {
	d, limit := s.deliveries, s.broker.options.ReceiveMaximum
	if s.stage != joined {
		return
	}
	for d.unanswered < limit {
		var ev broker.Event
		if i := d.nextKept(); i >= 0 {
			k := &d.kept[i]
			if k.message == nil {
				s.hunger()
				return
			}
			ev = broker.Event{Kind: broker.Delivered, Token: tokenOf(k.number), QoS: k.message.QoS, Retain: k.message.Retain, Mark: k.mark, Message: k.message}
			k.taken, k.message = true, nil
			d.unanswered++
		} else {
			if len(d.waiting) > 0 && d.waiting[0].QoS == 2 && s.keeps() {
				return // it has to be kept first
			}
			var ok bool
			if ev, ok = d.turn(limit); !ok {
				return
			}
		}
		s.broker.counts.delivered.Add(1)
		s.tell(ev)
	}
}

// ack takes the gateway's acknowledgement of a message.
func (s *session) ack(r *broker.Request) {
	d := s.deliveries
	d.usedUp, d.shelving = time.Time{}, false
	if !s.ackKept(d, r) {
		if len(r.With) > 0 {
			r.Mark = s.apply(r.With...)
		}
		d.ack(r.Token, ackCode(r.Code), r.Mark)
	}
	if s.keeps() {
		s.shelve(false)
	}
	s.passOn()
	if s.line != nil {
		s.acknowledge(s.line)
	}
}

// acknowledge sends the acknowledgements whose turn has come.
func (s *session) acknowledge(l *line) {
	for {
		durable := s.durable
		if planted.AckUpstreamBeforeDurable {
			durable = func(store.Mark) bool { return true }
		}
		e, ok := s.deliveries.next(durable)
		if !ok {
			return
		}
		if e.qos == 1 {
			l.took(appendPuback(l.room(), e.id, e.code))
		} else {
			l.took(appendPubrec(l.room(), e.id, e.code))
		}
		s.soil()
	}
}

func (s *session) pubrel(l *line, in *incoming) {
	if s.deliveries == nil {
		return
	}
	code := broker.CodeSuccess
	if !s.deliveries.release(in.id) {
		code = 0x92 // packet identifier not found: no error during recovery [MQTT 5, 3.7.2.1]
	} else if s.spool != nil {
		mark := s.apply(store.Delete(store.UpstreamUnreleased, s.spool.client, uint64(in.id)))
		s.deliveries.promises = append(s.deliveries.promises, promise{in.id, mark})
		s.completeDurable(l)
		return
	}
	l.took(appendPubcomp(l.room(), in.id, code))
	s.soil()
}

// tell passes an event to the gateway, which works it off after the next wake, or after
// the Do that it happens in.
func (s *session) tell(ev broker.Event) {
	if s.to != nil {
		s.to.Receive(ev)
		s.told = true
	}
}

// soil puts the session on the list of those that Flush makes write.
func (s *session) soil() {
	if !s.soiled {
		s.soiled = true
		s.broker.soil(s)
	}
}
