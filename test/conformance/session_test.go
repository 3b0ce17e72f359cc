package conformance

import (
	"fmt"

	"mqttsn-gateway/broker/mqtt"
)

// Session state, transport, retry and receipt: sections 4.1, 4.2, 4.4 and 4.5.

var (
	_ = statement("MQTT-4.1.0-1", both, "a session that ends with its connection stays until then", func(t *T) {
		c, sub, pub := t.connect("a"), t.connect("sub"), t.connect("pub")
		sub.subscribe("x", 0)
		c.subscribe("y", 0)
		m := &mqtt.Publish{Topic: []byte(t.topic("x")), Payload: []byte("1"), QoS: 2, PacketID: 9}
		c.send(m)
		expect[*mqtt.Pubrec](c)
		for range 3 {
			c.quiet()
			pub.publish("y", "2", 1)
			c.takes("2", 0)
		}
		c.send(again(m))
		expect[*mqtt.Pubrec](c)
		c.send(&mqtt.Pubrel{PacketID: 9})
		expect[*mqtt.Pubcomp](c)
		sub.takes("1", 0)
		sub.quiet()
	})

	_ = statement("MQTT-4.1.0-2 MQTT-3.1.2-23", both, "a session ends with its connection, unless it was asked to last", func(t *T) {
		for _, lasts := range []bool{false, true} {
			c := t.connect("a", func(c *mqtt.Connect) {
				if lasts {
					lasting(c)
				}
			})
			c.subscribe("x", 1)
			c.leave()
			c = t.connect("a", lasting)
			if c.connack.SessionPresent != lasts {
				t.Fatalf("session present %v, want %v", c.connack.SessionPresent, lasts)
			}
			t.connect("pub").publish("x", "1", 1)
			if lasts {
				c.takes("1", 1)
			}
			c.quiet()
			c.send(&mqtt.Disconnect{})
			c.closed()
			t.connect("a").leave() // with clean start
		}
	})

	_ = statement("MQTT-4.1.0-2b", v5, "a session ends when its expiry has passed", func(t *T) {
		watcher := t.connect("watcher")
		watcher.subscribe("will", 0)
		c := t.connect("a", lasting, will(t.topic("will"), "the end", func(w *mqtt.Will) {
			w.Properties.Delay = mqtt.Some(uint32(3600)) // so the end of the session publishes it
		}), func(c *mqtt.Connect) { c.Properties.SessionExpiry = mqtt.Some(uint32(1)) })
		c.subscribe("x", 1)
		c.drop()
		watcher.takes("the end", 0)
		c = t.connect("a", lasting)
		if c.connack.SessionPresent {
			t.Fatalf("the session has not ended")
		}
		watcher.publish("x", "1", 1)
		c.quiet()
	})

	_ = statement("MQTT-4.1.0-2c", both, "a session that is not to last does not outlive being taken over", func(t *T) {
		c, pub := t.connect("a"), t.connect("pub")
		c.subscribe("x", 1)
		again := t.connect("a", lasting)
		if again.connack.SessionPresent {
			t.Fatalf("the session has been taken up")
		}
		pub.publish("x", "1", 1)
		again.quiet()
	})

	_ = statement("MQTT-4.2.0-1", both, "octets are an ordered stream, whatever pieces they come in", func(t *T) {
		c := t.connect("a")
		var b []byte
		b = (&mqtt.Subscribe{PacketID: 1, Subscriptions: []mqtt.Subscription{t.filter("x", 0)}}).Append(b, t.version)
		b = (&mqtt.Publish{Topic: []byte(t.topic("x")), Payload: []byte("1"), QoS: 1, PacketID: 2}).Append(b, t.version)
		b = (&mqtt.Pingreq{}).Append(b, t.version)
		for i := range b {
			c.write(b[i : i+1])
		}
		expect[*mqtt.Suback](c)
		got := c.collect(2) // the message and PUBACK in any order
		if _, first := got[0].(*mqtt.Publish); !first {
			got[0], got[1] = got[1], got[0]
		}
		if p, ok := got[0].(*mqtt.Publish); !ok || string(p.Payload) != "1" {
			t.Fatalf("read %s and %s", show(got[0]), show(got[1]))
		}
		expect[*mqtt.Pingresp](c)
		c.write(append(b, b...)) // and many packets at once
		if n := len(c.collect(8)); n != 8 {
			t.Fatalf("%d answers", n)
		}
		c.quiet()
	})

	_ = statement("MQTT-4.4.0-1 MQTT-3.3.1-1", both, "what is unacknowledged is sent again with its identifier, in order", func(t *T) {
		pub, c := t.connect("pub"), t.connect("a", lasting)
		c.subscribe("x", 2)
		var ids []uint16
		for i, qos := range []mqtt.QoS{1, 2, 1, 2, 1} {
			pub.publish("x", fmt.Sprint(i), qos)
			ids = append(ids, c.gets(fmt.Sprint(i), qos).PacketID)
		}
		c.send(&mqtt.Puback{PacketID: ids[0]}, &mqtt.Pubrec{PacketID: ids[1]})
		expect[*mqtt.Pubrel](c)
		for range 2 {
			c.quiet()
			c.drop()
			c = t.connect("a", lasting)
			again := make(map[int]uint16)
			for _, p := range c.collect(4) {
				switch p := p.(type) {
				case *mqtt.Pubrel:
					again[1] = p.PacketID
				case *mqtt.Publish:
					var i int
					_, _ = fmt.Sscan(string(p.Payload), &i)
					if !p.DUP || len(again) > 0 && again[i+1] != 0 {
						t.Fatalf("message %d: DUP %v, or out of order", i, p.DUP)
					}
					again[i] = p.PacketID
				}
			}
			for i, id := range ids[1:] {
				if again[i+1] != id {
					t.Fatalf("sent again: %v of %v", again, ids)
				}
			}
		}
		c.quiet()
	})

	_ = statement("MQTT-4.4.0-1b", v5, "while the connection lasts nothing is sent again", func(t *T) {
		pub, c := t.connect("pub"), t.connect("a", lasting)
		c.subscribe("x", 2)
		pub.publish("x", "1", 1)
		pub.publish("x", "2", 2)
		pub.publish("x", "3", 2)
		c.gets("1", 1)
		c.gets("2", 2)
		c.send(&mqtt.Pubrec{PacketID: c.gets("3", 2).PacketID})
		expect[*mqtt.Pubrel](c)
		t.pass(2)
		c.quiet()
	})

	_ = statement("MQTT-4.4.0-2", v5, "a message that the client refused is not sent again", func(t *T) {
		pub, c := t.connect("pub"), t.connect("a", lasting)
		c.subscribe("x", 2)
		pub.publish("x", "1", 1)
		pub.publish("x", "2", 2)
		c.send(&mqtt.Puback{PacketID: c.gets("1", 1).PacketID, Code: mqtt.CodeQuota})
		c.send(&mqtt.Pubrec{PacketID: c.gets("2", 2).PacketID, Code: mqtt.CodeImplementation})
		c.quiet()
		c.drop()
		c = t.connect("a", lasting)
		c.quiet()
		pub.publish("x", "3", 2)
		c.takes("3", 2)
	})

	_ = statement("MQTT-4.5.0-1", both, "a message goes to every session with a matching subscription, and to no other", func(t *T) {
		pub := t.connect("pub")
		filters := []string{"x/y", "x/+", "+/y", "x/#", "x/z", "y/#"}
		var clients []*client
		for i, f := range filters {
			c := t.connect(f, lasting)
			c.subscribe(f, 1)
			if i%2 == 1 {
				c.leave()
			}
			clients = append(clients, c)
		}
		pub.publish("x/y", "1", 1)
		for i, f := range filters {
			c := clients[i]
			if i%2 == 1 {
				c = t.connect(f, lasting)
			}
			if i < 4 {
				c.takes("1", 1)
			}
			c.quiet()
		}
	})
)
