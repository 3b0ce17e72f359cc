package conformance

import (
	"bytes"
	"fmt"
	"strings"

	"mqttsn-gateway/broker/mqtt"
)

// Chapters 1 and 2: data representation, and what all packets have in common.

var (
	_ = statement("MQTT-1.5.4-1", both, "a string that is not UTF-8, surrogates included, ends the connection", func(t *T) {
		for _, bad := range []string{"EDA080", "EDBFBF", "C0AF", "E282", "FF", "F4908080"} {
			t.trying = bad
			c := t.connect("a")
			n := len(bad)/2 + 1
			c.packet(0x30, `%04X %s 'a' %s 'x'`, n, bad, t.none())
			c.failed()
		}
	})

	_ = statement("MQTT-1.5.4-2", both, "a string with U+0000 ends the connection", func(t *T) {
		c := t.connect("a")
		c.packet(0x30, `0003 'a' 00 'b' %s 'x'`, t.none())
		c.failed()
		c = t.connect("a")
		c.packet(0x82, `0001 %s 0003 'a' 00 'b' 00`, t.none())
		c.failed()
	})

	_ = statement("MQTT-1.5.4-3", both, "U+FEFF at the start of a string belongs to it", func(t *T) {
		c := t.connect("a")
		topic := []byte("\uFEFF" + t.topic("a"))
		subscribe := &mqtt.Subscribe{PacketID: 1, Subscriptions: []mqtt.Subscription{{Filter: topic}}}
		c.send(subscribe)
		expect[*mqtt.Suback](c)
		c.send(&mqtt.Publish{Topic: topic[3:], Payload: []byte("without")})
		c.send(&mqtt.Publish{Topic: topic, Payload: []byte("with")})
		if m := c.gets("with", 0); !bytes.Equal(m.Topic, topic) {
			t.Fatalf("topic %q, want %q", m.Topic, topic)
		}
	})

	_ = statement("MQTT-1.5.5-1", v5, "a variable byte integer with more octets than it needs is malformed", func(t *T) {
		c := t.connect("a")
		c.packet(0x30, `"%s" 8000 'x'`, t.topic("a")) // its property length
		c.failed(mqtt.CodeMalformed)
		c = t.connect("a")
		c.octets(`30 FFFFFFFF7F`) // its remaining length, of five octets
		c.failed(mqtt.CodeMalformed)
	})

	_ = statement("MQTT-1.5.7-1", v5, "both strings of a user property have to be UTF-8", func(t *T) {
		for _, bad := range []string{`0001FF "b"`, `"a" 0001FF`} {
			c := t.connect("a")
			c.packet(0x30, `"%s" 07 26 %s 'x'`, t.topic("a"), bad)
			c.failed(mqtt.CodeMalformed)
		}
	})

	_ = statement("MQTT-2.1.3-1", both, "reserved flags have to be what the specification says", func(t *T) {
		for _, bad := range []struct {
			first byte
			rest  string
		}{
			{0xC1, ``},               // PINGREQ
			{0x41, `0001`},           // PUBACK
			{0x51, `0001`},           // PUBREC
			{0x60, `0001`},           // PUBREL
			{0x72, `0001`},           // PUBCOMP
			{0x80, `0001 %s "a" 00`}, // SUBSCRIBE
			{0xA0, `0001 %s "a"`},    // UNSUBSCRIBE
			{0xE1, ``},               // DISCONNECT
		} {
			t.trying = fmt.Sprintf("%02X %s", bad.first, bad.rest)
			c := t.connect("a")
			c.packet(bad.first, "%s", strings.ReplaceAll(bad.rest, "%s", t.none()))
			c.failed(mqtt.CodeMalformed)
		}
	})

	_ = statement("MQTT-2.2.1-2", both, "a message with QoS 0 has no packet identifier", func(t *T) {
		c := t.connect("a")
		c.subscribe("a", 1)
		c.publish("a", "xy", 0)
		_, body, _ := c.frame()
		want, _ := octets(`"` + t.topic("a") + `" ` + t.none() + ` 'xy'`)
		if !bytes.Equal(body, want) {
			t.Fatalf("the PUBLISH is % x, want % x", body, want)
		}
	})

	_ = statement("MQTT-2.2.1-3", both, "packet identifier 0 is refused", func(t *T) {
		for first, rest := range map[byte]string{0x82: `"a" 00`, 0xA2: `"a"`} {
			c := t.connect("a")
			c.packet(first, `0000 %s `+rest, t.none())
			c.failed(mqtt.CodeMalformed, mqtt.CodeProtocolError)
		}
		for _, first := range []byte{0x32, 0x34} {
			c := t.connect("a")
			c.packet(first, `"%s" 0000 %s 'x'`, t.topic("a"), t.none())
			c.failed(mqtt.CodeMalformed, mqtt.CodeProtocolError)
		}
	})

	_ = statement("MQTT-2.2.1-4", both, "each message in flight has a packet identifier of its own, and none has 0", func(t *T) {
		c, from := t.connect("a"), t.connect("b")
		c.subscribe("a", 2)
		used := make(map[uint16]bool)
		for i := range 10 {
			qos := mqtt.QoS(1 + i%2)
			from.publish("a", "x", qos)
			m := c.gets("x", qos)
			if m.PacketID == 0 || used[m.PacketID] {
				t.Fatalf("packet identifier %d", m.PacketID)
			}
			used[m.PacketID] = true
		}
	})

	_ = statement("MQTT-2.2.1-5", both, "acknowledgements have the packet identifier of their PUBLISH", func(t *T) {
		c := t.connect("a")
		topic := []byte(t.topic("a"))
		for _, id := range []uint16{1, 0x1234, 0xFFFF} {
			c.send(&mqtt.Publish{Topic: topic, QoS: 1, PacketID: id})
			if a := expect[*mqtt.Puback](c); a.PacketID != id {
				t.Fatalf("PUBACK %d for %d", a.PacketID, id)
			}
			c.send(&mqtt.Publish{Topic: topic, QoS: 2, PacketID: id})
			if a := expect[*mqtt.Pubrec](c); a.PacketID != id {
				t.Fatalf("PUBREC %d for %d", a.PacketID, id)
			}
			c.send(&mqtt.Pubrel{PacketID: id})
			if a := expect[*mqtt.Pubcomp](c); a.PacketID != id {
				t.Fatalf("PUBCOMP %d for %d", a.PacketID, id)
			}
		}
		c.subscribe("b", 2)
		t.connect("b").publish("b", "x", 2)
		m := c.gets("x", 2)
		c.send(&mqtt.Pubrec{PacketID: m.PacketID})
		if a := expect[*mqtt.Pubrel](c); a.PacketID != m.PacketID {
			t.Fatalf("PUBREL %d for %d", a.PacketID, m.PacketID)
		}
	})

	_ = statement("MQTT-2.2.1-6", both, "SUBACK and UNSUBACK have the packet identifier of what they answer", func(t *T) {
		c := t.connect("a")
		topic := []byte(t.topic("a"))
		for _, id := range []uint16{1, 0x1234, 0xFFFF} {
			c.send(&mqtt.Subscribe{PacketID: id, Subscriptions: []mqtt.Subscription{{Filter: topic}}})
			if a := expect[*mqtt.Suback](c); a.PacketID != id {
				t.Fatalf("SUBACK %d for %d", a.PacketID, id)
			}
			c.send(&mqtt.Unsubscribe{PacketID: id, Filters: [][]byte{topic}})
			if a := expect[*mqtt.Unsuback](c); a.PacketID != id {
				t.Fatalf("UNSUBACK %d for %d", a.PacketID, id)
			}
		}
	})

	_ = statement("MQTT-2.2.2-1", v5, "a packet without properties says so by a property length of 0", func(t *T) {
		c := t.connect("a")
		c.packet(0x82, `0007 00 "%s" 00`, t.topic("a"))
		if _, body, _ := c.frame(); !bytes.Equal(body, []byte{0, 7, 0, 0}) {
			t.Fatalf("SUBACK % x, want 00 07 00 00", body)
		}
		c.packet(0x30, `"%s" 00`, t.topic("a"))
		want, _ := octets(`"` + t.topic("a") + `" 00`)
		if _, body, _ := c.frame(); !bytes.Equal(body, want) {
			t.Fatalf("PUBLISH % x, want % x", body, want)
		}
		c.packet(0x30, `"%s"`, t.topic("a")) // without it
		c.failed(mqtt.CodeMalformed)
	})
)
