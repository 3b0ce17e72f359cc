package conformance

import (
	"time"

	"mqttsn-gateway/broker/embedded"
	"mqttsn-gateway/broker/mqtt"
)

// Limits that a broker states in CONNACK and has its clients obey.

var (
	_ = statement("MQTT-3.1.2-21 MQTT-3.2.2-21", v5, "a keep alive that the broker names counts in place of the client's", func(t *T) {
		t.own(settings{
			embedded:  func(o *embedded.Options) { o.MaxKeepalive = time.Second },
			mosquitto: "max_keepalive 1",
		})
		for _, asked := range []uint16{0, 60} {
			c := t.connect("a", func(c *mqtt.Connect) { c.KeepAlive = asked })
			if k := c.connack.Properties.ServerKeepAlive; k != mqtt.Some(uint16(1)) {
				t.Fatalf("server keep alive %+v, want 1", k)
			}
			c.failed(mqtt.CodeKeepAliveTimeout)
		}
	})

	_ = statement("MQTT-3.2.2-9b MQTT-3.2.2-11 MQTT-3.2.2-12b", v5, "a broker that does not support QoS 2 says so, and takes neither a message nor a will with it", func(t *T) {
		t.own(settings{
			embedded:  func(o *embedded.Options) { o.MaxQoS = 1 },
			mosquitto: "max_qos 1",
		})
		c := t.dial()
		c.connectWith(0x16, `"%s" 00 "will" "gone"`, t.id("a"))
		c.refused(mqtt.CodeQoSNotSupported)
		c = t.connect("a")
		if q := c.connack.Properties.MaximumQoS; q != mqtt.Some(mqtt.QoS1) {
			t.Fatalf("maximum QoS %+v, want 1", q)
		}
		c.publish("a", "x", 1)
		c.send(&mqtt.Publish{Topic: []byte(t.topic("a")), QoS: 2, PacketID: 1})
		c.failed(mqtt.CodeQoSNotSupported)
	})

	_ = statement("MQTT-3.2.2-10b", v5, "a broker that does not support QoS 2 takes subscriptions that ask for it", func(t *T) {
		t.own(settings{
			embedded:  func(o *embedded.Options) { o.MaxQoS = 1 },
			mosquitto: "max_qos 1",
		})
		c := t.connect("a")
		c.send(&mqtt.Subscribe{PacketID: 1, Subscriptions: []mqtt.Subscription{{Filter: []byte("a"), QoS: 2}}})
		if a := expect[*mqtt.Suback](c); len(a.Codes) != 1 || a.Codes[0].Failed() {
			t.Fatalf("SUBACK %v", a.Codes)
		}
	})

	_ = statement("MQTT-3.2.2-14", v5, "a retained message for a broker that retains nothing ends the connection", func(t *T) {
		t.own(settings{
			embedded:  func(o *embedded.Options) { o.MaxRetainedMessages = 0 },
			mosquitto: "retain_available false",
		})
		c := t.connect("a")
		c.send(&mqtt.Publish{Topic: []byte("a"), Retain: true, QoS: 1, PacketID: 1})
		c.failed(mqtt.CodeRetainNotSupported)
	})

	_ = statement("MQTT-3.3.4-7", v5, "more messages in flight from a client than the broker's receive maximum end the connection", func(t *T) {
		t.own(settings{
			embedded:  func(o *embedded.Options) { o.ReceiveMaximum = 3 },
			mosquitto: "max_inflight_messages 3",
		})
		c := t.connect("a")
		if r := c.connack.Properties.ReceiveMaximum; r != 3 {
			t.Fatalf("receive maximum %d, want 3", r)
		}
		publish := func(id uint16) { c.send(&mqtt.Publish{Topic: []byte("a"), QoS: 2, PacketID: id}) }
		for id := range uint16(3) {
			publish(1 + id)
			expect[*mqtt.Pubrec](c)
		}
		c.send(&mqtt.Pubrel{PacketID: 1})
		expect[*mqtt.Pubcomp](c)
		publish(4)
		expect[*mqtt.Pubrec](c)
		publish(5)
		c.failed(mqtt.CodeReceiveMaximum)
	})
)
