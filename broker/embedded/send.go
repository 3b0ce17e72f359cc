package embedded

import (
	"time"

	"mqttsn-gateway/broker/mqtt"
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
	var topic [128]byte
	packet := mqtt.Publish{Retain: retain, Topic: append(topic[:0], p.Topic...), Payload: p.Payload}
	if c.version == mqtt.V5 {
		c.addProperties(&packet.Properties, &p.message, r)
	}
	return c.sent(b, packet.Append(b, c.version), len(p.Payload))
}

// send hands over a QoS 1 or 2 message, or the PUBREL for it: line.
func (c *client) send(d *delivery, again bool) reason {
	if d.released {
		c.sendPubrel(d.id, mqtt.CodeSuccess) // [MQTT-4.4.0-1]
		return noReason
	}
	b, ok, _ := c.out.open(c.broker.options.MaxQueuedBytes)
	if !ok {
		return noRoom
	}
	m := d.message
	var topic [128]byte
	packet := mqtt.Publish{
		DUP: again, QoS: mqtt.QoS(d.qos), Retain: d.retain,
		Topic: append(topic[:0], m.Topic...), PacketID: d.id, Payload: m.Payload,
	}
	if c.version == mqtt.V5 {
		c.addProperties(&packet.Properties, m, d.rare)
	}
	payload := len(m.Payload)
	if again {
		payload = 0 // it is counted once
	}
	return c.sent(b, packet.Append(b, c.version), payload)
}

// sent ends the sending of a message, unless it is larger than the client takes
// [MQTT-3.1.2-24]. Then it counts as sent and acknowledged [MQTT-3.1.2-25].
func (c *client) sent(before, with []byte, payload int) reason {
	if c.maxPacket > 0 && len(with)-len(before) > c.maxPacket {
		c.out.cancel()
		return tooLarge
	}
	c.out.pending.payload += payload
	c.out.done(with)
	return noReason
}

func (c *client) addProperties(p *mqtt.PublishProperties, m *message, r *rare) {
	if m.properties != nil {
		*p = *m.properties
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

func (c *client) subscribe(p *mqtt.Subscribe) {
	all := make([]wanted, len(p.Subscriptions))
	for i := range p.Subscriptions {
		ask := &p.Subscriptions[i]
		all[i] = wanted{
			filter:   string(ask.Filter),
			handling: ask.RetainHandling,
			sub: subscription{
				id:                p.Properties.SubscriptionID,
				qos:               byte(ask.QoS),
				noLocal:           ask.NoLocal,
				retainAsPublished: ask.RetainAsPublished,
			},
		}
	}
	c.session.subscribe(c, all, func() {
		answer := mqtt.Suback{PacketID: p.PacketID} // one code for each filter [MQTT-3.8.4-6]
		for i := range all {
			code := mqtt.Code(all[i].code)
			if !code.Failed() {
				code = mqtt.Code(all[i].sub.qos)
			}
			answer.Codes = append(answer.Codes, code)
		}
		if b, ok, _ := c.out.open(anySize); ok {
			c.out.done(answer.Append(b, c.version))
		}
	})
}

func (c *client) unsubscribe(p *mqtt.Unsubscribe) {
	filters := make([]string, len(p.Filters))
	for i, f := range p.Filters {
		filters[i] = string(f)
	}
	existed, ok := c.session.unsubscribe(c, filters)
	if !ok {
		return
	}
	answer := mqtt.Unsuback{PacketID: p.PacketID} // [MQTT-3.10.4-4]
	for _, e := range existed {
		code := mqtt.CodeSuccess
		if !e {
			code = mqtt.CodeNoSubscription
		}
		answer.Codes = append(answer.Codes, code)
	}
	if b, ok, _ := c.out.open(anySize); ok {
		c.out.done(answer.Append(b, c.version))
	}
}
