package conformance

import (
	"fmt"
	"strings"

	"mqttsn-gateway/broker/embedded"
	"mqttsn-gateway/broker/mqtt"
)

// Topic names and topic filters: section 4.7.

// meets publishes to each topic and expects that the filter matches exactly the topics
// that begin with "yes ".
func meets(t *T, filter string, topics ...string) {
	t.Helper()
	pub, c := t.connect("pub"), t.connect("a")
	c.subscribe(filter, 0)
	defer func() { t.trying = "" }()
	for _, topic := range topics {
		t.trying = fmt.Sprintf("%.40q for %.40q", filter, topic)
		topic, want := strings.CutPrefix(topic, "yes ")
		pub.publish(topic, topic, 1)
		if want {
			c.takes(topic, 0)
		}
		c.quiet()
	}
	c.leave()
	pub.leave()
}

// noFilter expects that nobody can subscribe to or unsubscribe from the filter, in the
// notation of octets.
func noFilter(t *T, filter string) {
	t.Helper()
	t.trying = filter
	defer func() { t.trying = "" }()
	c := t.connect("a")
	c.packet(0x82, `0001 %s %s 00`, t.noProps(), filter)
	c.rejected()
	c = t.connect("a")
	c.packet(0xA2, `0001 %s %s`, t.noProps(), filter)
	if !t.v5() { // whose UNSUBACK says nothing
		if _, ok := c.next().(*mqtt.Unsuback); ok {
			return
		}
		c.closed()
		return
	}
	c.rejected()
}

// noTopic expects that nobody can publish to the topic, in the notation of octets, or
// have a will there.
func noTopic(t *T, topic string) {
	t.Helper()
	t.trying = topic
	defer func() { t.trying = "" }()
	c := t.connect("a")
	c.packet(0x30, `%s %s 'x'`, topic, t.noProps())
	c.failed(mqtt.CodeTopicName, mqtt.CodeMalformed, mqtt.CodeProtocolError)
	c = t.dial()
	level, props := 4, t.noProps()
	if t.v5() {
		level = 5
	}
	c.packet(0x10, `"MQTT" %02X 06 003C %s "%s" %s %s "x"`, level, props, t.id("a"), props, topic)
	c.refused()
}

var (
	_ = statement("MQTT-4.7.0-1", both, "a topic with a wildcard is not published to", func(t *T) {
		for _, topic := range []string{`"a/+"`, `"a/#"`, `"#"`, `"+/a"`, `"a+b"`, `"a#"`} {
			noTopic(t, topic)
		}
	})

	_ = statement("MQTT-4.7.1-1", both, "# stands alone or after a separator, and last", func(t *T) {
		for _, filter := range []string{`"a#"`, `"a/b#"`, `"a/#/b"`, `"#/"`, `"##"`, `"a/##"`, `"#a"`, `"+#"`} {
			noFilter(t, filter)
		}
		meets(t, "p/#", "yes p", "yes p/q", "yes p/q/r", "yes p/", "q", "pp/q", "P/q")
	})

	_ = statement("MQTT-4.7.1-2", both, "+ takes exactly one level, wherever it is", func(t *T) {
		for _, filter := range []string{`"a+"`, `"+a"`, `"a/b+/c"`, `"++"`, `"a/+b"`} {
			noFilter(t, filter)
		}
		meets(t, "p/+", "yes p/q", "yes p/", "p", "p/q/r", "q/p")
		meets(t, "p/+/r", "yes p/q/r", "yes p//r", "p/r", "p/q/q/r", "p/q/s")
		meets(t, "+/+/#", "yes p/q", "yes p/q/r/s", "yes /", "p")
	})

	_ = statement("MQTT-4.7.2-1", both, "a filter that begins with a wildcard matches no topic that begins with $", func(t *T) {
		t.own(settings{mosquitto: "sys_interval 1"})
		c := t.connect("a")
		for _, filter := range []string{"#", "+/#", "+/broker/version", "+/broker/#"} {
			c.subscribes(mqtt.Subscription{Filter: []byte(filter)})
			c.quiet()
		}
		known := t.connect("b")
		known.subscribes(mqtt.Subscription{Filter: []byte("$SYS/broker/version")})
		if p := expect[*mqtt.Publish](known); string(p.Topic) != "$SYS/broker/version" {
			t.Fatalf("topic %s", p.Topic)
		}
		c.quiet()
	})

	_ = statement("MQTT-4.7.2-1b", both, "nor one that a client publishes to", func(t *T) {
		t.own(settings{})
		c, pub := t.connect("a"), t.connect("pub")
		c.subscribes(mqtt.Subscription{Filter: []byte("#")}, mqtt.Subscription{Filter: []byte("+/x")})
		pub.send(&mqtt.Publish{Topic: []byte("$own/x"), Payload: []byte("1")}, &mqtt.Publish{Topic: []byte("$"), Payload: []byte("1")})
		pub.send(&mqtt.Publish{Topic: []byte("own/$x"), Payload: []byte("2")})
		c.takes("2", 0)
		c.quiet()
	})

	_ = statement("MQTT-4.7.3-1", both, "topics and filters have at least one character", func(t *T) {
		noTopic(t, `""`)
		noFilter(t, `""`)
		meets(t, "/", "yes /", "//")
	})

	_ = statement("MQTT-4.7.3-2", both, "topics and filters have no U+0000", func(t *T) {
		for _, text := range []string{`0003 610062`, `0001 00`, `0003 612F00`} {
			noTopic(t, text)
			noFilter(t, text)
		}
	})

	_ = statement("MQTT-4.7.3-3", both, "a topic may have 65535 octets", func(t *T) {
		t.own(settings{embedded: func(o *embedded.Options) { o.MaxPacketSize = 1 << 20 }})
		long := strings.Repeat("x", 0xFFFF-len(t.topic("")))
		meets(t, long, "yes "+long, long[1:])
		meets(t, "#", "yes "+long)
	})

	_ = statement("MQTT-4.7.3-4", both, "topics are compared as they are: no normalization", func(t *T) {
		meets(t, "Accounts", "yes Accounts", "ACCOUNTS", "accounts", "Accounts ", " Accounts", "Accounts/", "/Accounts")
		meets(t, "a//b", "yes a//b", "a/b", "a///b")
		meets(t, "a/../b", "yes a/../b", "b", "a/b")
		meets(t, "caf\u00e9", "yes caf\u00e9", "cafe\u0301", "cafe")
		meets(t, "cafe\u0301", "yes cafe\u0301", "caf\u00e9")
		meets(t, "\ufeffx", "yes \ufeffx", "x")
		meets(t, "%41", "yes %41", "A")
	})
)
