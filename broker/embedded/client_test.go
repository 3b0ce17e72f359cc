package embedded

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"mqttsn-gateway/broker"
	"mqttsn-gateway/broker/mqtt"
)

var versions = []mqtt.Version{mqtt.V31, mqtt.V311, mqtt.V5}

// eachVersion runs a test for all versions of the protocol.
func eachVersion(t *testing.T, f func(t *testing.T, v mqtt.Version)) {
	for _, v := range versions {
		t.Run(v.String(), func(t *testing.T) { f(t, v) })
	}
}

func TestConnectRefused(t *testing.T) {
	b := serve(t, func(o *Options) { o.MaxSessions = 1; o.MaxTopicLevels = 3 })
	login(t, b, mqtt.V5, "the only one")
	connect := func(v mqtt.Version, change func(*mqtt.Connect)) string {
		c := &mqtt.Connect{CleanStart: true, ClientID: []byte("the only one")}
		change(c)
		return string(c.Append(nil, v))
	}
	will := func(topic string) func(*mqtt.Connect) {
		return func(c *mqtt.Connect) { c.HasWill, c.Will.Topic = true, []byte(topic) }
	}
	noID := func(c *mqtt.Connect) { c.ClientID, c.CleanStart = nil, false }
	for _, c := range []struct {
		name, sent, want string // want is what comes before the end
	}{
		{"no MQTT at all", "GET / HTTP/1.1\r\n" + strings.Repeat("x", 80), ""},
		{"another packet first", "\xC0\x00", ""}, // [MQTT-3.1.0-1]
		{"protocol name", "\x10\x0D\x00\x04MQXX\x04\x02\x00\x00\x00\x01a", ""},
		{"version 6", "\x10\x0D\x00\x04MQTT\x06\x02\x00\x00\x00\x01a", "\x20\x02\x00\x01"}, // [MQTT-3.1.2-2]
		{"version 2", "\x10\x0F\x00\x06MQIsdp\x02\x02\x00\x00\x00\x01a", "\x20\x02\x00\x01"},
		{"reserved flag", "\x10\x0D\x00\x04MQTT\x04\x03\x00\x00\x00\x01a", ""}, // [MQTT-3.1.2-3]
		{"reserved flag, 5", "\x10\x0E\x00\x04MQTT\x05\x03\x00\x00\x00\x00\x01a", "\x20\x03\x00\x81\x00"},
		{"no id, session kept", connect(mqtt.V311, noID), "\x20\x02\x00\x02"},                                 // [MQTT-3.1.3-8]
		{"quota", connect(mqtt.V311, func(c *mqtt.Connect) { c.ClientID = []byte("x") }), "\x20\x02\x00\x03"}, //
		{"quota, 5", connect(mqtt.V5, func(c *mqtt.Connect) { c.ClientID = []byte("x") }), refused5(0x97, "max_sessions or max_session_bytes_total is reached")},
		{"will below $SYS", connect(mqtt.V311, will("$SYS/x")), "\x20\x02\x00\x05"},
		{"will below $SYS, 5", connect(mqtt.V5, will("$SYS/x")), refused5(0x87, "topics below $SYS are the broker's own")},
		{"will with many levels", connect(mqtt.V5, will("1/2/3/4")), refused5(0x90, "more levels than max_topic_levels")},
		{"authentication method", connect(mqtt.V5, func(c *mqtt.Connect) {
			c.Properties.AuthenticationMethod = []byte("SCRAM")
		}), refused5(0x8C, "enhanced authentication is not offered")}, // [MQTT-4.12.0-1]
	} {
		p := dial(t, b, mqtt.V5)
		if _, err := p.conn.Write([]byte(c.sent)); err != nil {
			t.Fatal(err)
		}
		var got bytes.Buffer
		_, _ = got.ReadFrom(p.conn)
		if got.String() != c.want {
			t.Errorf("%s: got %x, want %x", c.name, got.Bytes(), c.want)
		}
	}
	if n := b.Stats().Sessions; n != 1 {
		t.Errorf("%d sessions", n)
	}
}

// refused5 is the CONNACK that refuses an MQTT 5 client, octet by octet.
func refused5(code byte, why string) string {
	n := byte(len(why))
	return string([]byte{0x20, n + 6, 0, code, n + 3, 0x1F, 0, n}) + why
}

func TestConnack5(t *testing.T) {
	b := serve(t)
	p := login(t, b, mqtt.V5, "")
	props := p.connack.Properties
	if !strings.HasPrefix(string(props.AssignedClientID), "auto-") { // [MQTT-3.1.3-6]
		t.Errorf("assigned client id %q", props.AssignedClientID)
	}
	if props.MaximumPacketSize != 1<<20 || !props.SharedAvailable.Or(true) || props.SessionExpiry.Set {
		t.Errorf("properties %+v", props)
	}
	if login(t, b, mqtt.V311, ""); b.Stats().Sessions != 2 {
		t.Error("clients without a client id got the same one")
	}
}

func TestSessionPresent(t *testing.T) {
	eachVersion(t, func(t *testing.T, v mqtt.Version) {
		b := serve(t)
		leave := func(p *peer) {
			p.send(&mqtt.Disconnect{})
			p.closed()
			until(t, "the client is gone", func() bool { return b.Stats().Connections == 0 })
		}
		present := func(want bool, change ...func(*mqtt.Connect)) *peer {
			t.Helper()
			p := login(t, b, v, "c", change...)
			if p.connack.SessionPresent != (want && v != mqtt.V31) {
				t.Errorf("session present %v, want %v", p.connack.SessionPresent, want)
			}
			return p
		}
		leave(present(false, stay)) // [MQTT-3.2.2-2]
		leave(present(true, stay))  // [MQTT-3.1.2-5]
		p := present(false)         // [MQTT-3.1.2-4]
		leave(p)
		leave(present(false, stay))
		p = present(true, stay)
		p.subscribe(1, "x")
		q := present(true, stay) // taken over
		p.conn.Close()
		q.publish("x", "1", 0, false)
		q.gets("1", 0)
		q = present(false)
		r := present(false, stay) // a clean session does not survive being taken over
		q.conn.Close()
		r.quiet()
	})
}

func TestQoSBothWays(t *testing.T) {
	eachVersion(t, func(t *testing.T, v mqtt.Version) {
		b := serve(t)
		pub := login(t, b, v, "pub")
		for granted := range mqtt.QoS(3) {
			sub := login(t, b, v, "sub")
			sub.subscribe(granted, "t")
			for qos := range mqtt.QoS(3) {
				pub.publish("t", "x", qos, false)
				m := sub.gets("x", min(granted, qos))
				if m.DUP || m.Retain {
					t.Errorf("DUP %v, retain %v", m.DUP, m.Retain)
				}
				switch m.QoS {
				case mqtt.QoS1:
					sub.send(&mqtt.Puback{PacketID: m.PacketID})
				case mqtt.QoS2:
					sub.send(&mqtt.Pubrec{PacketID: m.PacketID})
					if rel := expect[*mqtt.Pubrel](sub); rel.PacketID != m.PacketID || rel.Code != 0 {
						t.Errorf("PUBREL %+v", rel)
					}
					sub.send(&mqtt.Pubcomp{PacketID: m.PacketID})
				}
				sub.quiet()
			}
			if n := b.Stats().QueuedMessages; n != 0 {
				t.Errorf("%d messages are still queued", n)
			}
			sub.conn.Close()
		}
		if v == mqtt.V5 { // without subscribers
			sub := login(t, b, v, "sub")
			sub.send(&mqtt.Publish{Topic: []byte("t"), QoS: 1, PacketID: 3})
			if ack := expect[*mqtt.Puback](sub); ack.Code != mqtt.CodeNoSubscribers {
				t.Errorf("PUBACK %v", ack.Code)
			}
		}
	})
}

// A QoS 2 message is passed on once, also when it is sent again, on this connection or
// the next one.
func TestExactlyOnceFromClient(t *testing.T) {
	eachVersion(t, func(t *testing.T, v mqtt.Version) {
		b := serve(t)
		d := connected(t, b, "d", true)
		d.subscribe("t", 2)
		p := login(t, b, v, "p", stay)
		m := &mqtt.Publish{Topic: []byte("t"), Payload: []byte("1"), QoS: 2, PacketID: 1}
		again := &mqtt.Publish{Topic: []byte("t"), Payload: []byte("1"), QoS: 2, PacketID: 1, DUP: true}
		p.send(m, again)
		expect[*mqtt.Pubrec](p)
		expect[*mqtt.Pubrec](p)
		p.conn.Close()
		p = login(t, b, v, "p", stay)
		p.send(again)
		expect[*mqtt.Pubrec](p)
		d.ack(d.delivered("1", 2))
		d.quiet()
		p.send(&mqtt.Pubrel{PacketID: 1}, &mqtt.Pubrel{PacketID: 1}, &mqtt.Publish{Topic: []byte("t"), Payload: []byte("2"), QoS: 2, PacketID: 1})
		if comp := expect[*mqtt.Pubcomp](p); comp.Code != mqtt.CodeSuccess {
			t.Errorf("PUBCOMP %v", comp.Code)
		}
		if comp := expect[*mqtt.Pubcomp](p); v == mqtt.V5 && comp.Code != mqtt.CodePacketIDNotFound {
			t.Errorf("second PUBCOMP %v", comp.Code)
		}
		expect[*mqtt.Pubrec](p)
		d.delivered("2", 2)
	})
}

// What a client has not acknowledged comes again, in order, with DUP and the same
// identifiers; a released QoS 2 message goes on with PUBREL [MQTT-4.4.0-1].
func TestRedelivery(t *testing.T) {
	eachVersion(t, func(t *testing.T, v mqtt.Version) {
		b := serve(t)
		p := login(t, b, v, "c", stay)
		p.subscribe(2, "t")
		from := connected(t, b, "from", true)
		for i, qos := range []byte{1, 2, 2, 1, 2} {
			from.publish("t", fmt.Sprint(i), qos, false)
		}
		b.Flush()
		var ids []uint16
		for i, qos := range []mqtt.QoS{1, 2, 2, 1, 2} {
			ids = append(ids, p.gets(fmt.Sprint(i), qos).PacketID)
		}
		p.send(&mqtt.Pubrec{PacketID: ids[1]}, &mqtt.Puback{PacketID: ids[3]}, &mqtt.Puback{PacketID: ids[2]}, &mqtt.Pubcomp{PacketID: ids[0]})
		expect[*mqtt.Pubrel](p)
		p.conn.Close()
		until(t, "the client is gone", func() bool { return b.Stats().Connections == 0 })
		from.publish("t", "5", 1, false)
		p = login(t, b, v, "c", stay)
		redelivered := func(i int, qos mqtt.QoS, dup bool) {
			t.Helper()
			m := p.gets(fmt.Sprint(i), qos)
			if m.DUP != dup || dup && m.PacketID != ids[i] {
				t.Errorf("message %d: DUP %v, id %d", i, m.DUP, m.PacketID)
			}
		}
		redelivered(0, 1, true) // [MQTT-3.3.1-1]
		if rel := expect[*mqtt.Pubrel](p); rel.PacketID != ids[1] {
			t.Errorf("PUBREL %d, want %d", rel.PacketID, ids[1])
		}
		redelivered(2, 2, true)
		redelivered(4, 2, true)
		redelivered(5, 1, false)
		p.quiet()
	})
}

func TestPubrecRefusal(t *testing.T) {
	b := serve(t)
	p := login(t, b, mqtt.V5, "c")
	p.subscribe(2, "t")
	from := connected(t, b, "from", true)
	from.publish("t", "x", 2, false)
	b.Flush()
	m := p.gets("x", 2)
	p.send(&mqtt.Pubrec{PacketID: m.PacketID, Code: mqtt.CodeQuota}) // [MQTT-4.3.3-4]
	p.quiet()
	p.send(&mqtt.Pubrec{PacketID: 999, Code: mqtt.CodeQuota}) // ends what there may have been
	p.quiet()
	p.send(&mqtt.Pubrec{PacketID: 999})
	if rel := expect[*mqtt.Pubrel](p); rel.Code != mqtt.CodePacketIDNotFound {
		t.Errorf("PUBREL %v", rel.Code)
	}
	if n := b.Stats().QueuedMessages; n != 0 {
		t.Errorf("%d messages are still queued", n)
	}
}

func TestRetainFlags(t *testing.T) {
	b := serve(t)
	p := login(t, b, mqtt.V5, "c")
	sub := func(filter string, change func(*mqtt.Subscription)) {
		s := mqtt.Subscription{Filter: []byte(filter)}
		change(&s)
		p.send(&mqtt.Subscribe{PacketID: 1, Subscriptions: []mqtt.Subscription{s}})
		expect[*mqtt.Suback](p)
	}
	from := connected(t, b, "from", true)
	from.publish("r", "old", 1, true)
	retain := func(payload string, want bool) {
		t.Helper()
		if m := p.gets(payload, 0); m.Retain != want {
			t.Errorf("%q with retain %v", payload, m.Retain)
		}
	}
	plain := func(*mqtt.Subscription) {}
	sub("r", plain)
	retain("old", true) // [MQTT-3.3.1-8]
	from.publish("r", "new", 0, true)
	b.Flush()
	retain("new", false) // [MQTT-3.3.1-12]
	sub("r", func(s *mqtt.Subscription) { s.RetainHandling = mqtt.RetainOnNewSubscribe })
	p.quiet() // [MQTT-3.3.1-10]
	sub("r", plain)
	retain("new", true) // [MQTT-3.3.1-9]
	sub("r", func(s *mqtt.Subscription) { s.RetainHandling, s.RetainAsPublished = mqtt.RetainNever, true })
	p.quiet() // [MQTT-3.3.1-11]
	from.publish("r", "kept", 0, true)
	b.Flush()
	retain("kept", true) // [MQTT-3.3.1-13]
	from.publish("r", "plain", 0, false)
	b.Flush()
	retain("plain", false)
	sub("+", func(s *mqtt.Subscription) { s.RetainHandling = mqtt.RetainOnNewSubscribe })
	retain("kept", true)
	from.publish("r", "", 0, true) // [MQTT-3.3.1-6]
	b.Flush()
	retain("", true)
	sub("#", plain)
	p.quiet() // [MQTT-3.3.1-7]
}

func TestNoLocalAndIdentifiers(t *testing.T) {
	b := serve(t)
	p := login(t, b, mqtt.V5, "c")
	sub := func(filter string, id uint32, qos mqtt.QoS, noLocal bool) {
		s := &mqtt.Subscribe{PacketID: 1, Subscriptions: []mqtt.Subscription{{Filter: []byte(filter), QoS: qos, NoLocal: noLocal}}}
		s.Properties.SubscriptionID = id
		p.send(s)
		expect[*mqtt.Suback](p)
	}
	sub("a/#", 1, 2, true)
	from := connected(t, b, "from", true)
	p.send(&mqtt.Publish{Topic: []byte("a/b"), Payload: []byte("own")})
	p.quiet() // [MQTT-3.8.3-3]
	sub("a/+", 7, 0, false)
	sub("+/b", 0, 1, false)
	ids := func(m *mqtt.Publish, want ...uint32) {
		t.Helper()
		got := m.Properties.SubscriptionIDs
		if slices.Sort(got); !slices.Equal(got, want) {
			t.Errorf("identifiers %v, want %v", got, want)
		}
	}
	p.send(&mqtt.Publish{Topic: []byte("a/b"), Payload: []byte("own"), QoS: 0})
	ids(p.gets("own", 0), 7)
	from.publish("a/b", "other", 2, false)
	b.Flush()
	ids(p.gets("other", 2), 1, 7) // [MQTT-3.3.4-3] [MQTT-3.3.4-4]
	p.quiet()
	from.publish("r/b", "retained", 0, true)
	b.Flush()
	ids(p.gets("retained", 0))
	sub("r/#", 9, 0, true)
	ids(p.gets("retained", 0), 9)
}

func TestPropertiesPassOn(t *testing.T) {
	b := serve(t)
	sub := login(t, b, mqtt.V5, "sub", stay)
	sub.subscribe(1, "t")
	old := login(t, b, mqtt.V311, "old")
	old.subscribe(1, "t")
	d := connected(t, b, "d", true)
	d.subscribe("t", 1)
	pub := login(t, b, mqtt.V5, "pub")
	for round := range 3 {
		if round == 1 {
			sub.conn.Close()
			until(t, "the subscriber is gone", func() bool { return b.Stats().Connections == 2 })
		}
		m := &mqtt.Publish{Topic: []byte("t"), Payload: []byte("x"), QoS: mqtt.QoS(min(round, 1)), PacketID: 1, Retain: true}
		m.Properties = mqtt.PublishProperties{
			PayloadFormat: mqtt.Some(byte(1)), ResponseTopic: []byte("answer"), CorrelationData: []byte{},
			ContentType: []byte("text"), MessageExpiry: mqtt.Some(uint32(100)),
			User: []mqtt.UserProperty{{Name: []byte("b"), Value: []byte("1")}, {Name: []byte("a"), Value: []byte("2")}, {Name: []byte("b"), Value: []byte("3")}},
		}
		pub.send(m)
		if round > 0 {
			expect[*mqtt.Puback](pub)
		}
		check := func(got *mqtt.Publish) {
			t.Helper()
			if e := got.Properties.MessageExpiry; !e.Set || e.Value < 95 || e.Value > 100 {
				t.Errorf("expiry %+v", e)
			}
			got.Properties.MessageExpiry = m.Properties.MessageExpiry
			if fmt.Sprint(got.Properties) != fmt.Sprint(m.Properties) { // [MQTT-3.3.2-4], -15, -16, -17, -18, -20
				t.Errorf("properties %+v", got.Properties)
			}
		}
		if round > 0 {
			sub = login(t, b, mqtt.V5, "sub", stay)
		}
		for range round {
			check(sub.gets("x", 1))
		}
		if round == 0 {
			check(sub.gets("x", 0))
		}
		late := login(t, b, mqtt.V5, "late")
		late.subscribe(0, "t")
		check(late.gets("x", 0))
		late.send(&mqtt.Disconnect{})
		late.closed()
		old.gets("x", mqtt.QoS(min(round, 1)))
		d.delivered("x", byte(min(round, 1)))
		until(t, "late is gone", func() bool { return b.Stats().Connections == 3 })
	}
}

func TestUnsubscribe(t *testing.T) {
	eachVersion(t, func(t *testing.T, v mqtt.Version) {
		b := serve(t)
		p := login(t, b, v, "c")
		p.subscribe(0, "a", "b/+", "c")
		p.send(&mqtt.Unsubscribe{PacketID: 9, Filters: [][]byte{[]byte("b/+"), []byte("none"), []byte("a")}})
		ack := expect[*mqtt.Unsuback](p)
		want := []mqtt.Code{mqtt.CodeSuccess, mqtt.CodeNoSubscription, mqtt.CodeSuccess}
		if ack.PacketID != 9 || v == mqtt.V5 && !slices.Equal(ack.Codes, want) {
			t.Errorf("UNSUBACK %+v", ack)
		}
		for _, topic := range []string{"a", "b/x", "c"} {
			p.send(&mqtt.Publish{Topic: []byte(topic), Payload: []byte(topic)})
		}
		p.gets("c", 0)
		p.quiet()
	})
}

func TestSubscribeRefused(t *testing.T) {
	b := serve(t, func(o *Options) { o.MaxTopicLevels = 3; o.MaxSubscriptions = 2 })
	for v, want := range map[mqtt.Version]string{mqtt.V5: "[1 143 2 151 151 0]", mqtt.V311: "[1 128 2 128 128 0]"} {
		p := login(t, b, v, "c")
		s := &mqtt.Subscribe{PacketID: 1}
		for i, f := range []string{"a", "1/2/3/4", "b", "c", "$share/g/x", "a"} {
			s.Subscriptions = append(s.Subscriptions, mqtt.Subscription{Filter: []byte(f), QoS: mqtt.QoS([]int{1, 1, 2, 2, 1, 0}[i])})
		}
		p.send(s)
		var codes []int
		for _, c := range expect[*mqtt.Suback](p).Codes {
			codes = append(codes, int(c))
		}
		if fmt.Sprint(codes) != want {
			t.Errorf("%v: SUBACK %v, want %s", v, codes, want)
		}
	}
}

func TestSharedSubscription(t *testing.T) {
	b := serve(t)
	five := login(t, b, mqtt.V5, "five")
	s := &mqtt.Subscribe{PacketID: 1, Subscriptions: []mqtt.Subscription{{Filter: []byte("$share/g/t/+"), QoS: 1}}}
	s.Properties.SubscriptionID = 9
	from := connected(t, b, "from", true)
	from.publish("t/0", "retained", 1, true)
	five.send(s)
	expect[*mqtt.Suback](five)
	five.quiet() // no retained message for those who share
	old := login(t, b, mqtt.V311, "old")
	old.subscribe(1, "$share/g/t/+", "$share/h/#", "t/0")
	old.gets("retained", 1)
	d := connected(t, b, "d", true)
	d.subscribe("$share/g/t/+", 1)
	d.subscribe("x", 1)

	const n = 30
	for i := range n {
		from.publish("t/1", fmt.Sprint(i), 1, false)
	}
	b.Flush()
	ours := make(map[string]int) // how often each message of group g came
	for _, ev := range d.take() {
		ours[string(ev.Message.Payload)]++
		d.ack(ev.Token)
	}
	byDevice := len(ours)
	for range n - 2*byDevice {
		m := expect[*mqtt.Publish](five)
		five.send(&mqtt.Puback{PacketID: m.PacketID})
		ours[string(m.Payload)]++
		if !slices.Equal(m.Properties.SubscriptionIDs, []uint32{9}) {
			t.Errorf("identifiers %v", m.Properties.SubscriptionIDs)
		}
	}
	five.quiet()
	for range n + byDevice { // group h as well
		m := expect[*mqtt.Publish](old)
		old.send(&mqtt.Puback{PacketID: m.PacketID})
		ours[string(m.Payload)]++
	}
	old.quiet()
	if byDevice != n/3 {
		t.Errorf("the device got %d of %d", byDevice, n)
	}
	for i := range n {
		if ours[fmt.Sprint(i)] != 2 {
			t.Errorf("message %d came %d times, want once for g and once for h", i, ours[fmt.Sprint(i)])
		}
	}

	// Whoever is away gets nothing while somebody is there, and all when nobody is.
	d.do(broker.Request{Op: broker.Unsubscribe, Topic: "$share/g/t/+"})
	d.answer()
	keeper := connected(t, b, "keeper", false)
	keeper.subscribe("$share/g/t/+", 1)
	keeper.do(broker.Request{Op: broker.Disconnect})
	for i := range 6 {
		from.publish("t/2", fmt.Sprint(i), 1, false)
	}
	b.mu.Lock()
	waiting := b.sessions["keeper"].queue.len() // nobody else touches it now
	b.mu.Unlock()
	if waiting != 0 {
		t.Errorf("%d messages wait for one that is away", waiting)
	}
	five.conn.Close()
	old.conn.Close()
	until(t, "both are gone", func() bool { return b.Stats().Connections == 0 })
	from.publish("t/2", "last", 1, false)
	keeper.do(broker.Request{Op: broker.Connect})
	keeper.answer()
	keeper.delivered("last", 1)
}
