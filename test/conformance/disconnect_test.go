package conformance

import (
	"fmt"

	"mqttsn-gateway/broker/mqtt"
)

// DISCONNECT and AUTH: sections 3.14 and 3.15.

// disconnectCodes are the codes that a server may disconnect with: table 3-13.
var disconnectCodes = []mqtt.Code{
	0x00, 0x80, 0x81, 0x82, 0x83, 0x87, 0x89, 0x8B, 0x8D, 0x8E, 0x8F, 0x90, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99,
	0x9A, 0x9B, 0x9C, 0x9D, 0x9E, 0x9F, 0xA0, 0xA1, 0xA2,
}

// disconnections are ways to be disconnected, in octets.
var disconnections = []string{
	`82 05 0001 00 0000`,     // SUBSCRIBE with half a filter
	`82 02 0000`,             // SUBSCRIBE with packet identifier 0 and nothing else
	`30 00`,                  // PUBLISH without a topic
	`36 06 0001 't' 0001 00`, // QoS 3
	`F0 00`,                  // AUTH without a method
}

var (
	_ = statement("MQTT-3.14.0-1", v5, "whoever is not let in gets no DISCONNECT", func(t *T) {
		for _, first := range []string{
			`10 0D "MQTT" 05 03 003C 00 0001 61`,            // a reserved flag
			`10 15 "MQTT" 05 02 003C 08 15 "XXXXX" 0001 61`, // an authentication method
			`10 0C "MQTT" 05 02 003C 00 0001`,               // half a client id
			`E0 00`,
			`30 03 0001 61`,
			`00 00`,
		} {
			t.trying = first
			c := t.dial()
			c.octets("%s", first)
			c.refused()
		}
	})

	_ = statement("MQTT-3.14.1-1", both, "DISCONNECT with flags is malformed, and so the will is published", func(t *T) {
		watcher := t.connect("watcher")
		watcher.subscribe("will", 0)
		for _, flags := range []byte{1, 2, 4, 8} {
			t.trying = fmt.Sprintf("%#x", flags)
			c := t.connect("a", will(t.topic("will"), "lost"))
			c.octets(`%02X 00`, 0xE0|flags)
			c.failed(mqtt.CodeMalformed)
			watcher.takes("lost", 0)
		}
	})

	_ = statement("MQTT-3.14.2-1", v5, "the broker disconnects with codes of DISCONNECT", func(t *T) {
		for _, octets := range disconnections {
			t.trying = octets
			c := t.connect("a")
			c.octets("%s", octets)
			if p, ok := c.next().(*mqtt.Disconnect); ok {
				t.oneOf(disconnectCodes[1:], p.Code)
				c.closed()
			}
		}
	})

	_ = statement("MQTT-3.14.2-1b", v5, "a client that disconnects with another code has not left in order", func(t *T) {
		watcher := t.connect("watcher")
		watcher.subscribe("will", 0)
		for _, code := range []byte{0x01, 0x10, 0x84, 0xFF} {
			t.trying = fmt.Sprintf("%#x", code)
			c := t.connect("a", will(t.topic("will"), "lost"))
			c.octets(`E0 02 %02X 00`, code)
			c.failed(mqtt.CodeProtocolError, mqtt.CodeMalformed)
			watcher.takes("lost", 0)
		}
	})

	_ = statement("MQTT-3.14.2-2", v5, "the broker's DISCONNECT has no session expiry", func(t *T) {
		c := t.connect("a", lasting)
		t.connect("a", lasting)
		p := expect[*mqtt.Disconnect](c)
		if p.Code != mqtt.CodeTakenOver || p.Properties.SessionExpiry.Set {
			t.Fatalf("DISCONNECT %+v", p)
		}
		c.closed()
	})

	_ = statement("MQTT-3.14.2-3 MQTT-3.14.2-4", v5, "no reason string or user property makes DISCONNECT too large", func(t *T) {
		for _, octets := range disconnections {
			t.trying = octets
			c := t.connect("a", smallPackets)
			c.octets("%s", octets)
			if h, body, err := c.frame(); err == nil && len(body) > small-2 {
				t.Fatalf("%v has %d octets, at most %d are allowed", h.Type, 2+len(body), small)
			}
		}
	})

	_ = statement("MQTT-3.14.4-1 MQTT-3.14.4-2", v5, "after its DISCONNECT the broker sends nothing more and closes", func(t *T) {
		pub := t.connect("pub")
		c := t.connect("a", lasting)
		c.subscribe("x", 1)
		for range 10 {
			pub.publish("x", "1", 1)
		}
		t.connect("a", lasting)
		pub.publish("x", "2", 1)
		for {
			p := c.next()
			if p, ok := p.(*mqtt.Disconnect); ok {
				t.oneOf([]mqtt.Code{mqtt.CodeTakenOver}, p.Code)
				break
			}
			if p == nil {
				t.Fatalf("the connection ends without a DISCONNECT")
			}
		}
		c.closed()
	})

	_ = statement("MQTT-3.14.4-1b", both, "what a client sends after its DISCONNECT is not heard", func(t *T) {
		c, sub := t.connect("a"), t.connect("sub")
		sub.subscribe("x", 0)
		c.send(&mqtt.Disconnect{}, &mqtt.Publish{Topic: []byte(t.topic("x")), Payload: []byte("late")})
		c.closed()
		sub.quiet()
	})

	_ = statement("MQTT-3.14.4-3 MQTT-3.1.2-10", both, "DISCONNECT in order discards the will", func(t *T) {
		watcher := t.connect("watcher")
		watcher.subscribe("will", 0)
		c := t.connect("a", will(t.topic("will"), "lost"))
		c.leave()
		t.connect("a").leave() // so the broker is through with the first connection
		watcher.quiet()
	})

	_ = statement("MQTT-3.14.4-3b", v5, "DISCONNECT with another code publishes the will", func(t *T) {
		watcher := t.connect("watcher")
		watcher.subscribe("will", 0)
		for _, code := range []mqtt.Code{mqtt.CodeDisconnectWithWill, mqtt.CodeUnspecified, mqtt.CodeAdministrative} {
			t.trying = fmt.Sprintf("%#x", code)
			c := t.connect("a", will(t.topic("will"), code.String()))
			c.send(&mqtt.Disconnect{Code: code})
			c.closed()
			watcher.takes(code.String(), 0)
		}
	})

	_ = statement("MQTT-3.14.4-3c", v5, "DISCONNECT that makes a session last that was not to is a protocol error: the will is published", func(t *T) {
		watcher := t.connect("watcher")
		watcher.subscribe("will", 0)
		c := t.connect("a", will(t.topic("will"), "lost"))
		c.octets(`E0 07 00 05 11 00000E10`)
		c.failed(mqtt.CodeProtocolError)
		watcher.takes("lost", 0)
		if c := t.connect("a", lasting); c.connack.SessionPresent {
			t.Fatalf("the session lasts")
		}
	})

	_ = statement("MQTT-3.15.1-1", v5, "AUTH with flags ends the connection", func(t *T) {
		for _, flags := range []byte{1, 2, 4, 8} {
			t.trying = fmt.Sprintf("%#x", flags)
			c := t.connect("a")
			c.octets(`%02X 00`, 0xF0|flags)
			c.failed(mqtt.CodeMalformed)
		}
	})

	_ = statement("MQTT-3.15.2-1", v5, "AUTH with a code that is not its own ends the connection", func(t *T) {
		for _, code := range []byte{0x01, 0x17, 0x80, 0x87, 0xFF} {
			t.trying = fmt.Sprintf("%#x", code)
			c := t.connect("a")
			c.octets(`F0 02 %02X 00`, code)
			c.failed(mqtt.CodeProtocolError, mqtt.CodeMalformed)
		}
	})
)
