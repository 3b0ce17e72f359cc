package embedded

import (
	"time"

	"mqttsn-gateway/broker"
	"mqttsn-gateway/broker/mqtt"
	"mqttsn-gateway/gateway/store"
)

// pass hands over a QoS 0 message: line.
func (c *client) pass(p *publication, retain bool, r *rare) reason {
	if p.expires != 0 && p.expires <= c.broker.now() {
		return expired
	}
	b, ok, room := c.out.open(c.broker.options.MaxQueuedBytes)
	switch {
	case !room:
		return slowClient
	case !ok:
		return clientAway
	}
	if p.many && r == nil && c.maxAlias == 0 && c.listener.mount == nil {
		return c.addFrame(b, p, retain)
	}
	packet := mqtt.Publish{Retain: retain, Topic: c.out.at().name(p.Topic), Payload: p.Payload}
	return c.add(b, &packet, &p.message, r)
}

// send hands over a QoS 1 or 2 message, or the PUBREL for it: line.
func (c *client) send(d *delivery, again bool) reason {
	s := c.session
	if d.released {
		c.sendPubrel(d.id, broker.CodeSuccess, s.mark()) // [MQTT-4.4.0-1]
		return noReason
	}
	var mark store.Mark // where the identifier is durable
	if d.qos == 2 && s.isDurable() {
		mark = s.mark()
	}
	b, ok := c.out.deliver(mark, c.broker.options.MaxQueuedBytes)
	if !ok {
		return noRoom
	}
	m := d.message
	packet := mqtt.Publish{
		DUP: again, QoS: mqtt.QoS(d.qos), Retain: d.retain,
		Topic: c.out.at().name(m.Topic), PacketID: d.id, Payload: m.Payload,
	}
	return c.add(b, &packet, m, d.rare)
}

// add adds a PUBLISH to the output, which is open, unless it is larger than the client
// takes [MQTT-3.1.2-24]. Then it counts as sent and acknowledged [MQTT-3.1.2-25].
func (c *client) add(b []byte, p *mqtt.Publish, m *message, r *rare) reason {
	topic, visible := c.listener.mount.strip(p.Topic)
	if !visible {
		c.out.cancel()
		return outsideMount
	}
	fresh := false
	p.Topic = topic
	if c.version == mqtt.V5 {
		c.addProperties(&p.Properties, m, r)
		fresh = c.alias(p, m.Topic)
	}
	with := p.Append(b, c.version)
	if fresh && c.oversize(b, with) {
		fresh, p.Properties.TopicAlias = false, 0 // it may fit without
		with = p.Append(b, c.version)
	}
	if c.oversize(b, with) {
		c.out.cancel()
		return tooLarge
	}
	if fresh {
		c.aliasesOut.set(m.Topic)
		c.broker.stats.kept.Add(int64(len(m.Topic)))
	}
	if !p.DUP { // what is sent again is counted once
		c.out.at().payload += len(p.Payload)
	}
	c.out.done(with)
	return noReason
}

// addFrame adds a QoS 0 message to the output, which is open, as all clients of the version
// get it but for the retain flag.
func (c *client) addFrame(b []byte, p *publication, retain bool) reason {
	f := &p.frames[0]
	if c.version == mqtt.V5 {
		f = &p.frames[1]
	}
	if len(*f) == 0 {
		packet := mqtt.Publish{Topic: c.out.at().name(p.Topic), Payload: p.Payload}
		if c.version == mqtt.V5 {
			c.addProperties(&packet.Properties, &p.message, nil)
		}
		*f = packet.Append(*f, c.version)
	}
	with := append(b, *f...)
	if c.oversize(b, with) {
		c.out.cancel()
		return tooLarge
	}
	if retain {
		with[len(b)] |= 1 // [MQTT-3.3.1-8]
	}
	c.out.at().payload += len(p.Payload)
	c.out.done(with)
	return noReason
}

// oversize reports whether the packet between before and with is larger than the client
// takes.
func (c *client) oversize(before, with []byte) bool {
	return c.maxPacket > 0 && len(with)-len(before) > c.maxPacket
}

func (c *client) addProperties(p *mqtt.PublishProperties, m *message, r *rare) {
	if m.properties != nil {
		*p = *m.properties
		c.listener.mount.stripResponse(p)
	}
	if r != nil {
		p.SubscriptionIDs = r.ids
	}
	if m.expires != 0 {
		// What is left of the time, rounded up [MQTT-3.3.2-6].
		left := max(m.expires-c.broker.now(), 0) + time.Second - 1
		p.MessageExpiry = mqtt.Some(uint32(left / time.Second))
	}
}

// pump lets the session go on when there is room again.
func (c *client) pump() {
	s := c.session
	var t tally
	s.mu.Lock()
	if s.line == c {
		s.pump(&t)
	}
	s.mu.Unlock()
	c.broker.stats.add(&t)
}
