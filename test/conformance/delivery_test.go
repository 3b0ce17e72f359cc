package conformance

import (
	"fmt"

	"mqttsn-gateway/broker/mqtt"
)

// The delivery protocols of QoS 0, 1 and 2, and order: sections 4.3 and 4.6.

// message is a PUBLISH to t.topic(name).
func (t *T) message(name, payload string, qos mqtt.QoS, id uint16) *mqtt.Publish {
	return &mqtt.Publish{Topic: []byte(t.topic(name)), Payload: []byte(payload), QoS: qos, PacketID: id}
}

// again is the same message, sent again.
func again(p *mqtt.Publish) *mqtt.Publish {
	q := *p
	q.DUP = true
	return &q
}

// twentyMessages publishes as many with that QoS, and expects that each first comes with
// DUP 0 and an identifier of its own. It acknowledges none.
func twentyMessages(t *T, qos mqtt.QoS) {
	pub, c := t.connect("pub"), t.connect("a")
	c.subscribe("x", qos)
	ids := make(map[uint16]bool)
	for i := range 20 {
		pub.publish("x", fmt.Sprint(i), qos, func(p *mqtt.Publish) {
			p.DUP = i%2 == 1 // which is between the publisher and the broker
		})
		p := c.gets(fmt.Sprint(i), qos)
		if p.DUP || p.PacketID == 0 || ids[p.PacketID] {
			t.Fatalf("message %d: DUP %v, identifier %d, used before: %v", i, p.DUP, p.PacketID, ids[p.PacketID])
		}
		ids[p.PacketID] = true
	}
}

var (
	_ = statement("MQTT-4.3.1-1", both, "QoS 0 is sent with DUP 0", func(t *T) {
		pub, c := t.connect("pub"), t.connect("a")
		c.subscribe("x", 0)
		for qos := range mqtt.QoS(3) {
			pub.publish("x", fmt.Sprint(qos), qos, func(p *mqtt.Publish) { p.DUP = qos > 0 })
			if p := c.gets(fmt.Sprint(qos), 0); p.DUP {
				t.Fatalf("QoS 0 with DUP")
			}
		}
	})

	_ = statement("MQTT-4.3.2-1 MQTT-4.3.2-2 MQTT-2.2.1-4", both, "QoS 1: a new message has an unused identifier and DUP 0", func(t *T) {
		twentyMessages(t, 1)
	})

	_ = statement("MQTT-4.3.2-3", both, "QoS 1: a message is unacknowledged until PUBACK", func(t *T) {
		pub, c := t.connect("pub"), t.connect("a", lasting)
		c.subscribe("x", 1)
		pub.publish("x", "1", 1)
		for range 3 {
			c.gets("1", 1)
			c.drop()
			c = t.connect("a", lasting)
		}
		c.takes("1", 1)
		c.quiet()
		c.drop()
		t.connect("a", lasting).quiet()
	})

	_ = statement("MQTT-4.3.2-4 MQTT-2.2.1-5 MQTT-3.4.2-1", both, "QoS 1: PUBLISH is answered with PUBACK of its identifier", func(t *T) {
		c := t.connect("a")
		for _, id := range []uint16{1, 0x00FF, 0x0100, 0xFFFF} {
			c.send(t.message("x", "1", 1, id))
			if a := expect[*mqtt.Puback](c); a.PacketID != id || a.Code.Failed() {
				t.Fatalf("PUBACK %d %v, want %d", a.PacketID, a.Code, id)
			}
		}
		c.quiet()
	})

	_ = statement("MQTT-4.3.2-5", both, "QoS 1: after PUBACK the same identifier means a new message, also with DUP", func(t *T) {
		pub, c := t.connect("pub"), t.connect("a")
		c.subscribe("x", 0)
		m := t.message("x", "1", 1, 5)
		for _, p := range []*mqtt.Publish{m, m, again(m)} {
			pub.send(p)
			expect[*mqtt.Puback](pub)
			c.gets("1", 0)
		}
	})

	_ = statement("MQTT-4.3.3-1 MQTT-4.3.3-2 MQTT-2.2.1-4", both, "QoS 2: a new message has an unused identifier and DUP 0", func(t *T) {
		twentyMessages(t, 2)
	})

	_ = statement("MQTT-4.3.3-3", both, "QoS 2: a message is unacknowledged until PUBREC", func(t *T) {
		pub, c := t.connect("pub"), t.connect("a", lasting)
		c.subscribe("x", 2)
		pub.publish("x", "1", 2)
		id := c.gets("1", 2).PacketID
		for range 3 {
			c.drop()
			c = t.connect("a", lasting)
			if p := c.gets("1", 2); !p.DUP || p.PacketID != id {
				t.Fatalf("DUP %v, identifier %d, want %d again", p.DUP, p.PacketID, id)
			}
		}
	})

	_ = statement("MQTT-4.3.3-4 MQTT-2.2.1-5 MQTT-3.6.2-1", both, "QoS 2: PUBREC is answered with PUBREL of its identifier", func(t *T) {
		pub, c := t.connect("pub"), t.connect("a")
		c.subscribe("x", 2)
		for i := range 3 {
			pub.publish("x", fmt.Sprint(i), 2)
			id := c.gets(fmt.Sprint(i), 2).PacketID
			c.send(&mqtt.Pubrec{PacketID: id})
			if rel := expect[*mqtt.Pubrel](c); rel.PacketID != id || rel.Code != mqtt.CodeSuccess {
				t.Fatalf("PUBREL %d %v, want %d", rel.PacketID, rel.Code, id)
			}
			c.quiet()
		}
	})

	_ = statement("MQTT-4.3.3-4b", v5, "QoS 2: a PUBREC that refuses the message is not answered", func(t *T) {
		pub, c := t.connect("pub"), t.connect("a")
		c.subscribe("x", 2)
		pub.publish("x", "1", 2)
		c.send(&mqtt.Pubrec{PacketID: c.gets("1", 2).PacketID, Code: mqtt.CodeUnspecified})
		c.quiet()
	})

	_ = statement("MQTT-4.3.3-5 MQTT-4.3.3-6", both, "QoS 2: until PUBCOMP PUBREL is sent again, and PUBLISH is not", func(t *T) {
		pub, c := t.connect("pub"), t.connect("a", lasting)
		c.subscribe("x", 2)
		pub.publish("x", "1", 2)
		id := c.gets("1", 2).PacketID
		c.send(&mqtt.Pubrec{PacketID: id})
		for range 3 {
			if rel := expect[*mqtt.Pubrel](c); rel.PacketID != id {
				t.Fatalf("PUBREL %d, want %d", rel.PacketID, id)
			}
			c.quiet()
			c.drop()
			c = t.connect("a", lasting)
		}
		expect[*mqtt.Pubrel](c)
		c.send(&mqtt.Pubcomp{PacketID: id})
		c.quiet()
		c.drop()
		t.connect("a", lasting).quiet()
	})

	_ = statement("MQTT-4.3.3-7", v5, "QoS 2: a message that was sent does not expire", func(t *T) {
		pub, c := t.connect("pub"), t.connect("a", lasting)
		c.subscribe("x", 2)
		pub.publish("x", "1", 2, expiry(1))
		c.gets("1", 2)
		c.drop()
		t.pass(2)
		c = t.connect("a", lasting)
		c.takes("1", 2)
	})

	_ = statement("MQTT-4.3.3-8 MQTT-2.2.1-5 MQTT-3.5.2-1", both, "QoS 2: PUBLISH is answered with PUBREC of its identifier", func(t *T) {
		c := t.connect("a")
		for _, id := range []uint16{1, 0x00FF, 0x0100, 0xFFFF} {
			c.send(t.message("x", "1", 2, id))
			if a := expect[*mqtt.Pubrec](c); a.PacketID != id || a.Code.Failed() {
				t.Fatalf("PUBREC %d %v, want %d", a.PacketID, a.Code, id)
			}
		}
		c.quiet()
	})

	_ = statement("MQTT-4.3.3-9", v5, "QoS 2: after a PUBREC that refuses, the identifier means a new message", func(t *T) {
		pub, c := t.connect("pub"), t.connect("a")
		c.subscribe("x", 2)
		refused := t.message("x", "1", 2, 5)
		refused.Topic = []byte("$SYS/of/the/broker")
		pub.send(refused)
		if rec := expect[*mqtt.Pubrec](pub); !rec.Code.Failed() {
			t.Fatalf("PUBREC %v for a topic of the broker's", rec.Code)
		}
		pub.send(t.message("x", "2", 2, 5))
		if rec := expect[*mqtt.Pubrec](pub); rec.Code.Failed() {
			t.Fatalf("PUBREC %v", rec.Code)
		}
		pub.send(&mqtt.Pubrel{PacketID: 5})
		expect[*mqtt.Pubcomp](pub)
		c.takes("2", 2)
	})

	_ = statement("MQTT-4.3.3-10", both, "QoS 2: until PUBREL the same identifier gets PUBREC and is not passed on", func(t *T) {
		pub, c := t.connect("pub", lasting), t.connect("a")
		c.subscribe("x", 0)
		m := t.message("x", "1", 2, 5)
		for _, p := range []*mqtt.Publish{m, again(m)} {
			pub.send(p)
			expect[*mqtt.Pubrec](pub)
		}
		pub.drop()
		pub = t.connect("pub", lasting)
		pub.send(again(m))
		expect[*mqtt.Pubrec](pub)
		pub.send(&mqtt.Pubrel{PacketID: 5})
		expect[*mqtt.Pubcomp](pub)
		c.gets("1", 0)
		c.quiet()
	})

	_ = statement("MQTT-4.3.3-11 MQTT-2.2.1-5 MQTT-3.7.2-1", both, "QoS 2: PUBREL is answered with PUBCOMP of its identifier", func(t *T) {
		c := t.connect("a")
		for _, id := range []uint16{1, 0x00FF, 0x0100, 0xFFFF} {
			c.send(t.message("x", "1", 2, id))
			expect[*mqtt.Pubrec](c)
			c.send(&mqtt.Pubrel{PacketID: id})
			if comp := expect[*mqtt.Pubcomp](c); comp.PacketID != id || comp.Code != mqtt.CodeSuccess {
				t.Fatalf("PUBCOMP %d %v, want %d", comp.PacketID, comp.Code, id)
			}
		}
		c.quiet()
	})

	_ = statement("MQTT-4.3.3-12", both, "QoS 2: after PUBCOMP the same identifier means a new message", func(t *T) {
		pub, c := t.connect("pub"), t.connect("a")
		c.subscribe("x", 0)
		for i := range 3 {
			pub.send(t.message("x", fmt.Sprint(i), 2, 5))
			expect[*mqtt.Pubrec](pub)
			pub.send(&mqtt.Pubrel{PacketID: 5})
			expect[*mqtt.Pubcomp](pub)
			c.gets(fmt.Sprint(i), 0)
		}
	})

	_ = statement("MQTT-4.3.3-13", v5, "QoS 2: the exchange goes on though the message has expired", func(t *T) {
		pub := t.connect("pub")
		m := t.message("x", "1", 2, 5)
		expiry(1)(m)
		pub.send(m)
		expect[*mqtt.Pubrec](pub)
		t.pass(2)
		pub.send(again(m))
		expect[*mqtt.Pubrec](pub)
		pub.send(&mqtt.Pubrel{PacketID: 5})
		if comp := expect[*mqtt.Pubcomp](pub); comp.Code != mqtt.CodeSuccess {
			t.Fatalf("PUBCOMP %v", comp.Code)
		}
	})

	_ = statement("MQTT-4.6.0-1", both, "the broker, too, sends again in the original order", func(t *T) {
		pub, c := t.connect("pub"), t.connect("a", lasting)
		c.subscribe("x", 1)
		for i := range 15 {
			pub.publish("x", fmt.Sprint(i), 1)
		}
		for range 2 {
			for i := range 15 {
				c.gets(fmt.Sprint(i), 1)
			}
			c.drop()
			c = t.connect("a", lasting)
		}
	})

	_ = statement("MQTT-4.6.0-2 MQTT-4.6.0-3", both, "the broker, too, acknowledges in the order of the messages", func(t *T) {
		c := t.connect("a")
		for qos := mqtt.QoS1; qos <= mqtt.QoS2; qos++ {
			ids := []uint16{9, 3, 7, 1, 5}
			for _, id := range ids {
				c.send(t.message("x", "1", qos, id))
			}
			for _, id := range ids {
				got := uint16(0)
				if qos == mqtt.QoS1 {
					got = expect[*mqtt.Puback](c).PacketID
				} else {
					got = expect[*mqtt.Pubrec](c).PacketID
				}
				if got != id {
					t.Fatalf("QoS %d: acknowledged %d, want %d", qos, got, id)
				}
			}
		}
	})

	_ = statement("MQTT-4.6.0-4", both, "the broker, too, sends PUBREL in the order of PUBREC", func(t *T) {
		pub, c := t.connect("pub"), t.connect("a")
		c.subscribe("x", 2)
		ids := make([]uint16, 5)
		for i := range ids {
			pub.publish("x", fmt.Sprint(i), 2)
			ids[i] = c.gets(fmt.Sprint(i), 2).PacketID
		}
		order := []int{3, 0, 4, 2, 1}
		for _, i := range order {
			c.send(&mqtt.Pubrec{PacketID: ids[i]})
		}
		for _, i := range order {
			if rel := expect[*mqtt.Pubrel](c); rel.PacketID != ids[i] {
				t.Fatalf("PUBREL %d, want %d", rel.PacketID, ids[i])
			}
		}
	})

	_ = statement("MQTT-4.6.0-5 MQTT-4.6.0-6", both, "messages of one topic and QoS keep their publisher's order", func(t *T) {
		pub, c, away := t.connect("pub"), t.connect("a"), t.connect("away", lasting)
		c.subscribe("x", 2)
		away.subscribe("x", 2)
		away.leave()
		const n = 60
		for i := range n {
			pub.publish("x", fmt.Sprint(i), mqtt.QoS(i%3))
		}
		for _, from := range []int{0, 1} { // an idle one gets them at once, another one later
			var next [3]int
			for i := range next {
				next[i] = i
			}
			want := n
			if from == 1 {
				c, want = t.connect("away", lasting), n*2/3 // QoS 0 need not wait for it
			}
			for got := 0; got < want; {
				switch p := c.next().(type) {
				case *mqtt.Publish:
					if string(p.Payload) != fmt.Sprint(next[p.QoS]) {
						t.Fatalf("QoS %d: got %s, want %d", p.QoS, p.Payload, next[p.QoS])
					}
					next[p.QoS] += 3
					got++
					switch p.QoS {
					case mqtt.QoS1:
						c.send(&mqtt.Puback{PacketID: p.PacketID})
					case mqtt.QoS2:
						c.send(&mqtt.Pubrec{PacketID: p.PacketID})
					}
				case *mqtt.Pubrel:
					c.send(&mqtt.Pubcomp{PacketID: p.PacketID})
				default:
					t.Fatalf("read %s", show(p))
				}
			}
		}
	})
)
