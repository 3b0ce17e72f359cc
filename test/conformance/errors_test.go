package conformance

import (
	"fmt"

	"mqttsn-gateway/broker/mqtt"
)

// Enhanced authentication and errors: sections 4.12 and 4.13.

var (
	_ = statement("MQTT-4.12.0-1 MQTT-4.12.0-4", v5, "an authentication method that the broker does not know is refused", func(t *T) {
		for _, method := range []string{"", "SCRAM-SHA-256", "none"} {
			t.trying = method
			c := t.dial()
			p := &mqtt.Connect{CleanStart: true, ClientID: []byte(t.id("a"))}
			p.Properties.AuthenticationMethod = []byte(method)
			p.Properties.AuthenticationData = []byte("data")
			c.send(p)
			c.refused(mqtt.CodeAuthenticationMethod, mqtt.CodeNotAuthorized)
		}
	})

	_ = statement("MQTT-4.12.0-6", v5, "a client without authentication method sees no AUTH, and none in CONNACK", func(t *T) {
		c := t.connect("a", func(c *mqtt.Connect) { // whose first answer is CONNACK
			c.Username = []byte("u")
			c.Password = []byte("p")
		})
		if props := c.connack.Properties; props.AuthenticationMethod != nil || props.AuthenticationData != nil {
			t.Fatalf("CONNACK %+v", props)
		}
		c.quiet()
	})

	_ = statement("MQTT-4.12.0-7", v5, "AUTH of a client without authentication method is a protocol error", func(t *T) {
		for _, auth := range []string{`F0 00`, `F0 02 18 00`, `F0 05 18 03 15 0000`} {
			t.trying = auth
			c := t.connect("a")
			c.octets("%s", auth)
			c.failed(mqtt.CodeProtocolError, mqtt.CodeMalformed)
		}
	})

	_ = statement("MQTT-4.12.1-2", v5, "authenticating again without an authentication method fails and ends the connection", func(t *T) {
		c := t.connect("a")
		c.packet(0xF0, `19 08 15 "SCRAM" `)
		c.failed()
	})

	_ = statement("MQTT-4.13.1-1", both, "a malformed packet or protocol error ends that connection, and no other", func(t *T) {
		other := t.connect("other")
		other.subscribe("x", 1)
		for _, octets := range []string{
			`00 00`,                            // the reserved packet type 0
			`20 02 0000`,                       // CONNACK from a client
			`30 FFFFFFFF 01`,                   // a remaining length of five octets
			`30 00`,                            // PUBLISH without a topic
			`30 03 0005 61`,                    // half a topic
			`32 05 0001 61 0000`,               // packet identifier 0
			`40 01 00`,                         // half a packet identifier
			`62 02 0000`,                       // PUBREL with packet identifier 0
			`82 02 0000`,                       // SUBSCRIBE with packet identifier 0, and no filter
			`A2 02 0001`,                       // UNSUBSCRIBE without a filter
			`10 00`,                            // CONNECT, empty and the second
			`82 0A 0001 00 0009 616263 000000`, // a filter longer than the packet
		} {
			t.trying = octets
			c := t.connect("a")
			c.octets("%s", octets)
			c.failed()
		}
		t.trying = "the other connection"
		other.publish("y", "1", 0)
		other.publish("x", "2", 0)
		other.takes("2", 0)
	})

	_ = statement("MQTT-4.13.1-1b MQTT-2.1.3-1c", both, "packets that only a server sends, and PINGREQ with anything in it, end the connection", func(t *T) {
		for _, octets := range []string{
			`90 03 0001 00`, // SUBACK
			`B0 02 0001`,    // UNSUBACK
			`D0 00`,         // PINGRESP
			`C0 01 00`,
			`C2 00`,
		} {
			t.trying = octets
			c := t.connect("a")
			c.octets("%s", octets)
			c.failed()
		}
	})

	_ = statement("MQTT-4.13.1-1c", v5, "properties that are wrong end the connection", func(t *T) {
		for _, octets := range []string{
			`30 08 0001 'x' 04 01 00 01 00`,   // payload format, twice
			`30 06 0001 'x' 02 7F 00`,         // an unknown property
			`30 06 0001 'x' 02 24 00`,         // maximum QoS, which belongs to CONNACK
			`30 05 0001 'x' 05 02`,            // properties longer than the packet
			`82 09 0001 02 0B 00 0001 'x' 00`, // subscription identifier 0
		} {
			t.trying = octets
			c := t.connect("a")
			c.octets("%s", octets)
			c.failed(mqtt.CodeMalformed, mqtt.CodeProtocolError)
		}
	})

	_ = statement("MQTT-4.13.2-1", both, "a failure in the broker's CONNACK or DISCONNECT ends the connection", func(t *T) {
		c := t.dial()
		if t.v5() {
			c.octets(`10 0E "MQTT" 05 03 003C 00 0001 61`) // the reserved flag
		} else {
			c.octets(`10 0C "MQTT" 04 00 003C 0000`) // neither client id nor clean session
		}
		c.refused()
		c = t.connect("a")
		c.octets(`F1 00`)
		c.failed()
	})

	_ = statement("MQTT-4.13.2-1b", v5, "a failure in a client's DISCONNECT ends the connection", func(t *T) {
		for _, code := range []mqtt.Code{mqtt.CodeUnspecified, mqtt.CodeMalformed, mqtt.CodeReceiveMaximum} {
			t.trying = fmt.Sprintf("%#x", code)
			c := t.connect("a")
			c.send(&mqtt.Disconnect{Code: code})
			c.closed()
		}
	})
)
