package conformance

import (
	"fmt"

	"mqttsn-gateway/broker/mqtt"
)

// Shared subscriptions: section 4.8.2.

var (
	_ = statement("MQTT-4.8.2-1", v5, "$share/ is followed by a share name", func(t *T) {
		noFilter(t, `"$share//x"`)
		noFilter(t, `"$share/"`)
		pub, c := t.connect("pub"), t.connect("a")
		c.subscribe("x", 1, shared("g"))
		pub.publish("x", "1", 1)
		c.takes("1", 1)
	})

	_ = statement("MQTT-4.8.2-2", v5, "a share name has no wildcards, and a filter follows it", func(t *T) {
		for _, filter := range []string{
			`"$share/a+b/x"`, `"$share/a#/x"`, `"$share/+/x"`, `"$share/#"`, `"$share/g"`, `"$share/g/"`, `"$share/g/x#"`,
		} {
			noFilter(t, filter)
		}
		pub, c := t.connect("pub"), t.connect("a")
		c.subscribe("x/+/#", 1, shared("a b$\u00e9"))
		pub.publish("x/y", "1", 1)
		c.takes("1", 1)
	})

	_ = statement("MQTT-4.8.2-3", v5, "a member gets messages with the QoS that was granted to it", func(t *T) {
		pub := t.connect("pub")
		for granted := range mqtt.QoS(3) {
			c := t.connect("a")
			c.subscribe("x", granted, shared("g"))
			for qos := range mqtt.QoS(3) {
				pub.publish("x", fmt.Sprint(qos), qos)
				c.takes(fmt.Sprint(qos), min(granted, qos))
			}
			c.leave()
		}
	})

	_ = statement("MQTT-4.8.2-4", v5, "a QoS 2 message goes on with the member that it was sent to, after an interruption", func(t *T) {
		pub, c, other := t.connect("pub"), t.connect("a", lasting), t.connect("b")
		c.subscribe("x", 2, shared("g"))
		pub.publish("x", "1", 2)
		pub.publish("x", "2", 2)
		first, second := c.gets("1", 2), c.gets("2", 2)
		c.send(&mqtt.Pubrec{PacketID: first.PacketID})
		expect[*mqtt.Pubrel](c)
		other.subscribe("x", 2, shared("g"))
		c.drop()
		c = t.connect("a", lasting)
		for _, p := range c.collect(2) {
			switch p := p.(type) {
			case *mqtt.Pubrel:
				if p.PacketID != first.PacketID {
					t.Fatalf("PUBREL %d, want %d", p.PacketID, first.PacketID)
				}
			case *mqtt.Publish:
				if p.PacketID != second.PacketID || !p.DUP {
					t.Fatalf("identifier %d, DUP %v, want %d again", p.PacketID, p.DUP, second.PacketID)
				}
			default:
				t.Fatalf("read %s", show(p))
			}
		}
		other.quiet()
	})

	_ = statement("MQTT-4.8.2-5", v5, "if that member's session ends, no other member gets the message", func(t *T) {
		pub, c, other := t.connect("pub"), t.connect("a", lasting), t.connect("b")
		c.subscribe("x", 2, shared("g"))
		pub.publish("x", "1", 2)
		c.gets("1", 2)
		other.subscribe("x", 2, shared("g"))
		c.drop()
		t.connect("a").quiet() // with clean start
		other.quiet()
		pub.publish("x", "2", 2)
		other.takes("2", 2)
	})

	_ = statement("MQTT-4.8.2-6", v5, "a message that a member refuses goes to no other", func(t *T) {
		pub := t.connect("pub")
		for qos := mqtt.QoS1; qos <= mqtt.QoS2; qos++ {
			c, other := t.connect("a"), t.connect("b")
			c.subscribe("x", qos, shared("g"))
			pub.publish("x", "1", qos)
			p := c.gets("1", qos)
			other.subscribe("x", qos, shared("g"))
			if qos == mqtt.QoS1 {
				c.send(&mqtt.Puback{PacketID: p.PacketID, Code: mqtt.CodeQuota})
			} else {
				c.send(&mqtt.Pubrec{PacketID: p.PacketID, Code: mqtt.CodeQuota})
			}
			c.quiet()
			other.quiet()
			c.leave()
			other.quiet()
			other.leave()
		}
	})
)
