package embedded

import (
	"time"

	"mqttsn-gateway/broker"
	"mqttsn-gateway/broker/mqtt"
)

// The reason codes that only MQTT clients are told.
const (
	codeProtocolError        = broker.Code(mqtt.CodeProtocolError)
	codeBadCredentials       = broker.Code(mqtt.CodeBadCredentials)
	codeAuthenticationMethod = broker.Code(mqtt.CodeAuthenticationMethod)
	codeKeepAliveTimeout     = broker.Code(mqtt.CodeKeepAliveTimeout)
	codeTopicAlias           = broker.Code(mqtt.CodeTopicAlias)
	codeRetainNotSupported   = broker.Code(mqtt.CodeRetainNotSupported)
	codeQoSNotSupported      = broker.Code(mqtt.CodeQoSNotSupported)
	codeReceiveMaximum       = broker.Code(mqtt.CodeReceiveMaximum)
	codeClientID             = broker.Code(mqtt.CodeClientID)
	codePacketIDNotFound     = broker.Code(mqtt.CodePacketIDNotFound)
)

// handle handles one packet of a connected client. A packet that is wrong ends the
// connection: MQTT 5 clients are told why, others find it closed [MQTT-4.13.1-1]
// [MQTT-4.8.0-1].
func (c *client) handle(h mqtt.Header, body []byte) {
	packet, err := c.decode(h, body, c.version)
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

// acked handles PUBACK and PUBCOMP: the client has the message, or never will.
func (c *client) acked(id uint16, qos byte) {
	s := c.session
	s.mu.Lock()
	d, i := c.inFlight(id)
	fits := d == nil || d.qos == qos && (qos == 1 || d.released)
	if d != nil && fits {
		s.complete(i, &c.tally)
	}
	s.mu.Unlock()
	if !fits {
		c.outOfStep()
	}
}

// pubrec handles PUBREC: the client has a QoS 2 message, or refuses it.
func (c *client) pubrec(p *mqtt.Pubrec) {
	s := c.session
	s.mu.Lock()
	d, i := c.inFlight(p.PacketID)
	fits := d == nil || d.qos == 2
	switch {
	case !fits:
	case d == nil && p.Code.Failed(): // there is nothing to release
	case d == nil:
		c.sendPubrel(p.PacketID, codePacketIDNotFound, s.mark())
	case p.Code.Failed():
		s.complete(i, &c.tally) // [MQTT-4.4.0-2]
	default:
		s.release(d)
		c.sendPubrel(p.PacketID, broker.CodeSuccess, s.mark()) // [MQTT-4.3.3-4]
	}
	s.mu.Unlock()
	if !fits {
		c.outOfStep()
	}
}

// inFlight is the delivery in flight with that identifier and its place; nil for none. An
// acknowledgement for none is let pass: it may be for a session that has ended. The caller
// holds the session's lock.
func (c *client) inFlight(id uint16) (*delivery, int) {
	s := c.session
	if s.line != c {
		return nil, 0
	}
	i, ok := s.queue.inFlight(id)
	if !ok {
		return nil, 0
	}
	return s.queue.at(i), i
}

// outOfStep ends the connection of a client that acknowledges a message by a packet that
// does not belong to its QoS, or not yet: a protocol error [MQTT-4.13.1-1]. The message
// stays in the queue and comes again on the next connection. If the packet were ignored,
// the message might keep its place in flight for as long as the client stays.
func (c *client) outOfStep() {
	c.fail(codeProtocolError, "acknowledgement", "is not the one that is due for the message")
}

// disconnect handles DISCONNECT: the client has left, and its will is forgotten if it
// says that all is well, and only then [MQTT-3.14.4-3].
func (c *client) disconnect(p *mqtt.Disconnect) {
	if e := p.Properties.SessionExpiry; e.Set {
		if e.Value > 0 && !c.lasting {
			c.fail(codeProtocolError, "session expiry interval", "was 0 in CONNECT") // [MQTT 5, 3.14.2.2.2]
			return
		}
		s := c.session
		s.mu.Lock()
		if s.line == c {
			s.expiry = min(sessionExpiry(e.Value), c.broker.longestExpiry())
		}
		s.mu.Unlock()
	}
	c.left = p.Code == mqtt.CodeSuccess
	c.gone = !c.out.finish()
	c.ends(endLeft, "")
}

// sessionExpiry is a session expiry interval of MQTT 5.
func sessionExpiry(seconds uint32) time.Duration {
	if seconds == 0xFFFFFFFF {
		return forever
	}
	return time.Duration(seconds) * time.Second
}
