package conformance

import "mqttsn-gateway/broker/mqtt"

var (
	_ = statement("MQTT-3.1.0-1", both, "a connection that begins with anything but CONNECT is closed", func(t *T) {
		c := t.dial()
		c.octets(`C000`)
		c.failed()
	})

	_ = statement("MQTT-3.1.0-2", both, "a second CONNECT is a protocol error and ends the connection", func(t *T) {
		c := t.connect("a")
		c.send(&mqtt.Connect{CleanStart: true, ClientID: []byte(t.id("a"))})
		c.failed(mqtt.CodeProtocolError)
	})
)
