package conformance

import (
	"bytes"
	"fmt"
	"slices"
	"time"

	"mqttsn-gateway/broker/mqtt"
)

// Chapter 3.3, PUBLISH; what concerns retained messages is in retain_test.go.

var (
	_ = statement("MQTT-3.3.1-1", both, "a message that is sent again is marked as such", func(t *T) {
		c, from := t.connect("a", lasting), t.connect("b")
		c.subscribe("a", 2)
		for qos := range mqtt.QoS(3) {
			from.publish("a", "x", qos)
			if m := c.gets("x", qos); m.DUP {
				t.Fatalf("QoS %d is marked when it is sent first", qos)
			}
		}
		c.drop()
		c = t.connect("a", lasting)
		for _, qos := range []mqtt.QoS{1, 2} {
			if m := c.gets("x", qos); !m.DUP {
				t.Fatalf("QoS %d is not marked when it is sent again", qos)
			}
		}
	})

	_ = statement("MQTT-3.3.1-2", both, "a message with QoS 0 is never marked as sent again", func(t *T) {
		c := t.connect("a")
		c.packet(0x38, `"%s" %s 'x'`, t.topic("a"), t.none())
		c.failed(mqtt.CodeMalformed, mqtt.CodeProtocolError)
		c = t.connect("a")
		c.subscribe("a", 0)
		c.packet(0x3A, `"%s" 0001 %s 'x'`, t.topic("a"), t.none())
		if m := c.gets("x", 0); m.DUP {
			t.Fatal("is marked")
		}
	})

	_ = statement("MQTT-3.3.1-3", both, "that its publisher sent a message again does not reach subscribers", func(t *T) {
		c, from := t.connect("a"), t.connect("b")
		c.subscribe("a", 2)
		for _, qos := range []mqtt.QoS{1, 2} {
			from.publish("a", "x", qos, func(p *mqtt.Publish) { p.DUP = true })
			if m := c.takes("x", qos); m.DUP {
				t.Fatalf("QoS %d is marked", qos)
			}
		}
	})

	_ = statement("MQTT-3.3.1-4", both, "QoS 3 is malformed", func(t *T) {
		c := t.connect("a")
		c.packet(0x36, `"%s" 0001 %s 'x'`, t.topic("a"), t.none())
		c.failed(mqtt.CodeMalformed)
	})

	_ = statement("MQTT-3.3.2-1", both, "the topic comes first, and is UTF-8", func(t *T) {
		for _, bad := range []string{``, `00`, `0002 'a'`, `0002C328 00`} {
			t.trying = bad
			c := t.connect("a")
			c.packet(0x30, "%s", bad)
			c.failed(mqtt.CodeMalformed, mqtt.CodeProtocolError, mqtt.CodeTopicName)
		}
	})

	_ = statement("MQTT-3.3.2-2", both, "a topic with wildcards is refused", func(t *T) {
		for _, topic := range []string{"a/+", "a/#", "+", "#", "a+b", "a#"} {
			t.trying = topic
			c := t.connect("a")
			c.packet(0x30, `"%s" %s 'x'`, topic, t.none())
			c.failed(mqtt.CodeTopicName, mqtt.CodeMalformed, mqtt.CodeProtocolError)
		}
	})

	_ = statement("MQTT-3.3.2-3", both, "a subscriber gets what matches its filter, with the topic it was published to", func(t *T) {
		c, from := t.connect("a"), t.connect("b")
		c.subscribe("a/+/c", 0)
		for _, topic := range []string{"a/b", "a/b/d", "a/b/c/d", "x/b/c", "a/B/c"} {
			from.publish(topic, "x", 0)
		}
		if m := c.gets("x", 0); string(m.Topic) != t.topic("a/B/c") {
			t.Fatalf("topic %q", m.Topic)
		}
	})

	_ = statement("MQTT-3.3.2-4", v5, "the payload format indicator is passed on", func(t *T) {
		t.passedOn(func(p *mqtt.PublishProperties) {}, func(p *mqtt.PublishProperties) bool { return !p.PayloadFormat.Set })
		for n := range byte(2) {
			t.passedOn(func(p *mqtt.PublishProperties) { p.PayloadFormat = mqtt.Some(n) },
				func(p *mqtt.PublishProperties) bool { return p.PayloadFormat.Or(0) == n })
		}
	})

	_ = statement("MQTT-3.3.2-5", v5, "a message whose expiry has passed is not delivered", func(t *T) {
		c, from := t.connect("a", lasting), t.connect("b")
		c.subscribe("a", 2)
		c.leave()
		for qos := range mqtt.QoS(3) {
			from.publish("a", "short", qos, expiring(1))
			from.publish("a", "long", qos, expiring(60))
		}
		from.publish("a", "endless", 1)
		wait(t, 2*time.Second)
		c = t.connect("a", lasting)
		c.gets("long", 1)
		c.gets("long", 2)
		c.gets("endless", 1)
	})

	_ = statement("MQTT-3.3.2-6", v5, "the expiry that a subscriber is told is what is left of it", func(t *T) {
		c, from := t.connect("a", lasting), t.connect("b")
		c.subscribe("a", 1)
		from.publish("a", "at once", 1, expiring(60))
		if e := c.takes("at once", 1).Properties.MessageExpiry; !e.Set || e.Value > 60 || e.Value < 40 {
			t.Fatalf("message expiry %+v, want 60", e)
		}
		c.leave()
		from.publish("a", "waits", 1, expiring(60))
		wait(t, 2*time.Second)
		c = t.connect("a", lasting)
		if e := c.takes("waits", 1).Properties.MessageExpiry; !e.Set || e.Value > 58 || e.Value < 40 {
			t.Fatalf("message expiry %+v, want 58", e)
		}
	})

	_ = statement("MQTT-3.3.2-8", v5, "topic alias 0 is refused", func(t *T) {
		c := t.connect("a")
		c.packet(0x30, `"%s" 03 23 0000 'x'`, t.topic("a"))
		c.failed(mqtt.CodeTopicAlias, mqtt.CodeProtocolError, mqtt.CodeMalformed)
	})

	_ = statement("MQTT-3.3.2-13", v5, "a response topic that is not UTF-8 is refused", func(t *T) {
		c := t.connect("a")
		c.packet(0x30, `"%s" 05 08 0002C328 'x'`, t.topic("a"))
		c.failed(mqtt.CodeMalformed, mqtt.CodeProtocolError, mqtt.CodeTopicName)
	})

	_ = statement("MQTT-3.3.2-14", v5, "a response topic with wildcards is refused", func(t *T) {
		for _, topic := range []string{"a/+", "a/#", "#"} {
			t.trying = topic
			c := t.connect("a")
			c.packet(0x30, `"%s" %02X 08 "%s" 'x'`, t.topic("a"), 3+len(topic), topic)
			c.failed(mqtt.CodeTopicName, mqtt.CodeMalformed, mqtt.CodeProtocolError)
		}
	})

	_ = statement("MQTT-4.7.3-1c", v5, "a response topic has at least one character", func(t *T) {
		c := t.connect("a")
		c.packet(0x30, `"%s" 03 08 "" 'x'`, t.topic("a"))
		c.failed(mqtt.CodeTopicName, mqtt.CodeMalformed, mqtt.CodeProtocolError)
	})

	_ = statement("MQTT-3.3.2-15", v5, "the response topic is passed on", func(t *T) {
		t.passedOn(func(p *mqtt.PublishProperties) { p.ResponseTopic = []byte("an/swer/ü") },
			func(p *mqtt.PublishProperties) bool { return string(p.ResponseTopic) == "an/swer/ü" })
	})

	_ = statement("MQTT-3.3.2-16", v5, "correlation data is passed on", func(t *T) {
		for _, data := range [][]byte{{}, {0, 1, 0xFF, 0xFE}, bytes.Repeat([]byte{0x80}, 10_000)} {
			t.passedOn(func(p *mqtt.PublishProperties) { p.CorrelationData = data },
				func(p *mqtt.PublishProperties) bool {
					return p.CorrelationData != nil && bytes.Equal(p.CorrelationData, data)
				})
		}
	})

	_ = statement("MQTT-3.3.2-17 MQTT-3.3.2-18", v5, "user properties are passed on, in their order", func(t *T) {
		t.passedOn(func(p *mqtt.PublishProperties) { p.User = someProperties },
			func(p *mqtt.PublishProperties) bool { return slices.EqualFunc(p.User, someProperties, equalProperty) })
	})

	_ = statement("MQTT-3.3.2-19", v5, "a content type that is not UTF-8 is refused", func(t *T) {
		c := t.connect("a")
		c.packet(0x30, `"%s" 05 03 0002C328 'x'`, t.topic("a"))
		c.failed(mqtt.CodeMalformed, mqtt.CodeProtocolError)
	})

	_ = statement("MQTT-3.3.2-20", v5, "the content type is passed on", func(t *T) {
		t.passedOn(func(p *mqtt.PublishProperties) { p.ContentType = []byte("text/ü") },
			func(p *mqtt.PublishProperties) bool { return string(p.ContentType) == "text/ü" })
	})

	_ = statement("MQTT-3.3.4-1", both, "a PUBLISH is answered as its QoS says", func(t *T) {
		c := t.connect("a")
		topic := []byte(t.topic("a"))
		c.send(&mqtt.Publish{Topic: topic})
		c.quiet()
		c.send(&mqtt.Publish{Topic: topic, QoS: 1, PacketID: 1})
		expect[*mqtt.Puback](c)
		c.quiet()
		c.send(&mqtt.Publish{Topic: topic, QoS: 2, PacketID: 2})
		expect[*mqtt.Pubrec](c)
		c.quiet()
	})

	_ = statement("MQTT-3.3.4-2", both, "with overlapping subscriptions a message comes with the highest QoS of them", func(t *T) {
		c, from := t.connect("a"), t.connect("b")
		c.subscribe("a", 1)
		c.subscribe("+", 2)
		c.subscribe("#", 0)
		from.publish("a", "x", 2)
		from.publish("marker", "marker", 0)
		highest := mqtt.QoS(0)
		for m := expect[*mqtt.Publish](c); string(m.Payload) != "marker"; m = expect[*mqtt.Publish](c) {
			highest = max(highest, m.QoS)
		}
		if highest != 2 {
			t.Fatalf("QoS %d, want 2", highest)
		}
	})

	_ = statement("MQTT-3.3.4-3 MQTT-3.3.4-4 MQTT-3.3.4-5", v5, "a message has the identifiers of all subscriptions that it comes for", func(t *T) {
		c, from := t.connect("a"), t.connect("b")
		for i, filter := range []string{"a", "+", "#"} {
			c.subscribe(filter, 0, func(s *mqtt.Subscribe) { s.Properties.SubscriptionID = []uint32{1, 268_435_455, 0}[i] })
		}
		from.publish("a", "x", 0)
		from.publish("marker", "marker", 0)
		var copies int
		var all []uint32
		for m := expect[*mqtt.Publish](c); string(m.Payload) == "x"; m = expect[*mqtt.Publish](c) {
			copies++
			all = append(all, m.Properties.SubscriptionIDs...)
			if copies > 1 && len(m.Properties.SubscriptionIDs) > 1 {
				t.Fatalf("copy %d has the identifiers %d", copies, m.Properties.SubscriptionIDs)
			}
		}
		slices.Sort(all)
		if !slices.Equal(all, []uint32{1, 268_435_455}) || copies != 1 && copies != 3 {
			t.Fatalf("%d copies have the identifiers %d", copies, all)
		}
	})

	_ = statement("MQTT-3.3.4-6", v5, "a client may not send a subscription identifier with a message", func(t *T) {
		c := t.connect("a")
		c.packet(0x30, `"%s" 02 0B01 'x'`, t.topic("a"))
		c.failed(mqtt.CodeProtocolError, mqtt.CodeMalformed)
	})

	_ = statement("MQTT-3.3.4-9", v5, "no more messages are in flight to a client than its receive maximum", func(t *T) {
		c := t.connect("a", func(c *mqtt.Connect) { c.Properties.ReceiveMaximum = 2 })
		from := t.connect("b")
		c.subscribe("a", 2)
		for _, payload := range []string{"1", "2", "3", "4"} {
			from.publish("a", payload, 1+mqtt.QoS(payload[0]%2))
		}
		one, two := c.gets("1", 2), c.gets("2", 1)
		c.quiet()
		c.send(&mqtt.Puback{PacketID: two.PacketID})
		three := c.gets("3", 2)
		c.quiet()
		c.send(&mqtt.Pubrec{PacketID: one.PacketID})
		expect[*mqtt.Pubrel](c)
		c.quiet()
		c.send(&mqtt.Pubrec{PacketID: three.PacketID, Code: mqtt.CodeUnspecified}) // ends it
		c.gets("4", 1)
	})

	_ = statement("MQTT-3.3.4-10", v5, "nothing but PUBLISH waits for the receive maximum", func(t *T) {
		c := t.connect("a", func(c *mqtt.Connect) { c.Properties.ReceiveMaximum = 1 })
		from := t.connect("b")
		c.subscribe("a", 2)
		from.publish("a", "x", 2)
		from.publish("a", "waits", 1)
		m := c.gets("x", 2)
		c.subscribe("b", 1)
		c.publish("c", "", 2)
		c.send(&mqtt.Unsubscribe{PacketID: 77, Filters: [][]byte{[]byte(t.topic("b"))}})
		expect[*mqtt.Unsuback](c)
		c.send(&mqtt.Pubrec{PacketID: m.PacketID})
		expect[*mqtt.Pubrel](c)
		c.quiet()
		c.send(&mqtt.Pubcomp{PacketID: m.PacketID})
		c.gets("waits", 1)
	})
)

// passedOn publishes with what set sets, and expects that the subscriber's copy and the
// retained one have it.
func (t *T) passedOn(set func(p *mqtt.PublishProperties), has func(p *mqtt.PublishProperties) bool) {
	t.Helper()
	live, from, late := t.connect("live"), t.connect("from"), t.connect("late")
	topic := fmt.Sprintf("passed/%d", live.packetID()) // a new one each time
	live.subscribe(topic, 0)
	from.publish(topic, "x", 1, retain, func(p *mqtt.Publish) { set(&p.Properties) })
	late.subscribe(topic, 0)
	for name, c := range map[string]*client{"live": live, "late": late} {
		if m := c.gets("x", 0); !has(&m.Properties) {
			t.Fatalf("the %s subscriber got %+v", name, m.Properties)
		}
	}
}

// expiring is a change to PUBLISH: a message expiry in seconds.
func expiring(seconds uint32) func(p *mqtt.Publish) {
	return func(p *mqtt.Publish) { p.Properties.MessageExpiry = mqtt.Some(seconds) }
}

// wait lets time pass, while other tests run.
func wait(t *T, d time.Duration) {
	t.Helper()
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-t.Context().Done():
		t.Fatal("the test is over")
	}
}
