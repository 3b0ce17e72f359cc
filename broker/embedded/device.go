package embedded

import (
	"bytes"
	"sync/atomic"

	"mqttsn-gateway/broker"
	"mqttsn-gateway/broker/mqtt"
	"mqttsn-gateway/gateway/store"
)

// device is one MQTT-SN client's connection, by way of the gateway: broker.Conn. Nothing
// is encoded in between: its messages are the broker's own.
type device struct {
	broker *Broker
	id     string
	to     broker.Receiver
	live   atomic.Bool // connected
	// connections counts how often it was.
	connections atomic.Uint32

	// For the caller of Do alone.
	session *session
	connect broker.Token // of the Connect that is under way
	count   int32        // of the gateway's user properties
	// What the device's messages carry: as the gateway has it, and as they do.
	first      *broker.UserProperty // of the gateway's
	properties *mqtt.PublishProperties
	origin     *origin // of what it publishes
}

// Do asks for something: broker.Conn. It is never busy.
func (d *device) Do(r *broker.Request) error {
	if r.Op == broker.Connect {
		d.attach(r)
		return nil
	}
	if !d.live.Load() {
		return broker.ErrClosed
	}
	switch r.Op {
	case broker.Publish:
		d.publish(r)
	case broker.Persist:
		return d.persist(r)
	case broker.Subscribe:
		return d.subscribe(r)
	case broker.Unsubscribe:
		return d.unsubscribe(r)
	case broker.Ack:
		return d.ack(r)
	case broker.SetWill:
		return d.setWill(r)
	case broker.Disconnect, broker.Abandon:
		if r.User != nil {
			d.retellWill(r)
		}
		d.leave()
		r.Mark = d.broker.detach(d.session, d, r.Op == broker.Abandon, r.With...)
	}
	return nil
}

func (d *device) answer(r *broker.Request, ev broker.Event) {
	ev.Kind, ev.Token = broker.Answered, r.Token
	d.broker.tell(d.to, ev)
}

func (d *device) attach(r *broker.Request) {
	d.origin = d.broker.originOf(d.id, r.As.User)
	o := attachment{
		as:     proven(r.As),
		bound:  r.As.Identity != "",
		clean:  r.CleanSession,
		window: uint16(d.broker.options.DeviceInflight),
		will:   d.will(r),
		with:   r.With,
	}
	if d.origin != nil {
		o.turn = d.origin.rights
	}
	if !r.CleanSession {
		o.expiry = d.broker.longestExpiry()
	}
	d.broker.stats.connects.Add(1)
	code := broker.CodeSuccess
	if o.will != nil {
		code = d.broker.topics.mayPublish(o.will.message.Topic)
	}
	if !code.Failed() {
		d.connect = r.Token
		if code = d.broker.attach(d.id, d, &o); code == broker.CodeNotAuthorized {
			d.broker.stats.refusedConnects[refusedOwner].Add(1)
		}
	}
	if code.Failed() {
		d.answer(r, broker.Event{Code: code})
		return
	}
	if s := d.session; s.ledger != nil {
		s.mu.Lock()
		r.Mark = s.mark()
		s.mu.Unlock()
	}
}

// carried is what the message of a request carries, nil for nothing. It never changes,
// and stays the same for as long as the gateway gives the same properties.
func (d *device) carried(user []broker.UserProperty) *mqtt.PublishProperties {
	if len(user) == 0 {
		return nil
	}
	if int(d.count) != len(user) || d.first != &user[0] {
		p := &mqtt.PublishProperties{User: make([]mqtt.UserProperty, len(user))}
		for i, u := range user {
			p.User[i] = mqtt.UserProperty(u)
		}
		d.first, d.count, d.properties = &user[0], int32(len(user)), p
	}
	return d.properties
}

func (d *device) will(r *broker.Request) *will {
	if r.Will == nil {
		return nil
	}
	w := &will{message: message{Message: *r.Will, from: d.id, properties: d.carried(r.User)}}
	w.message.Payload = bytes.Clone(r.Will.Payload)
	w.message.leave(d.origin)
	return w
}

// retellWill replaces the properties of the will, which is about to be published.
func (d *device) retellWill(r *broker.Request) {
	s := d.session
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.line == d && s.will != nil {
		s.will.message.properties = d.carried(r.User)
	}
}

func (d *device) publish(r *broker.Request) {
	b := d.broker
	route, code := b.topics.route(r.Topic)
	if len(r.Payload) > b.options.MaxPacketSize {
		code = broker.CodePacketTooLarge
	}
	if code.Failed() {
		b.stats.refuse(code)
	} else {
		p := newPublication()
		p.Topic, p.Payload, p.QoS, p.Retain = route.topic, r.Payload, r.QoS, r.Retain
		p.from, p.origin, p.refuse = d.id, d.origin, r.QoS > 0
		p.properties, p.steady = d.carried(r.User), true
		if len(r.With) > 0 {
			p.with(r.With...)
		}
		if code = b.publish(p, route); !code.Failed() {
			b.stats.take(p)
		}
		r.Mark = p.mark
		p.release()
	}
	if r.QoS > 0 {
		d.answer(r, broker.Event{Code: code, Mark: r.Mark})
	}
}

func (d *device) subscribe(r *broker.Request) error {
	if d.broker.uplink != nil {
		return d.subscribeUp(r)
	}
	w := []wanted{{filter: r.Topic, sub: subscription{qos: r.QoS}}}
	if !d.session.subscribe(d, r.With, w, func(mark store.Mark) {
		r.Mark = mark
		d.answer(r, broker.Event{Code: w[0].code, QoS: r.QoS, Mark: mark})
	}) {
		return broker.ErrClosed
	}
	return nil
}

func (d *device) unsubscribe(r *broker.Request) error {
	_, mark, ok := d.session.unsubscribe(d, r.With, []string{r.Topic})
	if !ok {
		return broker.ErrClosed
	}
	r.Mark = mark
	d.answer(r, broker.Event{Mark: mark})
	return nil
}

func (d *device) ack(r *broker.Request) error {
	s := d.session
	var t tally
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.line != d {
		return broker.ErrClosed
	}
	i, ok := s.queue.withToken(r.Token)
	if !ok {
		r.Mark = d.broker.apply(r.With...) // it has gone by itself
		return nil
	}
	r.Mark = s.complete(i, &t, r.With...)
	d.broker.stats.add(&t)
	return nil
}

func (d *device) setWill(r *broker.Request) error {
	s := d.session
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.line != d {
		return broker.ErrClosed
	}
	r.Mark = s.replaceWill(d.will(r), r.With)
	return nil
}

func (d *device) persist(r *broker.Request) error {
	s := d.session
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.line != d {
		return broker.ErrClosed
	}
	r.Mark = s.persist(r.With)
	return nil
}

// leave notes that the device is not connected any more.
func (d *device) leave() {
	if d.live.Swap(false) {
		d.broker.stats.devices.Add(-1)
	}
}

// accept answers Connect: line.
func (d *device) accept(s *session, present bool) {
	d.session = s
	d.connections.Add(1)
	if !d.live.Swap(true) {
		d.broker.stats.devices.Add(1)
	}
	d.broker.tell(d.to, broker.Event{Kind: broker.Answered, Token: d.connect, SessionPresent: present, Mark: s.mark()})
}

// pass hands over a QoS 0 message: line.
func (d *device) pass(p *publication, retain bool, _ *rare) reason {
	p.tally.sentBytes += int64(len(p.Payload))
	d.broker.tell(d.to, broker.Event{Kind: broker.Delivered, Retain: retain, Message: &p.keep().Message})
	return noReason
}

// send hands over a QoS 1 or 2 message: line.
func (d *device) send(m *delivery, again bool) reason {
	if !again {
		d.broker.stats.sentBytes.Add(uint64(len(m.message.Payload)))
	}
	var mark store.Mark
	if m.qos == 2 {
		mark = d.session.mark() // or a crash could let it come again by another token
	}
	d.broker.tell(d.to, broker.Event{
		Kind:    broker.Delivered,
		Mark:    mark,
		Token:   m.token(),
		QoS:     m.qos,
		Retain:  m.retain,
		Message: &m.message.Message,
	})
	return noReason
}

// end says that the connection is over: line.
func (d *device) end(code broker.Code) {
	// In this order: once Do says ErrClosed, no event follows.
	d.broker.tell(d.to, broker.Event{Kind: broker.Closed, Code: code})
	d.leave()
}

// lost reports whether the device is not connected: line.
func (d *device) lost() bool { return !d.live.Load() }
