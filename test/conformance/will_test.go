package conformance

import (
	"slices"
	"time"

	"mqttsn-gateway/broker/mqtt"
)

// Chapter 3.1, CONNECT: its will.

// delayed is a will's delay in seconds.
func delayed(seconds uint32) func(w *mqtt.Will) {
	return func(w *mqtt.Will) { w.Properties.Delay = mqtt.Some(seconds) }
}

var (
	_ = statement("MQTT-3.1.2-7", both, "the will of a client belongs to its session", func(t *T) {
		watch := t.connect("watch")
		watch.subscribe("+", 0)
		a, b := t.connect("a", t.will("a", "a is gone")), t.connect("b", t.will("b", "b is gone"))
		b.drop()
		watch.gets("b is gone", 0)
		a.quiet()
		a.drop()
		watch.gets("a is gone", 0)
	})

	_ = statement("MQTT-3.1.2-8", both, "the will is published however the connection ends, but with DISCONNECT 0", func(t *T) {
		watch := t.connect("watch")
		watch.subscribe("a", 0)
		for end, do := range map[string]func(c *client){
			"dropped":        (*client).drop,
			"protocol error": func(c *client) { c.packet(0x36, `"a" 0001 %s`, c.none()) },
			"keep alive":     func(*client) {},
			"DISCONNECT 4": func(c *client) {
				c.octets(`E00104`)
			},
		} {
			t.trying = end
			c := t.connect("a", t.will("a", end), func(c *mqtt.Connect) {
				if end == "keep alive" {
					c.KeepAlive = 1
				}
			})
			do(c)
			watch.gets(end, 0)
		}
		t.connect("a", t.will("a", "left")).leave()
		t.connect("b").publish("a", "marker", 0)
		watch.gets("marker", 0)
	})

	_ = statement("MQTT-3.1.2-8b", v5, "the will of a session that ends does not wait for its delay", func(t *T) {
		watch := t.connect("watch")
		watch.subscribe("+", 0)
		start := time.Now()
		t.connect("a", t.will("a", "ends with the connection", delayed(60))).drop()
		watch.gets("ends with the connection", 0)
		t.connect("b", t.will("b", "ends later", delayed(60)), func(c *mqtt.Connect) {
			c.Properties.SessionExpiry = mqtt.Some(uint32(1))
		}).drop()
		watch.gets("ends later", 0)
		if after := time.Since(start); after < time.Second {
			t.Fatalf("came after %v", after)
		}
	})

	_ = statement("MQTT-3.1.2-8c", both, "the will of a connection that is taken over is published, but not while it has a delay and the session goes on", func(t *T) {
		watch := t.connect("watch")
		watch.subscribe("+", 0)
		t.connect("a", lasting, t.will("a", "taken over"))
		t.connect("a", lasting)
		watch.gets("taken over", 0)
		if !t.v5() {
			return
		}
		t.connect("b", lasting, t.will("b", "delayed", delayed(1)))
		t.connect("b", lasting)
		t.connect("c", lasting, t.will("c", "ended by clean start", delayed(60)))
		t.connect("c")
		watch.gets("ended by clean start", 0)
	})

	_ = statement("MQTT-3.1.2-9", both, "with the will flag there are its topic and payload, and its QoS is used", func(t *T) {
		for _, bad := range []string{``, `"will"`} {
			t.trying = bad
			c := t.dial()
			c.connectWith(0x06, `"%s" `+bad, t.id("a"))
			c.refused(mqtt.CodeMalformed, mqtt.CodeProtocolError)
		}
		t.trying = ""
		watch := t.connect("watch")
		watch.subscribe("+", 2)
		for qos := range mqtt.QoS(3) {
			t.connect("a", t.will("a", "gone", func(w *mqtt.Will) { w.QoS = qos })).drop()
			watch.takes("gone", qos)
		}
	})

	_ = statement("MQTT-3.1.2-10", both, "the will is removed when it was published, and by DISCONNECT 0", func(t *T) {
		watch := t.connect("watch")
		watch.subscribe("a", 0)
		t.connect("a", lasting, t.will("a", "left")).leave()
		t.connect("a", lasting).drop()
		t.connect("a", lasting, t.will("a", "gone")).drop()
		watch.gets("gone", 0)
		t.connect("a", lasting).drop()
		t.connect("a", t.will("a", "gone again")).drop()
		watch.gets("gone again", 0)
	})

	_ = statement("MQTT-3.1.2-11 MQTT-3.1.2-13", both, "without the will flag, will QoS and will retain have to be 0", func(t *T) {
		for _, flags := range []byte{0x0A, 0x12, 0x1A, 0x22} {
			c := t.dial()
			c.connectWith(flags, `"%s"`, t.id("a"))
			c.refused(mqtt.CodeMalformed, mqtt.CodeProtocolError)
		}
	})

	_ = statement("MQTT-3.1.2-12", both, "will QoS 3 is refused", func(t *T) {
		c := t.dial()
		c.connectWith(0x1E, `"%s" %s "will" "gone"`, t.id("a"), t.none())
		c.refused(mqtt.CodeMalformed, mqtt.CodeProtocolError)
	})

	_ = statement("MQTT-3.1.2-14", both, "a will without will retain is not retained", func(t *T) {
		watch := t.connect("watch")
		watch.subscribe("a", 0)
		t.connect("a", t.will("a", "gone")).drop()
		if m := watch.gets("gone", 0); m.Retain {
			t.Fatal("retain is set")
		}
		late := t.connect("late")
		late.subscribe("a", 0)
		late.quiet()
	})

	_ = statement("MQTT-3.1.2-15", both, "a will with will retain is retained", func(t *T) {
		watch := t.connect("watch")
		watch.subscribe("a", 0)
		t.connect("a", t.will("a", "gone", func(w *mqtt.Will) { w.Retain = true })).drop()
		if m := watch.gets("gone", 0); m.Retain {
			t.Fatal("retain is set")
		}
		late := t.connect("late")
		late.subscribe("a", 0)
		if m := late.gets("gone", 0); !m.Retain {
			t.Fatal("retain is not set")
		}
	})

	_ = statement("MQTT-3.1.3-9", v5, "a client that is back before the will delay has passed has no will published", func(t *T) {
		watch := t.connect("watch")
		watch.subscribe("+", 0)
		start := time.Now()
		t.connect("a", lasting, t.will("a", "a is gone", delayed(3))).drop()
		t.connect("b", lasting, t.will("b", "b is gone", delayed(4))).drop()
		t.connect("a", lasting)
		watch.gets("b is gone", 0)
		if after := time.Since(start); after < 4*time.Second {
			t.Fatalf("a will with a delay of 4 s came after %v", after)
		}
	})

	_ = statement("MQTT-3.1.3-10", v5, "the user properties of a will keep their order", func(t *T) {
		watch := t.connect("watch")
		watch.subscribe("a", 0)
		sent := someProperties
		t.connect("a", t.will("a", "gone", func(w *mqtt.Will) { w.Properties.User = sent })).drop()
		if m := watch.gets("gone", 0); !slices.EqualFunc(m.Properties.User, sent, equalProperty) {
			t.Fatalf("got %q, want %q", m.Properties.User, sent)
		}
	})

	_ = statement("MQTT-3.1.3-11", both, "a will topic that is not UTF-8 is refused", func(t *T) {
		c := t.dial()
		c.connectWith(0x06, `"%s" %s 0002C328 "gone"`, t.id("a"), t.none())
		c.refused(mqtt.CodeMalformed, mqtt.CodeProtocolError, mqtt.CodeTopicName)
	})

	_ = statement("MQTT-4.7.3-1b", both, "a will topic has at least one character", func(t *T) {
		c := t.dial()
		c.connectWith(0x06, `"%s" %s "" "gone"`, t.id("a"), t.none())
		c.refused(mqtt.CodeMalformed, mqtt.CodeProtocolError, mqtt.CodeTopicName)
	})

	_ = statement("MQTT-4.7.1-1b", both, "a will topic has no wildcards", func(t *T) {
		for _, topic := range []string{"a/+", "#", "a#"} {
			c := t.dial()
			c.connectWith(0x06, `"%s" %s "%s" "gone"`, t.id("a"), t.none(), topic)
			c.refused(mqtt.CodeMalformed, mqtt.CodeProtocolError, mqtt.CodeTopicName)
		}
	})
)
