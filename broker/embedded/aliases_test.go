package embedded

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"mqttsn-gateway/broker"
	"mqttsn-gateway/broker/mqtt"
)

// aliased is a message with a topic alias.
func aliased(topic, payload string, alias uint16) *mqtt.Publish {
	m := &mqtt.Publish{Topic: []byte(topic), Payload: []byte(payload)}
	m.Properties.TopicAlias = alias
	return m
}

// takesAliases is a CONNECT that allows the broker n topic aliases.
func takesAliases(n uint16) func(*mqtt.Connect) {
	return func(c *mqtt.Connect) { c.Properties.TopicAliasMaximum = mqtt.Some(n) }
}

func TestTopicAliasFromClient(t *testing.T) {
	b := serve(t)
	d := connected(t, b, "d", true)
	d.subscribe("#", 1)
	p := login(t, b, mqtt.V5, "p", stay)
	if n := p.connack.Properties.TopicAliasMaximum; n != mqtt.Some(uint16(10)) {
		t.Errorf("topic alias maximum %+v", n)
	}
	came := func(topic, payload string) {
		t.Helper()
		ev := d.next()
		if ev.Message.Topic != topic || string(ev.Message.Payload) != payload {
			t.Errorf("got %q %q, want %q %q", ev.Message.Topic, ev.Message.Payload, topic, payload)
		}
	}
	for alias := range uint16(10) { // [MQTT-3.3.2-12]
		topic := fmt.Sprint("topic/", alias)
		p.send(aliased(topic, "a", alias+1), aliased("", "b", alias+1))
		came(topic, "a")
		came(topic, "b")
	}
	p.send(aliased("other", "a", 3), aliased("", "b", 3), aliased("", "c", 4))
	came("other", "a")
	came("other", "b")
	came("topic/3", "c")
	// Aliases work with every QoS, and for messages that are not passed on.
	m := aliased("x/1", "a", 1)
	m.QoS, m.PacketID = 2, 1
	again := aliased("x/2", "a", 1)
	again.QoS, again.PacketID, again.DUP = 2, 1, true
	p.send(m, again, aliased("", "b", 1), aliased("$SYS/x", "no", 2), aliased("", "no", 2))
	came("x/1", "a")
	came("x/2", "b")
	expect[*mqtt.Pubrec](p)
	expect[*mqtt.Pubrec](p)
	p.quiet()
	d.quiet()

	p.conn.Close() // [MQTT-3.3.2-7]
	until(t, "the client is gone", func() bool { return b.Stats().Connections == 0 })
	p = login(t, b, mqtt.V5, "p", stay)
	p.send(aliased("", "b", 1))
	if gone := expect[*mqtt.Disconnect](p); gone.Code != mqtt.CodeProtocolError || string(gone.Properties.ReasonString) != "topic alias was not set" {
		t.Errorf("DISCONNECT %v %q", gone.Code, gone.Properties.ReasonString)
	}
}

func TestTopicAliasNotOffered(t *testing.T) {
	b := serve(t, func(o *Options) { o.MaxTopicAlias, o.MaxTopicAliasBroker = 0, 0 })
	p := login(t, b, mqtt.V5, "p", takesAliases(10))
	if n := p.connack.Properties.TopicAliasMaximum; n.Set {
		t.Errorf("topic alias maximum %+v", n)
	}
	p.subscribe(0, "topic")
	p.publish("topic", "x", 0, false)
	if m := p.gets("x", 0); m.Properties.TopicAlias != 0 {
		t.Errorf("alias %d", m.Properties.TopicAlias)
	}
	p.send(aliased("a", "x", 1))
	if gone := expect[*mqtt.Disconnect](p); gone.Code != mqtt.CodeTopicAlias { // [MQTT-3.2.2-18]
		t.Errorf("DISCONNECT %v", gone.Code)
	}
}

// The topics of a client's aliases take no more memory than is allowed.
func TestTopicAliasMemory(t *testing.T) {
	b := serve(t, func(o *Options) { o.MaxTopicAlias, o.MaxQueuedBytes, o.MaxTopicLevels = 65535, 4096, 1 })
	p := login(t, b, mqtt.V5, "p")
	long := strings.Repeat("x", 1000)
	for range 20 { // the same topics again and again count once
		for alias := range uint16(4) {
			p.send(aliased(long, "", 65535-alias))
		}
	}
	p.quiet()
	p.send(aliased("short", "", 65535), aliased("x", "", 1), aliased(long[:995], "", 2))
	p.quiet()
	p.send(aliased(long[:100], "", 3))
	if gone := expect[*mqtt.Disconnect](p); gone.Code != mqtt.CodeQuota {
		t.Errorf("DISCONNECT %v", gone.Code)
	}
}

func TestTopicAliasToClient(t *testing.T) {
	b := serve(t, func(o *Options) { o.MaxTopicAliasBroker = 3 })
	from := connected(t, b, "from", true)
	for _, c := range []struct {
		asked uint16
		want  [5]uint16 // alias of each topic
	}{
		{0, [5]uint16{}},
		{2, [5]uint16{1, 2}},         // [MQTT-3.1.2-26] [MQTT-3.3.2-11]
		{100, [5]uint16{1, 2, 0, 3}}, // the broker's own maximum
	} {
		p := login(t, b, mqtt.V5, fmt.Sprint("c", c.asked), takesAliases(c.asked), stay)
		p.subscribe(2, "#")
		for round := range 3 {
			for i, topic := range []string{"first", "second", "a/b", "third", "fourth"} {
				from.publish(topic, "x", byte(round), false)
				b.Flush()
				m := p.gets("x", mqtt.QoS(round))
				if m.QoS == 1 {
					p.send(&mqtt.Puback{PacketID: m.PacketID})
				}
				want := topic
				if round > 0 && c.want[i] > 0 {
					want = ""
				}
				if m.Properties.TopicAlias != c.want[i] || string(m.Topic) != want {
					t.Errorf("asked for %d, round %d, %s: alias %d, topic %q", c.asked, round, topic, m.Properties.TopicAlias, m.Topic)
				}
			}
		}
		// What is sent again comes on another connection, which knows no alias.
		p.quiet()
		p.conn.Close()
		p = login(t, b, mqtt.V5, fmt.Sprint("c", c.asked), takesAliases(1), stay)
		for _, topic := range []string{"first", "second", "a/b", "third", "fourth"} {
			m := p.gets("x", 2)
			if string(m.Topic) != topic || !m.DUP || m.Properties.TopicAlias > 0 != (topic == "first") {
				t.Errorf("again: topic %q, DUP %v, alias %d", m.Topic, m.DUP, m.Properties.TopicAlias)
			}
		}
		p.send(&mqtt.Disconnect{})
		p.closed()
	}
}

// The octets of a first message with an alias and of the next one.
func TestTopicAliasOctets(t *testing.T) {
	b := serve(t)
	p := login(t, b, mqtt.V5, "c", takesAliases(1))
	p.subscribe(0, "topic")
	from := connected(t, b, "from", true)
	from.publish("topic", "1", 0, false)
	from.publish("topic", "2", 0, false)
	b.Flush()
	want := "\x30\x0C\x00\x05topic\x03\x23\x00\x01" + "1" + "\x30\x07\x00\x00\x03\x23\x00\x01" + "2"
	got := make([]byte, len(want))
	if _, err := io.ReadFull(p.conn, got); err != nil || string(got) != want {
		t.Errorf("got %x %v, want %x", got, err, want)
	}
}

// An alias counts only when its first message was really sent: what is too large for the
// client, or finds no room, sets none. Three octets for an alias drop no message.
func TestTopicAliasOfUnsentMessage(t *testing.T) {
	small := func(c *mqtt.Connect) { c.Properties.MaximumPacketSize = 40 }
	b := serve(t)
	p := login(t, b, mqtt.V5, "c", takesAliases(5), small)
	p.subscribe(1, "#")
	from := connected(t, b, "from", true)
	from.publish("topic", strings.Repeat("x", 30), 1, false) // 12 more without an alias: too large
	from.publish("topic", strings.Repeat("x", 27), 1, false) // 39, but 42 with an alias
	from.publish("topic", "1", 1, false)
	from.publish("topic", "2", 1, false)
	b.Flush()
	for i, want := range []struct {
		topic string
		alias uint16
	}{{"topic", 0}, {"topic", 1}, {"", 1}} {
		if m := expect[*mqtt.Publish](p); string(m.Topic) != want.topic || m.Properties.TopicAlias != want.alias {
			t.Errorf("%d: topic %q alias %d", i, m.Topic, m.Properties.TopicAlias)
		}
	}
	if n := b.Stats().Dropped["packet_too_large"]; n != 1 {
		t.Errorf("%d dropped", n)
	}
	inBubble(t, func(t *testing.T, b *Broker) {
		p := piped(t, b, mqtt.V5, "c", takesAliases(5))
		p.subscribe(0, "#")
		from := connected(t, b, "from", true)
		from.publish("filler", strings.Repeat("x", 2000), 0, false)
		b.Flush() // nobody reads: the pipe takes nothing
		synctest.Wait()
		from.publish("topic", "dropped", 0, false)
		b.Flush()
		synctest.Wait()
		if n := b.Stats().Dropped["slow_client"]; n != 1 {
			t.Fatalf("%d dropped", n)
		}
		expect[*mqtt.Publish](p)
		p.quiet()
		from.publish("topic", "1", 0, false)
		b.Flush()
		if m := p.gets("1", 0); string(m.Topic) != "topic" || m.Properties.TopicAlias != 2 {
			t.Errorf("topic %q alias %d", m.Topic, m.Properties.TopicAlias)
		}
	}, func(o *Options) { o.MaxQueuedBytes = 1024 })
}

// Clients that did not ask for aliases have none, and nor has one that has got nothing.
func TestTopicAliasCostsNothingUnused(t *testing.T) {
	b := newBroker(t)
	c := &client{broker: b, version: mqtt.V5, maxAlias: 10}
	var m mqtt.Publish
	if n := testing.AllocsPerRun(100, func() {
		m = mqtt.Publish{}
		c.alias(&m, "some/topic")
	}); n > 0 || c.aliasesOut.byTopic != nil || c.aliasesIn.topics != nil {
		t.Errorf("%v allocations, %+v", n, c.aliasesOut)
	}
	c.aliasesOut.set("some/topic")
	if n := testing.AllocsPerRun(100, func() {
		m = mqtt.Publish{}
		c.alias(&m, "some/topic")
	}); n > 0 || m.Properties.TopicAlias != 1 {
		t.Errorf("%v allocations, alias %d", n, m.Properties.TopicAlias)
	}
}

// Whatever is sent, resent, dropped or stalled meanwhile, each message comes with its topic.
func TestTopicAliasesUnderLoad(t *testing.T) {
	b := serve(t, func(o *Options) { o.MaxQueuedBytes, o.MaxInflightMessages = 2048, 5 })
	p := login(t, b, mqtt.V5, "c", takesAliases(4), takes(300), stay)
	p.subscribe(2, "topic/+")
	const publishers, each = 3, 500
	var done sync.WaitGroup
	for i := range publishers {
		from := connected(t, b, fmt.Sprint("from", i), true)
		done.Go(func() {
			for n := range each {
				topic := fmt.Sprint("topic/", (n*7+i)%10)
				padding := strings.Repeat("x", n%3*140) // some are too large
				from.do(broker.Request{Op: broker.Publish, Topic: topic, Payload: []byte(topic + padding), QoS: byte(n % 3)})
				b.Flush()
			}
		})
	}
	gone := make(chan struct{})
	go func() {
		done.Wait()
		close(gone)
	}()
	topics := make(map[uint16]string)
	aliases, last := 0, false
	p.send(&mqtt.Pingreq{}) // one is always under way, so that there is something to read
	for n := 0; ; n++ {
		packet, err := p.read(patience)
		if err != nil {
			t.Fatal(err)
		}
		switch m := packet.(type) {
		case *mqtt.Publish:
			topic := string(m.Topic)
			if alias := m.Properties.TopicAlias; topic == "" {
				topic = topics[alias]
				aliases++
			} else if alias > 0 {
				topics[alias] = topic
			}
			if got, _, _ := strings.Cut(string(m.Payload), "x"); got != topic {
				t.Fatalf("%q came for topic %q", got, topic)
			}
			switch m.QoS {
			case 1:
				p.send(&mqtt.Puback{PacketID: m.PacketID})
			case 2:
				p.send(&mqtt.Pubrec{PacketID: m.PacketID})
			}
		case *mqtt.Pubrel:
			p.send(&mqtt.Pubcomp{PacketID: m.PacketID})
		case *mqtt.Pingresp:
			if last {
				if aliases == 0 {
					t.Error("no alias was used")
				}
				return
			}
			select {
			case <-gone:
				last = true
			default:
			}
			p.send(&mqtt.Pingreq{})
		}
		if n%100 == 99 {
			p.conn.Close()
			p = login(t, b, mqtt.V5, "c", takesAliases(4), takes(300), stay)
			p.send(&mqtt.Pingreq{})
			clear(topics)
		}
	}
}
