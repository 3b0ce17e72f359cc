package conformance

import (
	"fmt"
	"slices"

	"mqttsn-gateway/broker/embedded"
	"mqttsn-gateway/broker/mqtt"
)

// noProps is a property length of 0 in the notation of octets, where the version has one.
func (t *T) noProps() string {
	if t.v5() {
		return "00"
	}
	return ""
}

// pass lets the broker's clock go on by at least that many seconds: the will of a client
// that is gone, with that delay, tells. Only for MQTT 5.
func (t *T) pass(seconds uint32) {
	t.Helper()
	watcher := t.connect("clock-watcher")
	watcher.subscribe("clock", 0)
	t.connect("clock", lasting, will(t.topic("clock"), "struck", func(w *mqtt.Will) {
		w.Properties.Delay = mqtt.Some(seconds)
	})).drop()
	watcher.gets("struck", 0)
	watcher.leave()
}

// will is a change to CONNECT.
func will(topic, payload string, change ...func(w *mqtt.Will)) func(c *mqtt.Connect) {
	return func(c *mqtt.Connect) {
		c.HasWill = true
		c.Will.Topic, c.Will.Payload = []byte(topic), []byte(payload)
		for _, f := range change {
			f(&c.Will)
		}
	}
}

// receiveMaximum is a change to CONNECT.
func receiveMaximum(n uint16) func(c *mqtt.Connect) {
	return func(c *mqtt.Connect) { c.Properties.ReceiveMaximum = n }
}

// expiry is a change to PUBLISH: the seconds that the message is worth sending.
func expiry(seconds uint32) func(p *mqtt.Publish) {
	return func(p *mqtt.Publish) { p.Properties.MessageExpiry = mqtt.Some(seconds) }
}

// shared is a change to SUBSCRIBE: the same filter, shared in that group.
func shared(group string) func(s *mqtt.Subscribe) {
	return func(s *mqtt.Subscribe) {
		sub := &s.Subscriptions[0]
		sub.Filter = fmt.Appendf(nil, "$share/%s/%s", group, sub.Filter)
	}
}

// option is a change to SUBSCRIBE: to the options of its only filter.
func option(change func(s *mqtt.Subscription)) func(s *mqtt.Subscribe) {
	return func(s *mqtt.Subscribe) { change(&s.Subscriptions[0]) }
}

// subscribes sends one SUBSCRIBE with these filters and QoS, and returns its answer.
func (c *client) subscribes(filters ...mqtt.Subscription) *mqtt.Suback {
	c.Helper()
	c.send(&mqtt.Subscribe{PacketID: c.packetID(), Subscriptions: filters})
	return expect[*mqtt.Suback](c)
}

// unsubscribe unsubscribes from t.topic(name) of all names, and returns the answer.
func (c *client) unsubscribe(names ...string) *mqtt.Unsuback {
	c.Helper()
	p := &mqtt.Unsubscribe{PacketID: c.packetID()}
	for _, name := range names {
		p.Filters = append(p.Filters, []byte(c.topic(name)))
	}
	c.send(p)
	return expect[*mqtt.Unsuback](c)
}

// filter is one subscription of a SUBSCRIBE, to t.topic(name).
func (t *T) filter(name string, qos mqtt.QoS) mqtt.Subscription {
	return mqtt.Subscription{Filter: []byte(t.topic(name)), QoS: qos}
}

// rejected expects that what was sent is refused in the answer to it or by the end of the
// connection: the specification often leaves that to the broker.
func (c *client) rejected() {
	c.Helper()
	switch p := c.next().(type) {
	case nil:
	case *mqtt.Disconnect:
		if !p.Code.Failed() {
			c.Fatalf("read %s, want a refusal", show(p))
		}
		c.closed()
	case *mqtt.Suback:
		for _, code := range p.Codes {
			if !code.Failed() {
				c.Fatalf("SUBACK %v, want a failure", p.Codes)
			}
		}
	case *mqtt.Unsuback:
		for _, code := range p.Codes {
			if !code.Failed() && code != mqtt.CodeNoSubscription {
				c.Fatalf("UNSUBACK %v, want a failure", p.Codes)
			}
		}
	default:
		c.Fatalf("read %s, want a refusal", show(p))
	}
}

// within reads the next packet, which must have at most that many octets.
func (c *client) within(octets int) mqtt.Type {
	c.Helper()
	h, body, err := c.frame()
	if err != nil {
		c.Fatalf("read %v, want a packet", err)
	}
	size := 2 + len(body)
	for n := len(body); n > 127; n >>= 7 {
		size++
	}
	if size > octets {
		c.Fatalf("%v has %d octets, at most %d are allowed", h.Type, size, octets)
	}
	return h.Type
}

// smallPackets is a change to CONNECT: a maximum packet size in which every answer fits
// that says no more than it must.
func smallPackets(c *mqtt.Connect) { c.Properties.MaximumPacketSize = small }

const small = 20

// oneOf expects codes that are in the list.
func (t *T) oneOf(list []mqtt.Code, codes ...mqtt.Code) {
	t.Helper()
	for _, code := range codes {
		if !slices.Contains(list, code) {
			t.Fatalf("%v is not a reason code of this packet", code)
		}
	}
}

// onlySubscriptions are settings of the embedded broker.
func onlySubscriptions(n int) func(o *embedded.Options) {
	return func(o *embedded.Options) { o.MaxSubscriptions = n }
}

// collect reads that many packets.
func (c *client) collect(n int) (all []mqtt.Packet) {
	c.Helper()
	for range n {
		p := c.next()
		if p == nil {
			c.Fatalf("the connection ends after %d packets, want %d", len(all), n)
		}
		all = append(all, p)
	}
	return all
}
