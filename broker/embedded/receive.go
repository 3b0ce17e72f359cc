package embedded

import (
	"time"

	"mqttsn-gateway/broker"
	"mqttsn-gateway/broker/mqtt"
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
		c.sendPuback(p.PacketID, c.route(p), 0)
	case mqtt.QoS2:
		first, code := c.receive(p.PacketID)
		if first {
			code = c.route(p)
		}
		if code.Failed() && !first && c.version < mqtt.V5 {
			c.fail(code, "PUBREL", "is missing for too many messages")
			return
		}
		if code.Failed() && c.version == mqtt.V5 {
			c.releaseID(p.PacketID) // a PUBREC with a failure ends the exchange [MQTT-4.3.3-9]
		}
		c.sendPubrec(p.PacketID, code, 0)
	}
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

// route passes a message on, and returns what its publisher is told.
func (c *client) route(p *mqtt.Publish) broker.Code {
	b := c.broker
	r, code := c.routeOf(p.Topic)
	if code.Failed() {
		// Whoever cannot be told has it acknowledged all the same [MQTT-3.3.5-2]; the
		// connection goes on.
		b.stats.refuse(code)
		return code
	}
	m := newPublication()
	m.Topic, m.Payload, m.QoS, m.Retain = r.topic, p.Payload, byte(p.QoS), p.Retain
	m.from, m.refuse = c.session.id, c.version == mqtt.V5 && p.QoS > 0
	if c.version == mqtt.V5 {
		if e := p.Properties.MessageExpiry; e.Set {
			m.expireAt(b, b.now()+time.Duration(e.Value)*time.Second)
		}
		c.listener.mount.response(&p.Properties)
		m.properties = passedOn(&p.Properties)
	}
	if code = b.publish(m, r); !code.Failed() {
		c.intake.received[p.QoS]++
		c.intake.payload += len(p.Payload)
	}
	m.release()
	return code
}

// receive notes that a QoS 2 message has come, and reports whether it is to be passed on:
// until its identifier is released, any that has it is the same message, whatever DUP says
// and on whichever connection it comes [MQTT-4.3.3-10]. The code is a failure if there is no
// room for its identifier.
func (c *client) receive(id uint16) (first bool, code broker.Code) {
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
		return false, code // if the client has come anew, it hears nothing here, and sends it there again
	}
	if s.received == nil {
		s.received = make(idSet)
	}
	if s.received.add(id) {
		if !s.broker.mayKeep(idPageCost) {
			s.received.remove(id)
			s.broker.limited.deny(sessionBytesLimit)
			return false, broker.CodeQuota
		}
		s.keep(idPageCost)
	}
	return true, code
}

// releaseID forgets the identifier of a QoS 2 message, and reports whether there was one.
func (c *client) releaseID(id uint16) bool {
	if c.arrived.has(id) {
		c.arrived.remove(id)
		c.arriving--
	}
	s := c.session
	s.mu.Lock()
	defer s.mu.Unlock()
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
	if !c.releaseID(p.PacketID) {
		code = codePacketIDNotFound
	}
	c.sendPubcomp(p.PacketID, code, 0) // [MQTT-4.3.3-11]
}
