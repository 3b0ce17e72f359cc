package embedded

import (
	"fmt"
	"strings"
	"testing"

	"mqttsn-gateway/broker/mqtt"
)

// Receivers of the same message get the same packet, but for what is their own: version,
// retain flag, subscription identifier, and nothing if it is too large for them.
func TestManyReceiversOfOneMessage(t *testing.T) {
	b := serve(t)
	old, other := login(t, b, mqtt.V311, "old"), login(t, b, mqtt.V31, "other")
	old.subscribe(0, "t")
	other.subscribe(1, "t")
	plain, published := login(t, b, mqtt.V5, "plain"), login(t, b, mqtt.V5, "published")
	numbered := login(t, b, mqtt.V5, "numbered")
	plain.subscribe(0, "t")
	ask := &mqtt.Subscribe{PacketID: 1, Subscriptions: []mqtt.Subscription{{Filter: []byte("t"), RetainAsPublished: true}}}
	published.send(ask)
	expect[*mqtt.Suback](published)
	ask.Subscriptions[0].RetainAsPublished, ask.Properties.SubscriptionID = false, 7
	numbered.send(ask)
	expect[*mqtt.Suback](numbered)
	small := login(t, b, mqtt.V5, "small", func(c *mqtt.Connect) { c.Properties.MaximumPacketSize = 60 })
	small.subscribe(0, "t")
	from := login(t, b, mqtt.V5, "from")
	for i, payload := range []string{"first", strings.Repeat("x", 100), "", "last"} {
		retain := i%2 == 0 && payload != ""
		m := &mqtt.Publish{Topic: []byte("t"), Payload: []byte(payload), Retain: retain}
		m.Properties.ContentType = []byte("text")
		from.send(m)
		for _, p := range []*peer{old, other, plain, published, numbered, small} {
			if p == small && len(payload) == 100 {
				continue
			}
			m := p.gets(payload, 0)
			if string(m.Topic) != "t" || m.Retain != (retain && p == published) {
				t.Errorf("%q: topic %s, retain %v", payload, m.Topic, m.Retain)
			}
			if p.version == mqtt.V5 && string(m.Properties.ContentType) != "text" {
				t.Errorf("%q: properties %+v", payload, m.Properties)
			}
			if ids := m.Properties.SubscriptionIDs; (p == numbered) != (len(ids) == 1 && ids[0] == 7) {
				t.Errorf("%q: subscriptions %v", payload, ids)
			}
		}
	}
	if n := b.Stats().Dropped["packet_too_large"]; n != 1 {
		t.Errorf("%d were too large, want 1", n)
	}
}

// What is kept of a message is a copy: the memory that it came in is used for the next one.
func TestKeptMessagesAreCopies(t *testing.T) {
	b := serve(t)
	p := login(t, b, mqtt.V5, "p", stay)
	p.subscribe(1, "t/#")
	p.conn.Close()
	until(t, "the client is away", func() bool { return b.Stats().Connected == 0 })
	from := login(t, b, mqtt.V5, "from")
	const n = 5
	for i := range n {
		text := func(of string) []byte { return []byte(fmt.Sprint(of, i)) }
		m := &mqtt.Publish{Topic: text("t/"), Payload: text("payload"), QoS: 1, PacketID: 1}
		m.Properties = mqtt.PublishProperties{
			ContentType: text("type"), ResponseTopic: text("response"), CorrelationData: text("data"),
			User: []mqtt.UserProperty{{Name: text("name"), Value: text("value")}},
		}
		from.send(m)
		expect[*mqtt.Puback](from)
	}
	p = login(t, b, mqtt.V5, "p", stay)
	for i := range n {
		m := expect[*mqtt.Publish](p)
		q := &m.Properties
		got := fmt.Sprintf("%s %s %s %s %s %s", m.Topic, m.Payload, q.ContentType, q.ResponseTopic, q.CorrelationData, q.User)
		if want := fmt.Sprintf("t/%d payload%[1]d type%[1]d response%[1]d data%[1]d [{name%[1]d value%[1]d}]", i); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}
