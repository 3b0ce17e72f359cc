package embedded

import (
	"time"

	"mqttsn-gateway/broker"
	"mqttsn-gateway/broker/mqtt"
)

// The reason codes that only MQTT clients are told.
const (
	codeProtocolError        = broker.Code(mqtt.CodeProtocolError)
	codeAuthenticationMethod = broker.Code(mqtt.CodeAuthenticationMethod)
	codeKeepAliveTimeout     = broker.Code(mqtt.CodeKeepAliveTimeout)
	codeTopicAlias           = broker.Code(mqtt.CodeTopicAlias)
	codeRetainNotSupported   = broker.Code(mqtt.CodeRetainNotSupported)
)

// handle handles one packet of a connected client. A packet that is wrong ends the
// connection: MQTT 5 clients are told why, others find it closed [MQTT-4.13.1-1]
// [MQTT-4.8.0-1].
func (c *client) handle(h mqtt.Header, body []byte) {
	packet, err := c.decoder.Decode(h, body, c.version)
	if err != nil {
		c.broken(err)
		return
	}
	switch p := packet.(type) {
	case *mqtt.Publish:
		c.publish(p)
	case *mqtt.Puback:
		c.acked(p.PacketID, 1)
	case *mqtt.Pubrec:
		c.pubrec(p)
	case *mqtt.Pubrel:
		c.pubrel(p)
	case *mqtt.Pubcomp:
		c.acked(p.PacketID, 2)
	case *mqtt.Subscribe:
		c.subscribe(p)
	case *mqtt.Unsubscribe:
		c.unsubscribe(p)
	case *mqtt.Pingreq:
		if b, ok, _ := c.out.open(anySize); ok {
			var answer mqtt.Pingresp
			c.out.done(answer.Append(b, c.version))
		}
	case *mqtt.Disconnect:
		c.disconnect(p)
	default: // a second CONNECT [MQTT-3.1.0-2], or AUTH without a method
		c.fail(codeProtocolError, h.Type.String(), "is not expected")
	}
}

// publish passes a message on. A QoS 2 message is passed on when it first comes, and its
// identifier kept until PUBREL, so that it is not passed on again [MQTT-4.3.3-9] to
// [MQTT-4.3.3-12].
func (c *client) publish(p *mqtt.Publish) {
	if p.Properties.TopicAlias != 0 {
		c.fail(codeTopicAlias, "topic alias", "none were offered") // [MQTT-3.2.2-17]
		return
	}
	if p.QoS < mqtt.QoS2 {
		code := c.route(p)
		if p.QoS == mqtt.QoS1 {
			if b, ok, _ := c.out.open(anySize); ok {
				ack := mqtt.Puback{PacketID: p.PacketID, Code: mqtt.Code(code)}
				c.out.done(ack.Append(b, c.version))
			}
		}
		return
	}
	known, ok := c.receive(p.PacketID)
	if !ok {
		return
	}
	code := broker.CodeSuccess
	if !known {
		if code = c.route(p); code.Failed() && c.version == mqtt.V5 {
			c.releaseID(p.PacketID) // a PUBREC with a failure ends the exchange [MQTT-4.3.3-4]
		}
	}
	if b, ok, _ := c.out.open(anySize); ok {
		ack := mqtt.Pubrec{PacketID: p.PacketID, Code: mqtt.Code(code)}
		c.out.done(ack.Append(b, c.version))
	}
}

// route passes a message on, and returns what its publisher is told.
func (c *client) route(p *mqtt.Publish) broker.Code {
	b := c.broker
	r, code := b.topics.routeBytes(p.Topic)
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
		m.properties = passedOn(&p.Properties)
	}
	if code = b.publish(m, r); !code.Failed() {
		c.intake.received[p.QoS]++
		c.intake.payload += len(p.Payload)
	}
	m.release()
	return code
}

// receive notes that a QoS 2 message with that identifier has come. It reports whether
// it was known; ok is false if the session is another connection's by now.
func (c *client) receive(id uint16) (known, ok bool) {
	s := c.session
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.line != c {
		return false, false
	}
	known = s.received.has(id)
	if !known {
		if s.received == nil {
			s.received = make(idSet)
		}
		s.received.add(id)
	}
	return known, true
}

// releaseID forgets the identifier of a QoS 2 message, and reports whether there was one.
func (c *client) releaseID(id uint16) bool {
	s := c.session
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.line != c || !s.received.has(id) {
		return false
	}
	s.received.remove(id)
	return true
}

// pubrel completes a QoS 2 message from the client.
func (c *client) pubrel(p *mqtt.Pubrel) {
	code := mqtt.CodeSuccess
	if !c.releaseID(p.PacketID) {
		code = mqtt.CodePacketIDNotFound
	}
	if b, ok, _ := c.out.open(anySize); ok {
		ack := mqtt.Pubcomp{PacketID: p.PacketID, Code: code} // [MQTT-4.3.3-11]
		c.out.done(ack.Append(b, c.version))
	}
}

// acked handles PUBACK and PUBCOMP: the client has the message, or never will. What does
// not fit what was sent is ignored.
func (c *client) acked(id uint16, qos byte) {
	s := c.session
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.line != c {
		return
	}
	if i, ok := s.queue.inFlight(id); ok && s.queue.at(i).qos == qos {
		s.complete(i, &c.tally)
	}
}

// pubrec handles PUBREC: the client has a QoS 2 message, or refuses it.
func (c *client) pubrec(p *mqtt.Pubrec) {
	s := c.session
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.line != c {
		return
	}
	i, ok := s.queue.inFlight(p.PacketID)
	if ok && s.queue.at(i).qos != 2 {
		return
	}
	if ok && p.Code.Failed() {
		s.complete(i, &c.tally)
		return
	}
	code := mqtt.CodeSuccess
	if ok {
		s.queue.at(i).released = true
	} else {
		code = mqtt.CodePacketIDNotFound
	}
	c.sendPubrel(p.PacketID, code)
}

func (c *client) sendPubrel(id uint16, code mqtt.Code) {
	if b, ok, _ := c.out.open(anySize); ok {
		ack := mqtt.Pubrel{PacketID: id, Code: code}
		c.out.done(ack.Append(b, c.version))
	}
}

// disconnect handles DISCONNECT: the client has left, and its will is forgotten if it
// says that all is well, and only then [MQTT-3.14.4-3].
func (c *client) disconnect(p *mqtt.Disconnect) {
	if e := p.Properties.SessionExpiry; e.Set {
		if e.Value > 0 && !c.lasting {
			c.fail(codeProtocolError, "session expiry", "was 0 in CONNECT") // [MQTT 5, 3.14.2.2.2]
			return
		}
		s := c.session
		s.mu.Lock()
		if s.line == c {
			s.expiry = min(time.Duration(e.Value)*time.Second, c.broker.longestExpiry())
		}
		s.mu.Unlock()
	}
	c.left = p.Code == mqtt.CodeSuccess
	c.gone = true
	c.over.Store(true)
}
