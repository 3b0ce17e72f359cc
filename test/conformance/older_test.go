package conformance

import (
	"bytes"

	"mqttsn-gateway/broker/mqtt"
)

// What MQTT 3.1.1 says otherwise than MQTT 5, or alone. What both say stands with MQTT 5.

var (
	_ = statement("MQTT311-3.1.2-1", v311, "a client with another protocol name is not let in", func(t *T) {
		c := t.dial()
		c.packet(0x10, `"MQTX" 04 02 003C "%s"`, t.id("a"))
		c.refused()
	})

	_ = statement("MQTT311-3.1.2-2", v311, "a protocol level that the broker does not speak is answered with return code 1", func(t *T) {
		for _, level := range []byte{0, 6, 0xFF} {
			c := t.dial()
			c.packet(0x10, `"MQTT" %02X 02 003C "%s"`, level, t.id("a"))
			if h, body, err := c.frame(); err != nil || h.Type != mqtt.TypeConnack || !bytes.Equal(body, []byte{0, 1}) {
				t.Fatalf("level %d: %v % x, %v", level, h.Type, body, err)
			}
			c.closed()
		}
	})

	_ = statement("MQTT311-3.1.2-6", v311, "a session with clean session ends with its connection", func(t *T) {
		c := t.connect("a")
		c.subscribe("a", 1)
		c.leave()
		if c = t.connect("a", lasting); c.connack.SessionPresent {
			t.Fatal("the session is present")
		}
		t.connect("b").publish("a", "x", 1)
		c.quiet()
	})

	_ = statement("MQTT311-3.1.2-22", v311, "a password needs a user name", func(t *T) {
		c := t.dial()
		c.connectWith(0x42, `"%s" "password"`, t.id("a"))
		c.refused()
	})

	_ = statement("MQTT311-3.1.3-8", v311, "a client without an id has to ask for a clean session, else it is answered with return code 2", func(t *T) {
		c := t.dial()
		c.connectWith(0x00, `""`)
		if h, body, err := c.frame(); err != nil || h.Type != mqtt.TypeConnack || !bytes.Equal(body, []byte{0, 2}) {
			t.Fatalf("%v % x, %v", h.Type, body, err)
		}
		c.closed()
	})

	_ = statement("MQTT311-3.1.4-1", v311, "a CONNECT that is not of the right form is refused", func(t *T) {
		for _, bad := range []string{
			`"MQTT" 04 02 00`,              // ends within the keep alive
			`"MQTT" 04 02 003C`,            // ends before the client id
			`"MQTT" 04 02 003C 0010 'a'`,   // ends within the client id
			`"MQTT" 04 02 003C "a" "b"`,    // goes on
			`"MQTT" 04 06 003C "a" "will"`, // ends before the will's payload
		} {
			t.trying = bad
			c := t.dial()
			c.packet(0x10, "%s", bad)
			c.refused()
		}
	})
)
