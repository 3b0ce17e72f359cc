package conformance

import (
	"fmt"

	"mqttsn-gateway/broker/mqtt"
)

// Flow control: section 4.9.

var (
	_ = statement("MQTT-4.9.0-1", v5, "with a receive maximum of 1 the first message comes all the same", func(t *T) {
		pub, c := t.connect("pub"), t.connect("a", receiveMaximum(1))
		c.subscribe("x", 2)
		for i := range 4 {
			qos := mqtt.QoS(1 + i%2)
			pub.publish("x", fmt.Sprint(i), qos)
			c.takes(fmt.Sprint(i), qos)
		}
	})

	_ = statement("MQTT-4.9.0-2 MQTT-3.3.4-9", v5, "the broker sends no more than the receive maximum before acknowledgements come", func(t *T) {
		pub, c := t.connect("pub"), t.connect("a", receiveMaximum(2))
		c.subscribe("x", 2)
		for i := range 6 {
			pub.publish("x", fmt.Sprint(i), mqtt.QoS(1+i%2))
		}
		p0, p1 := c.gets("0", 1), c.gets("1", 2)
		c.quiet()
		c.send(&mqtt.Puback{PacketID: p0.PacketID})
		p2 := c.gets("2", 1)
		c.quiet()
		c.send(&mqtt.Pubrec{PacketID: p1.PacketID}) // which makes no room
		expect[*mqtt.Pubrel](c)
		c.quiet()
		c.send(&mqtt.Pubcomp{PacketID: p1.PacketID})
		p3 := c.gets("3", 2)
		c.quiet()
		c.send(&mqtt.Pubrec{PacketID: p3.PacketID, Code: mqtt.CodeQuota}) // which does
		c.gets("4", 1)
		c.quiet()
		c.send(&mqtt.Puback{PacketID: p2.PacketID, Code: mqtt.CodeQuota})
		c.gets("5", 2)
	})

	_ = statement("MQTT-4.9.0-2b", v5, "the quota is that of the connection, and begins anew", func(t *T) {
		pub, c := t.connect("pub"), t.connect("a", lasting, receiveMaximum(3))
		c.subscribe("x", 1)
		for i := range 5 {
			pub.publish("x", fmt.Sprint(i), 1)
		}
		for i := range 3 {
			c.gets(fmt.Sprint(i), 1)
		}
		c.quiet()
		c.drop()
		c = t.connect("a", lasting, receiveMaximum(1))
		for i := range 5 {
			p := c.gets(fmt.Sprint(i), 1)
			c.quiet()
			c.send(&mqtt.Puback{PacketID: p.PacketID})
		}
	})

	_ = statement("MQTT-4.9.0-3 MQTT-3.3.4-10", v5, "without quota everything but PUBLISH goes on", func(t *T) {
		pub, c := t.connect("pub"), t.connect("a", receiveMaximum(1))
		c.subscribe("x", 1)
		pub.publish("x", "1", 1)
		pub.publish("x", "2", 1)
		c.gets("1", 1)
		c.quiet()
		c.subscribe("y", 1)
		c.unsubscribe("y")
		c.publish("z", "3", 1)
		c.publish("z", "4", 2)
		c.leave()
	})
)
