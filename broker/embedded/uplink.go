package embedded

import (
	"slices"

	"mqttsn-gateway/broker"
	"mqttsn-gateway/gateway/store"
)

// Uplink is the way to a broker elsewhere of which this one is the local half, see
// package aggregate: what devices publish, and their wills, goes there and nowhere else, and
// comes back by [Broker.Inbound] if somebody has subscribed to it.
type Uplink interface {
	// Publish takes a message of the client from, with what is to be durable together with
	// it. Unless the code is a failure it is safe once the mark is durable.
	Publish(from string, r *broker.Request) (broker.Code, store.Mark)

	// Subscribe tells that a client, "" for one from before a restart, has subscribed to
	// filter. answer, if it is not nil, is called once when that is known to be allowed
	// there, and with which QoS, or not; perhaps before Subscribe returns.
	Subscribe(filter, client string, qos byte, answer func(code broker.Code, granted byte))

	// Unsubscribe tells that nobody is subscribed to filter any more. It takes no lock of
	// this broker's.
	Unsubscribe(filter string)
}

// sendUp is publish for a broker with an uplink.
func (b *Broker) sendUp(p *publication) broker.Code {
	r := broker.Request{Op: broker.Publish, Topic: p.Topic, Payload: p.Payload, QoS: p.QoS, Retain: p.Retain}
	if p.properties != nil {
		r.User = make([]broker.UserProperty, len(p.properties.User))
		for i, u := range p.properties.User {
			r.User[i] = broker.UserProperty(u)
		}
	}
	if p.records != nil {
		r.With = p.records.ops
	}
	code, mark := b.uplink.Publish(p.from, &r)
	switch {
	case !code.Failed():
		p.mark = mark
	case p.accepted: // a will: nobody publishes it again
		b.stats.refuse(code)
		p.mark = b.apply(r.With...)
	default:
		b.stats.refuse(code)
	}
	if p.records != nil {
		p.settled(b)
	}
	return code
}

// Inbound passes on a message that comes by the uplink. With retain it is a retained one,
// for those of the clients in to who have subscribed to it; else it is for everybody who
// has. If its QoS is above 0, safe is called once, before anybody is told of the message,
// to make durable what keeps it in the queues.
func (b *Broker) Inbound(m *broker.Message, retain bool, to []string, safe func([]store.Op) store.Mark) {
	r, code := b.topics.route(m.Topic)
	if code.Failed() {
		b.stats.refuse(code)
		r = new(route)
	}
	if retain {
		r = r.only(to)
	}
	kept := &message{Message: *m}
	kept.Retain = retain
	if !m.Expires.IsZero() {
		kept.expires = max(1, m.Expires.Sub(b.start))
	}
	kept.weigh()
	p := newPublication()
	p.carry(kept)
	p.accepted = true
	if p.QoS > 0 {
		p.safe = safe
		p.with()
	}
	b.fanOut(p, r)
	if !code.Failed() {
		b.stats.take(p)
	}
	p.release()
}

// only is the part of a route that leads to clients in a list, who see that the message is a
// retained one.
func (r *route) only(to []string) *route {
	part := &route{topic: r.topic}
	for _, t := range r.targets {
		if slices.Contains(to, t.to.id) {
			t.retainAsPublished = true
			part.targets = append(part.targets, t)
		}
	}
	return part
}

// subscribeUp is subscribe for a broker with an uplink: the device is answered when the
// broker elsewhere has answered.
func (d *device) subscribeUp(r *broker.Request) error {
	filter, token, connection := r.Topic, r.Token, d.connections.Load()
	w := []wanted{{filter: filter, sub: subscription{qos: r.QoS}}}
	s := d.session
	if !s.subscribe(d, r.With, w, func(mark store.Mark) { r.Mark = mark }) {
		return broker.ErrClosed
	}
	mark := r.Mark
	answer := func(code broker.Code, granted byte) {
		if d.connections.Load() != connection || !d.live.Load() {
			return // it has gone meanwhile
		}
		if code.Failed() && !w[0].code.Failed() {
			_, mark, _ = s.unsubscribe(d, nil, []string{filter})
		}
		ev := broker.Event{Kind: broker.Answered, Token: token, Code: code, QoS: granted, Mark: mark}
		d.broker.tell(d.to, ev)
	}
	if w[0].code.Failed() {
		answer(w[0].code, 0)
		return nil
	}
	d.broker.uplink.Subscribe(filter, d.id, r.QoS, answer)
	return nil
}

// uses counts the subscriptions to each filter, for an uplink. It is guarded by topics.mu.
type uses struct {
	uplink Uplink
	count  map[string]int
}

func (u *uses) add(filter string) {
	if u.uplink != nil {
		u.count[filter]++
	}
}

func (u *uses) remove(filter string) {
	if u.uplink == nil {
		return
	}
	if u.count[filter]--; u.count[filter] == 0 {
		delete(u.count, filter)
		u.uplink.Unsubscribe(filter)
	}
}
