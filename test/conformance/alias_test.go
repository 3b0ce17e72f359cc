package conformance

import (
	"fmt"

	"mqttsn-gateway/broker/embedded"
	"mqttsn-gateway/broker/mqtt"
)

// Topic aliases, of chapters 3.1 to 3.3.

// aliasing connects, and returns the highest topic alias that the broker takes.
func (t *T) aliasing(name string) (c *client, highest uint16) {
	t.Helper()
	c = t.connect(name)
	highest = c.connack.Properties.TopicAliasMaximum.Or(0)
	if highest == 0 {
		t.Fatal("the broker takes no topic aliases")
	}
	return c, highest
}

var (
	_ = statement("MQTT-3.1.2-26 MQTT-3.3.2-11", v5, "the aliases that a client gets are not above its maximum, and mean the right topic", func(t *T) {
		c := t.connect("a", func(c *mqtt.Connect) { c.Properties.TopicAliasMaximum = mqtt.Some(uint16(3)) })
		from := t.connect("from")
		c.subscribe("#", 0)
		topics := make(map[uint16]string)
		for range 3 {
			for n := range 6 {
				topic := t.topic(fmt.Sprint("some/longer/topic/", n))
				from.send(&mqtt.Publish{Topic: []byte(topic), Payload: []byte(topic)})
				m := expect[*mqtt.Publish](c)
				alias, got := m.Properties.TopicAlias, string(m.Topic)
				switch {
				case alias > 3:
					t.Fatalf("alias %d", alias)
				case alias > 0 && got != "":
					topics[alias] = got
				case alias > 0:
					got = topics[alias]
				}
				if got != string(m.Payload) {
					t.Fatalf("topic %q by alias %d, want %q", got, alias, m.Payload)
				}
			}
		}
	})

	_ = statement("MQTT-3.2.2-17 MQTT-3.3.2-9", v5, "a topic alias above the broker's maximum ends the connection", func(t *T) {
		c, highest := t.aliasing("a")
		if highest == 0xFFFF {
			return // there is none above
		}
		c.send(&mqtt.Publish{Topic: []byte(t.topic("a")), Properties: mqtt.PublishProperties{TopicAlias: highest + 1}})
		c.failed(mqtt.CodeTopicAlias)
	})

	_ = statement("MQTT-3.2.2-18", v5, "where the broker takes no topic aliases, one ends the connection", func(t *T) {
		t.own(settings{
			embedded:  func(o *embedded.Options) { o.MaxTopicAlias = 0 },
			mosquitto: "max_topic_alias 0",
		})
		c := t.connect("a")
		if highest := c.connack.Properties.TopicAliasMaximum.Or(0); highest != 0 {
			t.Fatalf("topic alias maximum %d", highest)
		}
		c.send(&mqtt.Publish{Topic: []byte("a"), Properties: mqtt.PublishProperties{TopicAlias: 1}})
		c.failed(mqtt.CodeTopicAlias, mqtt.CodeProtocolError)
	})

	_ = statement("MQTT-3.3.2-7", v5, "topic aliases end with the connection, whether or not the session does", func(t *T) {
		c, _ := t.aliasing("a")
		alias := mqtt.PublishProperties{TopicAlias: 1}
		c.send(&mqtt.Publish{Topic: []byte(t.topic("a")), Properties: alias})
		c = t.connect("a", lasting)
		c.send(&mqtt.Publish{Topic: []byte(t.topic("a")), Properties: alias})
		c.leave()
		c = t.connect("a", lasting)
		c.send(&mqtt.Publish{Properties: alias})
		c.failed(mqtt.CodeProtocolError, mqtt.CodeTopicAlias)

		c = t.connect("b", lasting, func(c *mqtt.Connect) { c.Properties.TopicAliasMaximum = mqtt.Some(uint16(3)) })
		from := t.connect("from")
		c.subscribe("some/longer/topic", 0)
		for range 3 {
			from.publish("some/longer/topic", "x", 0)
			c.gets("x", 0)
		}
		c.leave()
		c = t.connect("b", lasting, func(c *mqtt.Connect) { c.Properties.TopicAliasMaximum = mqtt.Some(uint16(3)) })
		from.publish("some/longer/topic", "x", 0)
		if m := c.gets("x", 0); string(m.Topic) != t.topic("some/longer/topic") {
			t.Fatalf("topic %q with alias %d of the earlier connection", m.Topic, m.Properties.TopicAlias)
		}
	})

	_ = statement("MQTT-3.3.2-12", v5, "all topic aliases up to the broker's maximum may be used, and used again", func(t *T) {
		watch := t.connect("watch")
		watch.subscribe("#", 1)
		c, highest := t.aliasing("a")
		aliases := []uint16{1, (1 + highest) / 2, highest}
		for round := range 2 {
			for _, alias := range aliases {
				name, payload := fmt.Sprintf("%d/%d", round, alias), fmt.Sprint(alias)
				properties := mqtt.PublishProperties{TopicAlias: alias}
				c.send(&mqtt.Publish{Topic: []byte(t.topic(name)), Payload: []byte(payload), Properties: properties},
					&mqtt.Publish{Payload: []byte(payload), Properties: properties, QoS: 1, PacketID: 1})
				expect[*mqtt.Puback](c)
				for qos := range mqtt.QoS(2) {
					if m := watch.takes(payload, qos); string(m.Topic) != t.topic(name) {
						t.Fatalf("topic %q, want %q", m.Topic, t.topic(name))
					}
				}
			}
		}
	})

	_ = statement("MQTT-3.3.2-12b", v5, "a topic alias that was given no topic is a protocol error", func(t *T) {
		c, highest := t.aliasing("a")
		c.packet(0x30, `0000 03 23 %04X 'x'`, highest)
		c.failed(mqtt.CodeProtocolError, mqtt.CodeTopicAlias)
	})
)
