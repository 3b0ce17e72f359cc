package conformance

import (
	"fmt"
	"slices"

	"mqttsn-gateway/broker/mqtt"
)

// UNSUBSCRIBE, UNSUBACK, PINGREQ and PINGRESP: sections 3.10 to 3.13.

var (
	_ = statement("MQTT-3.10.1-1", both, "UNSUBSCRIBE with other flags than 0010 ends the connection", func(t *T) {
		for _, flags := range []byte{0, 1, 3, 6, 10, 15} {
			t.trying = fmt.Sprintf("%#x", flags)
			c := t.connect("a")
			c.packet(0xA0|flags, `0001 %s "%s"`, t.noProps(), t.topic("x"))
			c.failed(mqtt.CodeMalformed)
		}
	})

	_ = statement("MQTT-3.10.3-1", both, "a filter that is not UTF-8 is not unsubscribed from", func(t *T) {
		for _, filter := range []string{"61C328", "61EDA080", "FF"} {
			t.trying = filter
			c := t.connect("a")
			c.packet(0xA2, `0001 %s 00%02X %s`, t.noProps(), len(filter)/2, filter)
			c.rejected()
		}
	})

	_ = statement("MQTT-3.10.3-2", both, "UNSUBSCRIBE without a filter ends the connection", func(t *T) {
		c := t.connect("a")
		c.packet(0xA2, `0001 %s`, t.noProps())
		c.failed(mqtt.CodeProtocolError, mqtt.CodeMalformed)
	})

	_ = statement("MQTT-3.10.4-1", both, "the subscription with exactly that filter is deleted, and no other", func(t *T) {
		c, pub := t.connect("a"), t.connect("pub")
		c.subscribes(t.filter("x/+", 0), t.filter("y/#", 0))
		c.unsubscribe("x/1", "x/#", "X/+", "y/+", "y") // none of these is subscribed to
		pub.publish("x/1", "1", 1)
		c.takes("1", 0)
		pub.publish("y/1", "2", 1)
		c.takes("2", 0)
		c.unsubscribe("x/+")
		pub.publish("x/1", "3", 1)
		pub.publish("y/1", "4", 1)
		c.takes("4", 0)
		c.unsubscribe("y/#")
		pub.publish("y/1", "5", 1)
		c.quiet()
	})

	_ = statement("MQTT-3.10.4-2", both, "after UNSUBACK no new message is added", func(t *T) {
		c, pub := t.connect("a", lasting), t.connect("pub")
		c.subscribe("x", 1)
		pub.publish("x", "1", 1)
		c.takes("1", 1)
		c.unsubscribe("x")
		for qos := range mqtt.QoS(3) {
			pub.publish("x", "2", qos)
		}
		pub.quiet()
		c.quiet()
		c.drop()
		pub.publish("x", "3", 1)
		t.connect("a", lasting).quiet()
	})

	_ = statement("MQTT-3.10.4-3", both, "messages that are under way are completed after UNSUBSCRIBE", func(t *T) {
		c, pub := t.connect("a", lasting), t.connect("pub")
		c.subscribe("x", 2)
		pub.publish("x", "1", 2)
		pub.publish("x", "2", 1)
		first, second := c.gets("1", 2), c.gets("2", 1)
		c.unsubscribe("x")
		c.send(&mqtt.Pubrec{PacketID: first.PacketID})
		if rel := expect[*mqtt.Pubrel](c); rel.PacketID != first.PacketID {
			t.Fatalf("PUBREL %d, want %d", rel.PacketID, first.PacketID)
		}
		c.send(&mqtt.Pubcomp{PacketID: first.PacketID})
		c.quiet()
		c.drop()
		c = t.connect("a", lasting)
		if p := c.takes("2", 1); p.PacketID != second.PacketID || !p.DUP {
			t.Fatalf("identifier %d, DUP %v, want %d again", p.PacketID, p.DUP, second.PacketID)
		}
		c.quiet()
	})

	_ = statement("MQTT-3.10.4-4 MQTT-3.10.4-5 MQTT-2.2.1-6", both, "UNSUBSCRIBE is answered with UNSUBACK of its identifier, even for nothing", func(t *T) {
		c := t.connect("a")
		for _, id := range []uint16{1, 0x00FF, 0x0100, 0xFFFF} {
			c.send(&mqtt.Unsubscribe{PacketID: id, Filters: [][]byte{[]byte(t.topic("none"))}})
			if a := expect[*mqtt.Unsuback](c); a.PacketID != id {
				t.Fatalf("UNSUBACK %d, want %d", a.PacketID, id)
			}
		}
		c.quiet()
	})

	_ = statement("MQTT-3.10.4-6", both, "several filters in one UNSUBSCRIBE get one UNSUBACK", func(t *T) {
		c, pub := t.connect("a"), t.connect("pub")
		c.subscribes(t.filter("1", 0), t.filter("2", 0), t.filter("3", 0))
		c.unsubscribe("1", "none", "3", "1")
		c.quiet()
		for _, name := range []string{"1", "2", "3"} {
			pub.publish(name, name, 1)
		}
		c.takes("2", 0)
		c.quiet()
	})

	_ = statement("MQTT-3.11.2-1 MQTT-3.11.2-2", v5, "no reason string or user property makes UNSUBACK too large", func(t *T) {
		c := t.connect("a", smallPackets)
		c.send(&mqtt.Unsubscribe{PacketID: 1, Filters: [][]byte{[]byte(t.topic("none"))}})
		if got := c.within(small); got != mqtt.TypeUnsuback {
			t.Fatalf("read %v, want UNSUBACK", got)
		}
	})

	_ = statement("MQTT-3.11.3-1 MQTT-3.11.3-2", v5, "UNSUBACK has a code of its own for each filter, in their order", func(t *T) {
		c := t.connect("a")
		c.subscribes(t.filter("1", 1), t.filter("2", 2))
		a := c.unsubscribe("none", "2", "none/+", "1", "2")
		want := []mqtt.Code{
			mqtt.CodeNoSubscription, mqtt.CodeSuccess, mqtt.CodeNoSubscription, mqtt.CodeSuccess, mqtt.CodeNoSubscription,
		}
		if !slices.Equal(a.Codes, want) {
			t.Fatalf("UNSUBACK %v, want %v", a.Codes, want)
		}
	})

	_ = statement("MQTT-3.12.4-1", both, "each PINGREQ is answered with PINGRESP", func(t *T) {
		c := t.connect("a")
		c.send(&mqtt.Pingreq{}, &mqtt.Pingreq{}, &mqtt.Pingreq{})
		for range 3 {
			if h, body, err := c.frame(); err != nil || h.Type != mqtt.TypePingresp || h.Flags != 0 || len(body) != 0 {
				t.Fatalf("read %v % x, %v, want PINGRESP", h, body, err)
			}
		}
	})
)
