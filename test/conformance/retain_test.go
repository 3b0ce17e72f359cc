package conformance

import (
	"mqttsn-gateway/broker/mqtt"
)

// Chapter 3.3, PUBLISH: retained messages.

// options is a change to SUBSCRIBE: retain handling and retain as published.
func options(handling mqtt.RetainHandling, asPublished bool) func(s *mqtt.Subscribe) {
	return func(s *mqtt.Subscribe) {
		s.Subscriptions[0].RetainHandling, s.Subscriptions[0].RetainAsPublished = handling, asPublished
	}
}

var (
	_ = statement("MQTT-3.3.1-5", both, "a retained message is kept, and replaces the one before", func(t *T) {
		from := t.connect("from")
		for qos := range mqtt.QoS(3) {
			payload := string('0' + rune(qos))
			from.publish("a", payload, qos, retain)
			from.quiet() // QoS 0 is not acknowledged
			late := t.connect("late")
			late.subscribe("a", 2)
			if m := late.gets(payload, qos); !m.Retain {
				t.Fatalf("QoS %d: retain is not set", qos)
			}
		}
	})

	_ = statement("MQTT-3.3.1-6", both, "an empty retained message removes the one before, and is passed on as any other", func(t *T) {
		from, live := t.connect("from"), t.connect("live")
		from.publish("a", "x", 1, retain)
		live.subscribe("a", 0)
		live.gets("x", 0)
		from.publish("a", "", 1, retain)
		if m := live.gets("", 0); m.Retain {
			t.Fatal("retain is set")
		}
		late := t.connect("late")
		late.subscribe("a", 0)
		late.quiet()
	})

	_ = statement("MQTT-3.3.1-7", both, "an empty retained message is not kept", func(t *T) {
		t.connect("from").publish("a", "", 1, retain)
		late := t.connect("late")
		late.subscribe("a", 0)
		late.quiet()
	})

	_ = statement("MQTT-3.3.1-8", both, "without retain nothing is kept, replaced or removed", func(t *T) {
		from := t.connect("from")
		from.publish("b", "x", 1)
		from.publish("a", "kept", 1, retain)
		from.publish("a", "other", 1)
		from.publish("a", "", 1)
		late := t.connect("late")
		late.subscribe("b", 0)
		late.quiet()
		late.subscribe("a", 0)
		late.gets("kept", 0)
	})

	_ = statement("MQTT-3.3.1-9", v5, "with retain handling 0 each SUBSCRIBE gets the retained messages", func(t *T) {
		t.connect("from").publish("a", "x", 1, retain)
		c := t.connect("a")
		for range 2 {
			c.subscribe("a", 0, options(mqtt.RetainOnSubscribe, false))
			c.gets("x", 0)
		}
	})

	_ = statement("MQTT-3.3.1-10", v5, "with retain handling 1 only a new subscription gets the retained messages", func(t *T) {
		t.connect("from").publish("a", "x", 1, retain)
		c := t.connect("a")
		c.subscribe("a", 0, options(mqtt.RetainOnNewSubscribe, false))
		c.gets("x", 0)
		c.subscribe("a", 0, options(mqtt.RetainOnNewSubscribe, false))
		c.quiet()
	})

	_ = statement("MQTT-3.3.1-11", v5, "with retain handling 2 no retained messages are sent", func(t *T) {
		t.connect("from").publish("a", "x", 1, retain)
		c := t.connect("a")
		c.subscribe("a", 0, options(mqtt.RetainNever, false))
		c.quiet()
	})

	_ = statement("MQTT-3.3.1-12", both, "without retain as published a message is passed on without retain", func(t *T) {
		c, from := t.connect("a"), t.connect("from")
		c.subscribe("a", 0)
		from.publish("a", "x", 1, retain)
		if m := c.gets("x", 0); m.Retain {
			t.Fatal("retain is set")
		}
	})

	_ = statement("MQTT-3.8.3-3c", v5, "with no local a client does not get its own retained messages either", func(t *T) {
		c := t.connect("a")
		c.publish("a", "own", 1, retain)
		t.connect("from").publish("b", "other's", 1, retain)
		c.subscribe("+", 0, func(s *mqtt.Subscribe) { s.Subscriptions[0].NoLocal = true })
		c.gets("other's", 0)
		c.quiet()
	})

	_ = statement("MQTT-3.3.1-13", v5, "with retain as published a message is passed on with its publisher's retain", func(t *T) {
		c, from := t.connect("a"), t.connect("from")
		c.subscribe("a", 0, options(mqtt.RetainOnSubscribe, true))
		from.publish("a", "x", 1, retain)
		if m := c.gets("x", 0); !m.Retain {
			t.Fatal("retain is not set")
		}
		from.publish("a", "y", 1)
		if m := c.gets("y", 0); m.Retain {
			t.Fatal("retain is set")
		}
	})
)
