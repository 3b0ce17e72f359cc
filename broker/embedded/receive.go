package embedded

import (
	"time"

	"mqttsn-gateway/broker"
	"mqttsn-gateway/broker/mqtt"
	"mqttsn-gateway/gateway/store"
)

// publish passes a message on. A QoS 2 message is passed on when it first comes, and its
// identifier kept until PUBREL, so that it is not passed on again [MQTT-4.3.3-9] to
// [MQTT-4.3.3-12].
func (c *client) publish(p *mqtt.Publish) {
	if !c.resolve(p) || !c.mayPublish(p) {
		return
	}
	switch p.QoS {
	case mqtt.QoS0:
		c.route(p)
	case mqtt.QoS1:
		if code, mark := c.route(p); !c.refuses(code) {
			c.sendPuback(p.PacketID, code, mark)
		}
	case mqtt.QoS2:
		c.publishOnce(p)
	}
}

// publishOnce passes a QoS 2 message on, unless it has come before, and answers it.
func (c *client) publishOnce(p *mqtt.Publish) {
	first, code, mark := c.routeOnce(p)
	switch {
	case c.version == mqtt.V5 || !code.Failed():
	case !first:
		c.fail(code, "PUBREL", "is missing for too many messages")
		return
	case c.refuses(code):
		return
	}
	c.sendPubrec(p.PacketID, code, mark)
}

// routeOnce is route for a QoS 2 message. If it has come before, the mark is where that is
// durable. The session's inbound lock makes sure that it is known, and that a PUBREL on
// another connection comes after it.
func (c *client) routeOnce(p *mqtt.Publish) (first bool, code broker.Code, mark store.Mark) {
	s := c.session
	if s.ledger != nil {
		s.ledger.inbound.Lock()
		defer s.ledger.inbound.Unlock()
	}
	first, code, mark = c.receive(p.PacketID)
	if first {
		code, mark = c.route(p)
	}
	switch {
	case code.Failed() && (c.version == mqtt.V5 || code == broker.CodeQuota):
		// A PUBREC with a failure ends the exchange [MQTT-4.3.3-9], and so does no PUBREC.
		s.mu.Lock()
		c.forgetID(p.PacketID)
		s.mu.Unlock()
	case first && mark != 0:
		s.mu.Lock()
		s.reached(mark)
		s.mu.Unlock()
	}
	return first, code, mark
}

// refuses ends the connection if a message is not taken and the client cannot be told: it
// has to send it again.
func (c *client) refuses(code broker.Code) bool {
	if code != broker.CodeQuota || c.version == mqtt.V5 {
		return false
	}
	c.endFor(endStoreFull, "the store has no room for messages")
	return true
}

// mayPublish reports whether the client keeps to what CONNACK said of PUBLISH. If not, the
// connection ends.
func (c *client) mayPublish(p *mqtt.Publish) bool {
	o := &c.broker.options
	switch {
	case int(p.QoS) > o.MaxQoS:
		c.fail(codeQoSNotSupported, "QoS", "is above the maximum QoS") // [MQTT-3.2.2-11]
	case p.Retain && o.MaxRetainedMessages == 0 && c.version == mqtt.V5:
		c.fail(codeRetainNotSupported, "retain", "is not available") // [MQTT-3.2.2-14]
	case p.QoS > mqtt.QoS0 && c.arriving >= o.ReceiveMaximum && c.version == mqtt.V5 && !c.arrived.has(p.PacketID):
		// QoS 1 is answered at once, so that QoS 2 alone counts [MQTT-3.3.4-7]
		// [MQTT-3.3.4-8].
		c.fail(codeReceiveMaximum, "receive maximum", "is exceeded")
	default:
		return true
	}
	return false
}

// route passes a message on, and returns what its publisher is told once all is durable up
// to the mark.
func (c *client) route(p *mqtt.Publish) (broker.Code, store.Mark) {
	b := c.broker
	r, code := c.routeOf(p.Topic)
	if !code.Failed() && !c.origin().mayPublish(r.topic) {
		code = broker.CodeNotAuthorized
	}
	if code.Failed() {
		// Whoever cannot be told has it acknowledged all the same [MQTT-3.3.5-2]; the
		// connection goes on.
		b.stats.refuse(code)
		return code, 0
	}
	m := newPublication()
	m.Topic, m.Payload, m.QoS, m.Retain = r.topic, p.Payload, byte(p.QoS), p.Retain
	m.from, m.origin, m.refuse = c.session.id, c.origin(), c.version == mqtt.V5 && p.QoS > 0
	if c.version == mqtt.V5 {
		if e := p.Properties.MessageExpiry; e.Set {
			m.expireAt(b, b.now()+time.Duration(e.Value)*time.Second)
		}
		c.listener.mount.response(&p.Properties)
		m.properties = passedOn(&p.Properties)
	}
	if p.QoS == mqtt.QoS2 && c.outlives() {
		m.with(c.session.receivedOp(p.PacketID))
	}
	if code = b.publish(m, r); !code.Failed() {
		c.intake.received[p.QoS]++
		c.intake.payload += len(p.Payload)
	}
	mark := m.mark
	m.release()
	return code, mark
}

// outlives reports whether the client's session survives a crash.
func (c *client) outlives() bool {
	s := c.session
	if s.ledger == nil {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.isDurable()
}

// receive notes that a QoS 2 message has come, and reports whether it is to be passed on:
// until its identifier is released, any that has it is the same message, whatever DUP says
// and on whichever connection it comes [MQTT-4.3.3-10]. The code is a failure if there is no
// room for its identifier. The mark is for one that has come before.
func (c *client) receive(id uint16) (first bool, code broker.Code, mark store.Mark) {
	if c.version == mqtt.V5 && !c.arrived.has(id) {
		if c.arrived == nil {
			c.arrived = make(idSet)
		}
		c.arrived.add(id)
		c.arriving++
	}
	s := c.session
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.line != c || s.received.has(id) {
		return false, code, s.mark() // if the client has come anew, it hears nothing here, and sends it there again
	}
	if s.received == nil {
		s.received = make(idSet)
	}
	if s.received.add(id) {
		if !s.broker.mayKeep(idPageCost) {
			s.received.remove(id)
			s.broker.limited.deny(sessionBytesLimit)
			return false, broker.CodeQuota, 0
		}
		s.keep(idPageCost)
	}
	return true, code, 0
}

// releaseID forgets the identifier of a QoS 2 message for good, and reports whether there
// was one. The mark is where that is durable: before, the client must not use the
// identifier for another message, which would be taken for this one after a crash.
func (c *client) releaseID(id uint16) (known bool, mark store.Mark) {
	s := c.session
	if s.ledger != nil {
		s.ledger.inbound.Lock()
		defer s.ledger.inbound.Unlock()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if known = c.forgetID(id); known {
		s.forgetReceived(id)
	}
	return known, s.mark()
}

// forgetID forgets the identifier of a QoS 2 message, and reports whether there was one. The
// caller holds the session's lock.
func (c *client) forgetID(id uint16) bool {
	if c.arrived.has(id) {
		c.arrived.remove(id)
		c.arriving--
	}
	s := c.session
	if s.line != c || !s.received.has(id) {
		return false
	}
	if s.received.remove(id) {
		s.keep(-idPageCost)
	}
	return true
}

// pubrel completes a QoS 2 message from the client.
func (c *client) pubrel(p *mqtt.Pubrel) {
	code := broker.CodeSuccess
	known, mark := c.releaseID(p.PacketID)
	if !known {
		code = codePacketIDNotFound
	}
	c.sendPubcomp(p.PacketID, code, mark) // [MQTT-4.3.3-11]
}
