package conformance

import (
	"slices"

	"mqttsn-gateway/broker/mqtt"
)

// Chapters 3.4 to 3.7: PUBACK, PUBREC, PUBREL and PUBCOMP.

// answers publishes with each QoS to topics that are subscribed to, that are not, and that
// nobody may publish to, answers PUBLISH and PUBREL that do not fit, and collects what
// acknowledgements of type typ come. The client takes packets of 30 octets, so that there
// is not much room for reasons.
func answers(t *T, typ mqtt.Type) (all []mqtt.Packet) {
	small := func(c *mqtt.Connect) { c.Properties.MaximumPacketSize = 30 }
	c := t.connect("a", small)
	t.connect("subscriber").subscribe("heard", 2)
	topics := []string{t.topic("heard"), t.topic("unheard"), "$SYS/" + t.topic("a")}
	for i, topic := range topics {
		for qos := mqtt.QoS1; qos <= 2; qos++ {
			id := uint16(1 + i)
			c.send(&mqtt.Publish{Topic: []byte(topic), QoS: qos, PacketID: id})
			if qos == 2 {
				c.send(&mqtt.Pubrel{PacketID: id})
			}
		}
	}
	c.send(&mqtt.Pubrec{PacketID: 1000}, &mqtt.Pubrel{PacketID: 2000}, &mqtt.Pingreq{})
	for {
		h, body, err := c.frame()
		switch {
		case err != nil:
			t.Fatalf("%v", err)
		case h.Length+2 > 30:
			t.Fatalf("%v of %d octets", h.Type, h.Length+2)
		case h.Type == mqtt.TypePingresp:
			return all
		case h.Type == typ:
			d := mqtt.Decoder{From: mqtt.FromServer}
			p, err := d.Decode(h, body, c.version)
			if err != nil {
				t.Fatalf("the broker sent %v: % x", err, body)
			}
			all = append(all, p)
		}
	}
}

// codes fails unless the reason code of every packet is one of these.
func codes(t *T, packets []mqtt.Packet, at int, code func(p mqtt.Packet) mqtt.Code, want ...mqtt.Code) {
	t.Helper()
	if len(packets) < at {
		t.Fatalf("%d packets came, want %d", len(packets), at)
	}
	for _, p := range packets {
		if !slices.Contains(want, code(p)) {
			t.Fatalf("%s, want one of %v", show(p), want)
		}
	}
}

// publishCodes are the codes that PUBACK and PUBREC may have.
var publishCodes = []mqtt.Code{
	mqtt.CodeSuccess, mqtt.CodeNoSubscribers, mqtt.CodeUnspecified, mqtt.CodeImplementation, mqtt.CodeNotAuthorized,
	mqtt.CodeTopicName, mqtt.CodePacketIDInUse, mqtt.CodeQuota, mqtt.CodePayloadFormat,
}

var (
	_ = statement("MQTT-3.4.2-1 MQTT-3.4.2-2 MQTT-3.4.2-3", v5, "PUBACK has a reason code of its own, and is within the client's maximum packet size", func(t *T) {
		codes(t, answers(t, mqtt.TypePuback), 3, func(p mqtt.Packet) mqtt.Code { return p.(*mqtt.Puback).Code }, publishCodes...)
	})

	_ = statement("MQTT-3.5.2-1 MQTT-3.5.2-2 MQTT-3.5.2-3", v5, "PUBREC has a reason code of its own, and is within the client's maximum packet size", func(t *T) {
		codes(t, answers(t, mqtt.TypePubrec), 3, func(p mqtt.Packet) mqtt.Code { return p.(*mqtt.Pubrec).Code }, publishCodes...)
	})

	_ = statement("MQTT-3.6.2-1 MQTT-3.6.2-2 MQTT-3.6.2-3", v5, "PUBREL has a reason code of its own, and is within the client's maximum packet size", func(t *T) {
		codes(t, answers(t, mqtt.TypePubrel), 1, func(p mqtt.Packet) mqtt.Code { return p.(*mqtt.Pubrel).Code },
			mqtt.CodeSuccess, mqtt.CodePacketIDNotFound)
	})

	_ = statement("MQTT-3.7.2-1 MQTT-3.7.2-2 MQTT-3.7.2-3", v5, "PUBCOMP has a reason code of its own, and is within the client's maximum packet size", func(t *T) {
		codes(t, answers(t, mqtt.TypePubcomp), 4, func(p mqtt.Packet) mqtt.Code { return p.(*mqtt.Pubcomp).Code },
			mqtt.CodeSuccess, mqtt.CodePacketIDNotFound)
	})

	_ = statement("MQTT-3.6.1-1", both, "PUBREL has the flags 2, and with others is malformed", func(t *T) {
		for flags := range byte(16) {
			if flags == 2 {
				continue
			}
			c := t.connect("a")
			c.send(&mqtt.Publish{Topic: []byte(t.topic("a")), QoS: 2, PacketID: 1})
			expect[*mqtt.Pubrec](c)
			c.packet(0x60|flags, `0001`)
			c.failed(mqtt.CodeMalformed)
		}
		c := t.connect("a")
		c.subscribe("a", 2)
		t.connect("from").publish("a", "x", 2)
		c.send(&mqtt.Pubrec{PacketID: c.gets("x", 2).PacketID})
		if h, _, _ := c.frame(); h.Type != mqtt.TypePubrel || h.Flags != 2 {
			t.Fatalf("%v with flags %d", h.Type, h.Flags)
		}
	})
)
