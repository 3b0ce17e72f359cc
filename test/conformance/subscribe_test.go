package conformance

import (
	"fmt"
	"slices"

	"mqttsn-gateway/broker/mqtt"
)

// SUBSCRIBE and SUBACK: sections 3.8 and 3.9.

var (
	_ = statement("MQTT-3.8.1-1", both, "SUBSCRIBE with other flags than 0010 ends the connection", func(t *T) {
		for _, flags := range []byte{0, 1, 3, 6, 10, 15} {
			t.trying = fmt.Sprintf("%#x", flags)
			c := t.connect("a")
			c.packet(0x80|flags, `0001 %s "%s" 00`, t.noProps(), t.topic("x"))
			c.failed(mqtt.CodeMalformed)
		}
	})

	_ = statement("MQTT-3.8.3-1", both, "a filter that is not UTF-8 is not subscribed to", func(t *T) {
		for _, filter := range []string{"61C328", "61EDA080", "FF"} {
			t.trying = filter
			c := t.connect("a")
			c.packet(0x82, `0001 %s 00%02X %s 00`, t.noProps(), len(filter)/2, filter)
			c.rejected()
		}
	})

	_ = statement("MQTT-3.8.3-2", both, "SUBSCRIBE without a filter ends the connection", func(t *T) {
		c := t.connect("a")
		c.packet(0x82, `0001 %s`, t.noProps())
		c.failed(mqtt.CodeProtocolError, mqtt.CodeMalformed)
	})

	_ = statement("MQTT-3.8.3-3", v5, "with no local, what a client publishes does not come back to it", func(t *T) {
		c, other := t.connect("a"), t.connect("b")
		c.subscribe("x", 1, option(func(s *mqtt.Subscription) { s.NoLocal = true }))
		c.publish("x", "own", 1)
		c.quiet()
		other.publish("x", "other's", 1)
		c.takes("other's", 1)
	})

	_ = statement("MQTT-3.8.3-3b", v5, "no local of one subscription does not bind another one", func(t *T) {
		c := t.connect("a")
		c.subscribe("x/#", 1, option(func(s *mqtt.Subscription) { s.NoLocal = true }))
		c.subscribe("x/+", 0)
		c.send(t.message("x/y", "1", 0, 0), t.message("x/y/z", "2", 0, 0))
		c.takes("1", 0)
		c.quiet()
	})

	_ = statement("MQTT-3.8.3-4", v5, "no local on a shared subscription is a protocol error", func(t *T) {
		c := t.connect("a")
		c.packet(0x82, `0001 00 "$share/g/%s" 04`, t.topic("x"))
		c.failed(mqtt.CodeProtocolError)
	})

	_ = statement("MQTT-3.8.3-5", v5, "reserved subscription options end the connection", func(t *T) {
		for _, options := range []byte{0x40, 0x80, 0xC1} {
			t.trying = fmt.Sprintf("%#x", options)
			c := t.connect("a")
			c.packet(0x82, `0001 00 "%s" %02X`, t.topic("x"), options)
			c.failed(mqtt.CodeMalformed)
		}
		for _, options := range []byte{0x03, 0x30} { // QoS 3, retain handling 3
			c := t.connect("a")
			c.packet(0x82, `0001 00 "%s" %02X`, t.topic("x"), options)
			c.failed(mqtt.CodeProtocolError, mqtt.CodeMalformed)
		}
	})

	_ = statement("MQTT311-3.8.3-4", v311, "anything but a QoS after the filter ends the connection", func(t *T) {
		for _, options := range []byte{0x03, 0x04, 0x08, 0x10, 0x20, 0x40, 0x80} {
			t.trying = fmt.Sprintf("%#x", options)
			c := t.connect("a")
			c.packet(0x82, `0001 "%s" %02X`, t.topic("x"), options)
			c.failed()
		}
	})

	_ = statement("MQTT-3.8.4-1 MQTT-3.8.4-2 MQTT-2.2.1-6", both, "SUBSCRIBE is answered with SUBACK of its identifier", func(t *T) {
		c := t.connect("a")
		for _, id := range []uint16{1, 0x00FF, 0x0100, 0xFFFF} {
			c.send(&mqtt.Subscribe{PacketID: id, Subscriptions: []mqtt.Subscription{t.filter("x", 0)}})
			if a := expect[*mqtt.Suback](c); a.PacketID != id {
				t.Fatalf("SUBACK %d, want %d", a.PacketID, id)
			}
		}
		c.quiet()
	})

	_ = statement("MQTT-3.8.4-3", both, "the same filter again replaces the subscription", func(t *T) {
		c, pub := t.connect("a"), t.connect("pub")
		for _, qos := range []mqtt.QoS{2, 0, 1} {
			c.subscribe("x/+", qos)
			pub.publish("x/1", fmt.Sprint(qos), 2)
			c.takes(fmt.Sprint(qos), qos)
			c.quiet()
		}
		c.unsubscribe("x/+")
		pub.publish("x/1", "after", 1)
		c.quiet()
	})

	_ = statement("MQTT-3.8.4-3b", v5, "the subscription that replaces another has its own identifier and options", func(t *T) {
		c, pub := t.connect("a"), t.connect("pub")
		c.subscribe("x", 0, func(s *mqtt.Subscribe) { s.Properties.SubscriptionID = 7 })
		c.subscribe("x", 0, func(s *mqtt.Subscribe) {
			s.Properties.SubscriptionID = 8
			s.Subscriptions[0].RetainAsPublished = true
		})
		pub.publish("x", "1", 1, retain)
		if p := c.takes("1", 0); !slices.Equal(p.Properties.SubscriptionIDs, []uint32{8}) || !p.Retain {
			t.Fatalf("identifiers %v, retain %v", p.Properties.SubscriptionIDs, p.Retain)
		}
		c.subscribe("x", 0, option(func(s *mqtt.Subscription) { s.RetainHandling = mqtt.RetainNever }))
		pub.publish("x", "2", 1, retain)
		if p := c.takes("2", 0); p.Properties.SubscriptionIDs != nil || p.Retain {
			t.Fatalf("identifiers %v, retain %v", p.Properties.SubscriptionIDs, p.Retain)
		}
	})

	_ = statement("MQTT-3.8.4-4", both, "replacing a subscription sends the retained messages again", func(t *T) {
		c, pub := t.connect("a"), t.connect("pub")
		pub.publish("x", "kept", 1, retain)
		for range 3 {
			c.send(&mqtt.Subscribe{PacketID: c.packetID(), Subscriptions: []mqtt.Subscription{t.filter("x", 0)}})
			packets := c.collect(2)
			if p, ok := packets[0].(*mqtt.Publish); ok && p.Retain && string(p.Payload) == "kept" {
				continue
			}
			if p, ok := packets[1].(*mqtt.Publish); !ok || !p.Retain || string(p.Payload) != "kept" {
				t.Fatalf("got %s and %s, want SUBACK and the retained message", show(packets[0]), show(packets[1]))
			}
		}
		c.quiet()
	})

	_ = statement("MQTT-3.8.4-4b", both, "replacing a subscription loses no message", func(t *T) {
		const messages, times = 200, 20
		c, pub := t.connect("a"), t.connect("pub")
		c.subscribe("x", 0)
		for i := range messages {
			pub.send(&mqtt.Publish{Topic: []byte(t.topic("x")), Payload: fmt.Append(nil, i)})
			if i%(messages/times) == 0 {
				c.send(&mqtt.Subscribe{PacketID: c.packetID(), Subscriptions: []mqtt.Subscription{t.filter("x", 0)}})
			}
		}
		next := 0
		for _, p := range c.collect(messages + times) {
			if p, ok := p.(*mqtt.Publish); ok {
				if string(p.Payload) != fmt.Sprint(next) {
					t.Fatalf("got message %s, want %d", p.Payload, next)
				}
				next++
			}
		}
	})

	_ = statement("MQTT-3.8.4-5", both, "several filters in one SUBSCRIBE act one after the other", func(t *T) {
		c, pub := t.connect("a"), t.connect("pub")
		c.subscribes(t.filter("x", 2), t.filter("y", 1), t.filter("x", 0))
		c.quiet() // one SUBACK
		pub.publish("x", "1", 2)
		c.takes("1", 0) // the later one counts
		pub.publish("y", "2", 2)
		c.takes("2", 1)
		c.quiet()
	})

	_ = statement("MQTT-3.8.4-6 MQTT-3.9.3-1", both, "SUBACK has a code for each filter, in their order", func(t *T) {
		c := t.connect("a")
		a := c.subscribes(t.filter("1", 2), t.filter("2", 0), t.filter("3", 1), t.filter("4", 2))
		if !slices.Equal(a.Codes, []mqtt.Code{2, 0, 1, 2}) {
			t.Fatalf("SUBACK %v", a.Codes)
		}
	})

	_ = statement("MQTT-3.8.4-7", both, "the code of SUBACK is the granted QoS, or a failure and there is no subscription", func(t *T) {
		t.own(settings{embedded: onlySubscriptions(1), mosquitto: ""})
		c, pub := t.connect("a"), t.connect("pub")
		a := c.subscribes(t.filter("1", 1), t.filter("2", 1))
		if len(a.Codes) != 2 || a.Codes[0] != mqtt.CodeGrantedQoS1 || !a.Codes[1].Failed() {
			t.Fatalf("SUBACK %v, want QoS 1 and a failure", a.Codes)
		}
		pub.publish("2", "refused", 1)
		pub.publish("1", "granted", 1)
		c.takes("granted", 1)
		c.quiet()
	})

	_ = statement("MQTT-3.8.4-8", both, "messages come with the lower of the published and the granted QoS", func(t *T) {
		pub := t.connect("pub")
		for granted := range mqtt.QoS(3) {
			c := t.connect("a")
			c.subscribe("x", granted)
			for qos := range mqtt.QoS(3) {
				pub.publish("x", fmt.Sprint(qos), qos)
				c.takes(fmt.Sprint(qos), min(granted, qos))
			}
			c.leave()
		}
	})

	_ = statement("MQTT-3.9.2-1 MQTT-3.9.2-2", v5, "no reason string or user property makes SUBACK too large", func(t *T) {
		t.own(settings{embedded: onlySubscriptions(1), mosquitto: ""})
		c := t.connect("a", smallPackets)
		for _, name := range []string{"1", "2"} { // the second is refused
			c.send(&mqtt.Subscribe{PacketID: 1, Subscriptions: []mqtt.Subscription{t.filter(name, 1)}})
			if got := c.within(small); got != mqtt.TypeSuback {
				t.Fatalf("read %v, want SUBACK", got)
			}
		}
	})

	_ = statement("MQTT-3.9.3-2", v5, "SUBACK has only its own reason codes", func(t *T) {
		t.own(settings{embedded: onlySubscriptions(3), mosquitto: ""})
		c := t.connect("a")
		a := c.subscribes(t.filter("1", 0), t.filter("2", 1), t.filter("3", 2), t.filter("4", 2))
		t.oneOf([]mqtt.Code{0, 1, 2, 0x80, 0x83, 0x87, 0x8F, 0x91, 0x97, 0x9E, 0xA1, 0xA2}, a.Codes...)
	})

	_ = statement("MQTT311-3.9.3-2", v311, "SUBACK has only QoS 0 to 2 and 0x80", func(t *T) {
		t.own(settings{embedded: onlySubscriptions(3), mosquitto: ""})
		c := t.connect("a")
		c.send(&mqtt.Subscribe{PacketID: 1, Subscriptions: []mqtt.Subscription{
			t.filter("1", 0), t.filter("2", 1), t.filter("3", 2), t.filter("4", 2),
		}})
		h, body, _ := c.frame()
		if h.Type != mqtt.TypeSuback || len(body) != 6 || !slices.Equal(body[:5], []byte{0, 1, 0, 1, 2}) || body[5] != 2 && body[5] != 0x80 {
			t.Fatalf("read %v % x", h.Type, body)
		}
	})
)
