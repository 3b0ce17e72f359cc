package conformance

import (
	"bytes"
	"fmt"
	"strings"
	"time"

	"mqttsn-gateway/broker/embedded"
	"mqttsn-gateway/broker/mqtt"
)

// Chapter 3.1, CONNECT; its will is in will_test.go.

var (
	_ = statement("MQTT-3.1.0-1", both, "a connection that begins with anything but CONNECT is closed", func(t *T) {
		for _, first := range []mqtt.Packet{&mqtt.Pingreq{}, &mqtt.Publish{Topic: []byte("a")}, &mqtt.Disconnect{}} {
			c := t.dial()
			c.send(first)
			c.failed()
		}
	})

	_ = statement("MQTT-3.1.0-2", both, "a second CONNECT is a protocol error and ends the connection", func(t *T) {
		c := t.connect("a")
		c.send(&mqtt.Connect{CleanStart: true, ClientID: []byte(t.id("a"))})
		c.failed(mqtt.CodeProtocolError)
	})

	_ = statement("MQTT-3.1.2-1", v5, "a protocol name other than MQTT is refused", func(t *T) {
		for _, name := range []string{"MQTX", "mqtt", "MQT", "MQTTT"} {
			c := t.dial()
			c.packet(0x10, `"%s" 05 02 003C 00 "%s"`, name, t.id("a"))
			c.refused(mqtt.CodeUnsupportedVersion)
		}
	})

	_ = statement("MQTT-3.1.2-2", v5, "a protocol version that the broker does not speak is refused", func(t *T) {
		for _, version := range []byte{0, 6, 0xFF} {
			c := t.dial()
			c.packet(0x10, `"MQTT" %02X 02 003C 00 "%s"`, version, t.id("a"))
			// In which version CONNACK is to be read is not said.
			h, body, err := c.frame()
			if err != nil {
				continue // closed at once, which is allowed
			}
			if h.Type != mqtt.TypeConnack || body[0] != 0 || body[1] != 1 && body[1] != byte(mqtt.CodeUnsupportedVersion) {
				t.Fatalf("read %v % x", h.Type, body)
			}
			c.closed()
		}
	})

	_ = statement("MQTT-3.1.2-3", both, "the reserved connect flag has to be 0", func(t *T) {
		c := t.dial()
		c.connectWith(0x03, `"%s"`, t.id("a"))
		c.refused(mqtt.CodeMalformed, mqtt.CodeProtocolError)
	})

	_ = statement("MQTT-3.1.2-4", both, "with clean start the earlier session is gone", func(t *T) {
		c := t.connect("a", lasting)
		c.subscribe("a", 1)
		c.leave()
		from := t.connect("b")
		from.publish("a", "for the earlier session", 1)
		c = t.connect("a")
		if c.connack.SessionPresent {
			t.Fatal("the session is present")
		}
		from.publish("a", "for the earlier subscription", 1)
		c.quiet()
	})

	_ = statement("MQTT-3.1.2-5", both, "without clean start the earlier session goes on", func(t *T) {
		c := t.connect("a", lasting)
		c.subscribe("a", 1)
		c.leave()
		from := t.connect("b")
		from.publish("a", "while away", 1)
		c = t.connect("a", lasting)
		c.takes("while away", 1)
		from.publish("a", "while back", 1)
		c.takes("while back", 1)
	})

	_ = statement("MQTT-3.1.2-6", both, "without clean start and without a session there is a new one", func(t *T) {
		c := t.connect("a", lasting)
		if c.connack.SessionPresent {
			t.Fatal("a session is present")
		}
		c.subscribe("a", 1)
		c.drop()
		if c = t.connect("a", lasting); !c.connack.SessionPresent {
			t.Fatal("no session is present")
		}
	})

	_ = statement("MQTT-3.1.2-16", both, "without the user name flag there is no user name", func(t *T) {
		c := t.dial()
		c.connectWith(0x02, `"%s" "user"`, t.id("a"))
		c.refused(mqtt.CodeMalformed, mqtt.CodeProtocolError)
	})

	_ = statement("MQTT-3.1.2-17", both, "with the user name flag there is a user name", func(t *T) {
		c := t.dial()
		c.connectWith(0x82, `"%s"`, t.id("a"))
		c.refused(mqtt.CodeMalformed, mqtt.CodeProtocolError)
	})

	_ = statement("MQTT-3.1.2-18", both, "without the password flag there is no password", func(t *T) {
		c := t.dial()
		c.connectWith(0x82, `"%s" "user" "password"`, t.id("a"))
		c.refused(mqtt.CodeMalformed, mqtt.CodeProtocolError)
	})

	_ = statement("MQTT-3.1.2-19", both, "with the password flag there is a password", func(t *T) {
		c := t.dial()
		c.connectWith(0xC2, `"%s" "user"`, t.id("a"))
		c.refused(mqtt.CodeMalformed, mqtt.CodeProtocolError)
	})

	_ = statement("MQTT-3.1.2-22", both, "a client that says nothing for one and a half times its keep alive is closed", func(t *T) {
		start := time.Now()
		c := t.connect("a", func(c *mqtt.Connect) { c.KeepAlive = 1 })
		silent := t.connect("b", func(c *mqtt.Connect) { c.KeepAlive = 0 })
		c.failed(mqtt.CodeKeepAliveTimeout)
		if after := time.Since(start); after < 1500*time.Millisecond {
			t.Fatalf("closed after %v", after)
		}
		silent.quiet()
	})

	_ = statement("MQTT-3.1.2-23", both, "a session that does not expire at once is kept while the client is away", func(t *T) {
		c, from := t.connect("a", lasting), t.connect("b")
		c.subscribe("a", 2)
		from.publish("a", "one", 1)
		from.publish("a", "two", 2)
		one, two := c.gets("one", 1), c.gets("two", 2)
		c.send(&mqtt.Publish{QoS: 2, PacketID: 99, Topic: []byte(t.topic("b"))})
		expect[*mqtt.Pubrec](c)
		c.drop()
		from.publish("a", "three", 1)

		c = t.connect("a", lasting)
		if m := c.takes("one", 1); m.PacketID != one.PacketID || !m.DUP {
			t.Fatalf("came again as %+v", m)
		}
		if m := c.gets("two", 2); m.PacketID != two.PacketID || !m.DUP {
			t.Fatalf("came again as %+v", m)
		}
		c.takes("three", 1)
		c.send(&mqtt.Pubrel{PacketID: 99})
		if a := expect[*mqtt.Pubcomp](c); a.Code != mqtt.CodeSuccess {
			t.Fatalf("PUBCOMP %v", a.Code)
		}
	})

	_ = statement("MQTT-3.1.2-24", v5, "a packet above the client's maximum packet size is not sent", func(t *T) {
		c := t.connect("a", func(c *mqtt.Connect) { c.Properties.MaximumPacketSize = 100 })
		c.subscribe("a", 2)
		from := t.connect("b")
		rest := 100 - 2 - 2 - len(t.topic("a")) - 1 // what QoS 0 leaves for the payload
		for _, n := range []int{rest + 1, 500, rest} {
			from.publish("a", strings.Repeat("x", n), 0)
		}
		c.gets(strings.Repeat("x", rest), 0)
		for _, n := range []int{rest - 1, 500, rest - 2} { // and without the identifier
			from.publish("a", strings.Repeat("x", n), 1)
		}
		c.gets(strings.Repeat("x", rest-2), 1)
	})

	_ = statement("MQTT-3.1.2-25", v5, "a message that is too large for the client counts as delivered", func(t *T) {
		small := func(c *mqtt.Connect) {
			lasting(c)
			c.Properties.MaximumPacketSize = 100
			c.Properties.ReceiveMaximum = 1
		}
		c := t.connect("a", small)
		c.subscribe("a", 2)
		from := t.connect("b")
		for qos := range mqtt.QoS(3) {
			from.publish("a", strings.Repeat("x", 100), qos)
		}
		from.publish("a", "small", 1)
		c.takes("small", 1)
		c.leave()
		for qos := range mqtt.QoS(3) {
			from.publish("a", strings.Repeat("x", 100), qos)
		}
		from.publish("a", "smaller", 1)
		c = t.connect("a", small)
		c.takes("smaller", 1)
		c.quiet()
	})

	_ = statement("MQTT-3.1.2-27", v5, "a client that names no topic alias maximum, or 0, gets no aliases", func(t *T) {
		c := t.connect("a")
		zero := t.connect("b", func(c *mqtt.Connect) { c.Properties.TopicAliasMaximum = mqtt.Some(uint16(0)) })
		from := t.connect("c")
		for _, c := range []*client{c, zero} {
			c.subscribe("a", 0)
		}
		for range 5 {
			from.publish("a", "x", 0)
			for _, c := range []*client{c, zero} {
				if m := c.gets("x", 0); m.Properties.TopicAlias != 0 || string(m.Topic) != t.topic("a") {
					t.Fatalf("topic %q, alias %d", m.Topic, m.Properties.TopicAlias)
				}
			}
		}
	})

	_ = statement("MQTT-3.1.2-28", v5, "a client that does not ask for response information gets none", func(t *T) {
		for _, asked := range []mqtt.Optional[bool]{{}, mqtt.Some(false)} {
			c := t.connect("a", func(c *mqtt.Connect) { c.Properties.RequestResponse = asked })
			if got := c.connack.Properties.ResponseInformation; got != nil {
				t.Fatalf("response information %q", got)
			}
		}
	})

	_ = statement("MQTT-3.1.2-29", v5, "a client that asks for no problem information gets no reason strings and user properties, but in PUBLISH, CONNACK and DISCONNECT", func(t *T) {
		c := t.connect("a", func(c *mqtt.Connect) { c.Properties.RequestProblem = mqtt.Some(false) })
		silent := func(p mqtt.AckProperties) {
			t.Helper()
			if p.ReasonString != nil || p.User != nil {
				t.Fatalf("answered with %q %v", p.ReasonString, p.User)
			}
		}
		c.send(&mqtt.Subscribe{PacketID: 1, Subscriptions: []mqtt.Subscription{{Filter: []byte("$share//" + t.topic("a"))}}})
		switch p := c.next().(type) {
		case *mqtt.Suback:
			silent(p.Properties)
		case *mqtt.Disconnect: // a filter that is wrong may be an error of the protocol
			c = t.connect("a", func(c *mqtt.Connect) { c.Properties.RequestProblem = mqtt.Some(false) })
		default:
			t.Fatalf("read %s", show(p))
		}
		c.send(&mqtt.Unsubscribe{PacketID: 2, Filters: [][]byte{[]byte(t.topic("a"))}})
		silent(expect[*mqtt.Unsuback](c).Properties)
		c.send(&mqtt.Publish{QoS: 1, PacketID: 3, Topic: []byte("$SYS/" + t.topic("a"))})
		silent(expect[*mqtt.Puback](c).Properties)
		c.send(&mqtt.Publish{QoS: 2, PacketID: 4, Topic: []byte("$SYS/" + t.topic("a"))})
		silent(expect[*mqtt.Pubrec](c).Properties)
		c.send(&mqtt.Pubrel{PacketID: 77})
		silent(expect[*mqtt.Pubcomp](c).Properties)
		c.send(&mqtt.Pubrec{PacketID: 78})
		silent(expect[*mqtt.Pubrel](c).Properties)
	})

	_ = statement("MQTT-3.1.3-1", v5, "the payload is client id, will properties, will topic, will payload, user name, password, in this order", func(t *T) {
		watch := t.connect("b")
		watch.subscribe("will", 0)
		c := t.dial()
		c.connectWith(0xC6, `"%s" 00 "%s" "gone" "user" "password"`, t.id("a"), t.topic("will"))
		expect[*mqtt.Connack](c)
		c.drop()
		watch.gets("gone", 0)
	})

	_ = statement("MQTT-3.1.3-2", both, "the client id says whose session it is", func(t *T) {
		a, b := t.connect("a", lasting), t.connect("b", lasting)
		a.subscribe("a", 1)
		b.subscribe("b", 1)
		a.leave()
		b.leave()
		from := t.connect("c")
		from.publish("a", "for a", 1)
		from.publish("b", "for b", 1)
		b, a = t.connect("b", lasting), t.connect("a", lasting)
		a.takes("for a", 1)
		b.takes("for b", 1)
		a.quiet()
		b.quiet()
	})

	_ = statement("MQTT-3.1.3-3", both, "a CONNECT without the field for the client id is refused", func(t *T) {
		c := t.dial()
		c.connectWith(0x02, ``)
		c.refused(mqtt.CodeMalformed, mqtt.CodeProtocolError)
	})

	_ = statement("MQTT-3.1.3-4", both, "a client id that is not UTF-8 is refused", func(t *T) {
		c := t.dial()
		c.connectWith(0x02, `0002C328`)
		c.refused(mqtt.CodeMalformed, mqtt.CodeProtocolError, mqtt.CodeClientID)
	})

	_ = statement("MQTT-3.1.3-5", both, "client ids of 1 to 23 letters and digits are accepted", func(t *T) {
		suffix := string('0' + rune(t.version))
		for _, id := range []string{"", "0123456789abcdefghijkl", "mnopqrstuvwxyzABCDEFGH", "IJKLMNOPQRSTUVWXYZ"} {
			c := t.connect("", func(c *mqtt.Connect) { c.ClientID = []byte(id + suffix) })
			c.quiet()
		}
	})

	_ = statement("MQTT-3.1.3-6", both, "a client without an id gets one that no other has", func(t *T) {
		nameless := func(c *mqtt.Connect) { c.ClientID = nil }
		a := t.connect("", nameless)
		b := t.connect("", nameless)
		a.quiet()
		b.quiet()
	})

	_ = statement("MQTT-3.1.3-7 MQTT-3.2.2-16", v5, "the id that a client was given is told and works like one of its own", func(t *T) {
		nameless := func(c *mqtt.Connect) {
			lasting(c)
			c.ClientID = nil
		}
		a, b := t.connect("", nameless), t.connect("", nameless)
		id := a.connack.Properties.AssignedClientID
		if len(id) == 0 || bytes.Equal(id, b.connack.Properties.AssignedClientID) {
			t.Fatalf("assigned %q and %q", id, b.connack.Properties.AssignedClientID)
		}
		a.subscribe("a", 1)
		a.leave()
		a = t.connect("", lasting, func(c *mqtt.Connect) { c.ClientID = id })
		if !a.connack.SessionPresent || a.connack.Properties.AssignedClientID != nil {
			t.Fatalf("session present %t, assigned %q", a.connack.SessionPresent, a.connack.Properties.AssignedClientID)
		}
	})

	_ = statement("MQTT-3.1.3-8", both, "a client whose id is not accepted is not let in", func(t *T) {
		c := t.dial()
		c.connectWith(0x02, `0003 'a' 00 'b'`)
		c.refused(mqtt.CodeMalformed, mqtt.CodeProtocolError, mqtt.CodeClientID)
	})

	_ = statement("MQTT-3.1.3-12", both, "a user name that is not UTF-8 is refused", func(t *T) {
		c := t.dial()
		c.connectWith(0x82, `"%s" 0002C328`, t.id("a"))
		c.refused(mqtt.CodeMalformed, mqtt.CodeProtocolError)
	})

	_ = statement("MQTT-3.1.4-1", v5, "a CONNECT that is not of the right form is refused", func(t *T) {
		for _, bad := range []string{
			`"MQTT" 05 02 00`,                                  // ends within the keep alive
			`"MQTT" 05 02 003C 00 0010 'a'`,                    // ends within the client id
			`"MQTT" 05 02 003C 05 11 00000001`,                 // without a client id
			`"MQTT" 05 02 003C 06 11 00000001 "a"`,             // property length too large
			`"MQTT" 05 02 003C 02 0100 "a"`,                    // a property of PUBLISH
			`"MQTT" 05 02 003C 02 7F00 "a"`,                    // no property
			`"MQTT" 05 02 003C 0A 11 00000001 11 00000001 "a"`, // a property twice
			`"MQTT" 05 02 003C 03 21 0000 "a"`,                 // receive maximum 0
			`"MQTT" 05 02 003C 05 27 00000000 "a"`,             // maximum packet size 0
			`"MQTT" 05 02 003C 02 1902 "a"`,                    // request response information 2
			`"MQTT" 05 02 003C 02 1702 "a"`,                    // request problem information 2
		} {
			t.trying = bad
			c := t.dial()
			c.packet(0x10, "%s", bad)
			c.refused(mqtt.CodeMalformed, mqtt.CodeProtocolError)
		}
	})

	_ = statement("MQTT-3.1.4-1b", v5, "authentication data without a method is refused", func(t *T) {
		c := t.dial()
		c.packet(0x10, `"MQTT" 05 02 003C 04 16 "x" "%s"`, t.id("a"))
		c.refused(mqtt.CodeProtocolError, mqtt.CodeMalformed)
	})

	_ = statement("MQTT-3.1.4-2", both, "a client that fails a further check is not let in", func(t *T) {
		t.own(settings{
			embedded:  func(o *embedded.Options) { o.MaxSessions = 1 },
			mosquitto: "allow_anonymous false",
		})
		c := t.dial()
		c.connectWith(0x02, `"%s"`, t.id("a"))
		if a, ok := c.next().(*mqtt.Connack); ok && a.Code == mqtt.CodeSuccess {
			c = t.dial()
			c.connectWith(0x02, `"%s"`, t.id("b"))
			c.refused()
		}
	})

	_ = statement("MQTT-3.1.4-3", both, "a client that comes again ends its earlier connection", func(t *T) {
		c := t.connect("a")
		again := t.connect("a")
		c.failed(mqtt.CodeTakenOver)
		again.quiet()
	})

	_ = statement("MQTT-3.1.4-4", both, "clean start is obeyed when a connection is taken over", func(t *T) {
		c := t.connect("a", lasting)
		c.subscribe("a", 1)
		if c = t.connect("a", lasting); !c.connack.SessionPresent {
			t.Fatal("the session is gone without clean start")
		}
		if c = t.connect("a"); c.connack.SessionPresent {
			t.Fatal("the session is still there after clean start")
		}
		t.connect("b").publish("a", "x", 1)
		c.quiet()
	})

	_ = statement("MQTT-3.1.4-5", both, "a CONNECT that is accepted is answered with success", func(t *T) {
		c := t.dial()
		c.connectWith(0x02, `"%s"`, t.id("a"))
		if a := expect[*mqtt.Connack](c); a.Code != mqtt.CodeSuccess {
			t.Fatalf("CONNACK %v", a.Code)
		}
	})

	_ = statement("MQTT-3.1.4-6", both, "what follows a CONNECT that is refused is not looked at", func(t *T) {
		watch, from := t.connect("b"), t.connect("c")
		watch.subscribe("a", 0)
		c := t.dial()
		connect, _ := packet(0x10, fmt.Sprintf(`"MQTT" %02X 03 003C %s "a"`, byte(t.version), t.none()))
		c.write(append(connect, (&mqtt.Publish{Topic: []byte(t.topic("a")), Payload: []byte("refused")}).Append(nil, t.version)...))
		c.refused()
		from.publish("a", "marker", 0)
		watch.gets("marker", 0)
	})
)
