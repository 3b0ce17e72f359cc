package conformance

import (
	"bytes"

	"mqttsn-gateway/broker/embedded"
	"mqttsn-gateway/broker/mqtt"
)

// Chapter 3.2, CONNACK.

// refusals are CONNECT packets of MQTT 5 that no broker may accept: the fixed header's
// first octet and a property are wrong, an authentication method that nobody knows. They
// end with the place for a client id.
var refusals = []string{
	`"MQTT" 05 03 003C 00 "%s"`,
	`"MQTT" 05 02 003C 03 21 0000 "%s"`,
	`"MQTT" 05 02 003C 04 15 "x" "%s"`,
}

var (
	_ = statement("MQTT-3.2.0-1", both, "CONNACK comes before everything else", func(t *T) {
		c := t.connect("a", lasting)
		c.subscribe("a", 1)
		c.drop()
		t.connect("b").publish("a", "waits", 1)
		c = t.dial()
		c.send(&mqtt.Connect{ClientID: []byte(t.id("a")), Properties: mqtt.ConnectProperties{SessionExpiry: mqtt.Some(uint32(60))}},
			&mqtt.Publish{QoS: 2, PacketID: 1, Topic: []byte(t.topic("b"))})
		expect[*mqtt.Connack](c)
	})

	_ = statement("MQTT-3.2.0-2", both, "there is one CONNACK on a connection", func(t *T) {
		c := t.connect("a")
		again := &mqtt.Connect{CleanStart: true, ClientID: []byte(t.id("a"))}
		c.send(again, again)
		for p := c.next(); p != nil; p = c.next() {
			if _, ok := p.(*mqtt.Connack); ok {
				t.Fatal("a second CONNACK")
			}
		}
	})

	_ = statement("MQTT-3.2.2-1", both, "only the lowest bit of the acknowledge flags is used", func(t *T) {
		for present := range byte(2) {
			c := t.dial()
			c.send(&mqtt.Connect{ClientID: []byte(t.id("a")), Properties: mqtt.ConnectProperties{SessionExpiry: mqtt.Some(uint32(60))}})
			if h, body, _ := c.frame(); h.Type != mqtt.TypeConnack || body[0] != present {
				t.Fatalf("%v % x, want flags %d", h.Type, body, present)
			}
			c.leave()
		}
	})

	_ = statement("MQTT-3.2.2-2", both, "with clean start no session is present", func(t *T) {
		t.connect("a", lasting).leave()
		if c := t.connect("a"); c.connack.SessionPresent || c.connack.Code != mqtt.CodeSuccess {
			t.Fatalf("CONNACK %+v", c.connack)
		}
	})

	_ = statement("MQTT-3.2.2-3", both, "without clean start CONNACK says whether there is a session", func(t *T) {
		for _, present := range []bool{false, true, true} {
			c := t.connect("a", lasting)
			if c.connack.SessionPresent != present || c.connack.Code != mqtt.CodeSuccess {
				t.Fatalf("CONNACK %+v, want session present %t", c.connack, present)
			}
			c.leave()
		}
	})

	_ = statement("MQTT-3.2.2-6", v5, "a refusal does not say that a session is present", func(t *T) {
		t.connect("a", lasting).leave()
		for _, bad := range refusals {
			t.trying = bad
			c := t.dial()
			c.packet(0x10, bad, t.id("a"))
			c.refused()
		}
	})

	_ = statement("MQTT-3.2.2-7 MQTT-3.2.2-8", v5, "a refusal has a reason code of CONNACK, and the connection is closed", func(t *T) {
		for i, codes := range [][]mqtt.Code{
			{mqtt.CodeMalformed, mqtt.CodeProtocolError},
			{mqtt.CodeProtocolError, mqtt.CodeMalformed},
			{mqtt.CodeAuthenticationMethod},
		} {
			t.trying = refusals[i]
			c := t.dial()
			c.packet(0x10, refusals[i], t.id("a"))
			c.refused(codes...)
		}
	})

	_ = statement("MQTT-3.2.2-9 MQTT-3.2.2-12", v5, "a broker that names no maximum QoS takes wills and messages with QoS 2", func(t *T) {
		watch := t.connect("watch")
		watch.subscribe("+", 2)
		c := t.connect("a", t.will("a", "gone", func(w *mqtt.Will) { w.QoS = 2 }))
		if c.connack.Properties.MaximumQoS.Set {
			t.Fatalf("maximum QoS %d", c.connack.Properties.MaximumQoS.Value)
		}
		c.publish("b", "x", 2)
		watch.takes("x", 2)
		c.drop()
		watch.takes("gone", 2)
	})

	_ = statement("MQTT-3.2.2-10", both, "a subscription may ask for every QoS", func(t *T) {
		c := t.connect("a")
		for qos := range mqtt.QoS(3) {
			c.subscribe("a", qos)
		}
	})

	_ = statement("MQTT-3.2.2-13", v5, "a broker that retains nothing says so, and takes no retained will", func(t *T) {
		t.own(settings{
			embedded:  func(o *embedded.Options) { o.MaxRetainedMessages = 0 },
			mosquitto: "retain_available false",
		})
		c := t.dial()
		c.connectWith(0x26, `"%s" 00 "will" "gone"`, t.id("a"))
		c.refused(mqtt.CodeRetainNotSupported)
		c = t.connect("a")
		if c.connack.Properties.RetainAvailable.Or(true) {
			t.Fatal("retain is available")
		}
	})

	_ = statement("MQTT-3.2.2-15", v5, "a packet above the broker's maximum packet size ends the connection", func(t *T) {
		t.own(settings{
			embedded:  func(o *embedded.Options) { o.MaxPacketSize = 1024 },
			mosquitto: "max_packet_size 1024",
		})
		c := t.connect("a")
		if got := c.connack.Properties.MaximumPacketSize; got != 1024 {
			t.Fatalf("maximum packet size %d, want 1024", got)
		}
		c.publish("a", string(make([]byte, 900)), 1)
		c.send(&mqtt.Publish{Topic: []byte("a"), Payload: make([]byte, 1100)})
		c.failed(mqtt.CodePacketTooLarge)
	})

	_ = statement("MQTT-3.2.2-19 MQTT-3.2.2-20", v5, "CONNACK is not made larger than the client's maximum packet size by reason string and user properties", func(t *T) {
		c := t.dial()
		c.packet(0x10, `"MQTT" 05 02 003C 09 27 00000010 15 "x" "%s"`, t.id("a")) // 16 octets
		if h, _, err := c.frame(); err == nil && h.Length+2 > 16 {
			t.Fatalf("%v of %d octets", h.Type, h.Length+2)
		}
	})

	_ = statement("MQTT-3.2.2-22", v5, "a broker that names no keep alive uses the client's", func(t *T) {
		c := t.connect("a", func(c *mqtt.Connect) { c.KeepAlive = 1 })
		if c.connack.Properties.ServerKeepAlive.Set {
			t.Fatalf("server keep alive %d", c.connack.Properties.ServerKeepAlive.Value)
		}
		c.failed(mqtt.CodeKeepAliveTimeout)
	})
)

// someProperties are user properties whose order can be told: one key comes twice.
var someProperties = []mqtt.UserProperty{
	{Name: []byte("b"), Value: []byte("1")}, {Name: []byte("a"), Value: []byte("2")},
	{Name: []byte("b"), Value: []byte("3")}, {Name: nil, Value: []byte("ü")}, {Name: []byte("a"), Value: nil},
}

func equalProperty(a, b mqtt.UserProperty) bool {
	return bytes.Equal(a.Name, b.Name) && bytes.Equal(a.Value, b.Value)
}
