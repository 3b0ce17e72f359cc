package embedded

import (
	"fmt"
	"testing"

	"mqttsn-gateway/broker"
	"mqttsn-gateway/broker/mqtt"
)

func user(pairs ...string) []broker.UserProperty {
	var list []broker.UserProperty
	for i := 0; i < len(pairs); i += 2 {
		list = append(list, broker.UserProperty{Name: []byte(pairs[i]), Value: []byte(pairs[i+1])})
	}
	return list
}

// hasUser checks the user properties of a message.
func (p *peer) hasUser(m *mqtt.Publish, want ...string) {
	p.t.Helper()
	var list []string
	for _, u := range m.Properties.User {
		list = append(list, string(u.Name), string(u.Value))
	}
	if fmt.Sprint(list) != fmt.Sprint(want) {
		p.t.Errorf("%s %q has user properties %q, want %q", m.Topic, m.Payload, list, want)
	}
}

// What a device publishes reaches MQTT 5 subscribers with the properties that the gateway
// gave it: at once, from a queue, as a retained message and as a will. Others get the
// message without.
func TestUserPropertiesOfADevice(t *testing.T) {
	b := serve(t)
	sub := login(t, b, mqtt.V5, "sub", stay)
	sub.subscribe(2, "t", "w")
	old := login(t, b, mqtt.V311, "old")
	old.subscribe(0, "t")
	other := connected(t, b, "other", true)
	other.subscribe("t", 0)
	away := login(t, b, mqtt.V5, "away", stay)
	away.subscribe(1, "t")
	away.conn.Close()
	until(t, "the subscriber is gone", func() bool { return b.Stats().Connections == 2 })

	d := open(t, b, "d")
	d.do(broker.Request{Op: broker.Connect, Will: &broker.Message{Topic: "w", Payload: []byte("lost")}, User: user("hop", "1")})
	d.answer()
	list := user("client", "d", "hop", "1")
	for qos := range byte(3) {
		d.do(broker.Request{Op: broker.Publish, Topic: "t", Payload: []byte{'0' + qos}, QoS: qos, Retain: qos == 1, User: list})
	}
	d.do(broker.Request{Op: broker.Publish, Topic: "t", Payload: []byte("moved"), User: user("client", "d", "hop", "2")})
	d.do(broker.Request{Op: broker.Publish, Topic: "t", Payload: []byte("off")})
	d.take()
	b.Flush()
	for qos := range mqtt.QoS(3) {
		m := sub.gets(fmt.Sprint(qos), qos)
		sub.hasUser(m, "client", "d", "hop", "1")
		old.gets(fmt.Sprint(qos), 0)
		other.delivered(fmt.Sprint(qos), 0)
	}
	sub.hasUser(sub.gets("moved", 0), "client", "d", "hop", "2")
	sub.hasUser(sub.gets("off", 0))
	old.gets("moved", 0)
	old.gets("off", 0)

	away = login(t, b, mqtt.V5, "away", stay)
	away.hasUser(away.gets("1", 1), "client", "d", "hop", "1")
	away.hasUser(away.gets("2", 1), "client", "d", "hop", "1")
	late := login(t, b, mqtt.V5, "late")
	late.subscribe(0, "t")
	late.hasUser(late.gets("1", 0), "client", "d", "hop", "1")

	lose := func(want ...string) {
		t.Helper()
		b.Flush()
		sub.hasUser(sub.gets("lost", 0), want...)
	}
	d.do(broker.Request{Op: broker.Abandon}) // as it was at CONNECT
	lose("hop", "1")
	d.do(broker.Request{Op: broker.Connect})
	d.do(broker.Request{Op: broker.SetWill, Will: &broker.Message{Topic: "w", Payload: []byte("lost")}, User: user("hop", "3")})
	d.do(broker.Request{Op: broker.Abandon, User: user("hop", "4", "signal", "-90")})
	lose("hop", "4", "signal", "-90")
	d.do(broker.Request{Op: broker.Connect})
	d.do(broker.Request{Op: broker.Abandon, User: user("hop", "4")}) // there is no will
	b.Flush()
	sub.quiet()
}

// Nothing is allocated for properties that stay the same.
func TestUserPropertiesCostNothing(t *testing.T) {
	b := newBroker(t)
	d := connected(t, b, "d", true)
	publish := func(list []broker.UserProperty) float64 {
		r := broker.Request{Op: broker.Publish, Topic: "t", Payload: []byte("x"), User: list}
		return testing.AllocsPerRun(100, func() { d.do(r) })
	}
	if with, without := publish(user("a", "b", "c", "d")), publish(nil); with > without {
		t.Errorf("%v allocations with user properties, %v without", with, without)
	}
}

// Retained messages count with what their user properties take, but for those that all
// messages of a device share.
func TestPropertiesOfRetainedCount(t *testing.T) {
	b := serve(t, func(o *Options) { o.MaxRetainedBytes = 150_000 })
	d := connected(t, b, "d", false)
	d.do(broker.Request{Op: broker.Publish, Topic: "t", Payload: []byte("x"), Retain: true, User: user("a", "b")})
	if n := b.Stats().RetainedBytes; n != 2 {
		t.Errorf("a device's message counts %d octets, want 2", n)
	}
	p := login(t, b, mqtt.V5, "p")
	m := &mqtt.Publish{QoS: 1, PacketID: 1, Retain: true, Payload: []byte("x")}
	m.Properties.User = make([]mqtt.UserProperty, 1000) // of 5 octets each on the wire
	refused := 0
	for i := range 10 {
		m.Topic = fmt.Append(nil, "t/", i)
		p.send(m)
		if expect[*mqtt.Puback](p).Code == mqtt.Code(broker.CodeQuota) {
			refused++
		}
	}
	if st := b.Stats(); refused != 8 || st.RetainedMessages != 3 {
		t.Errorf("%d of 10 messages of 64 kB were refused, %d are retained, %d octets", refused, st.RetainedMessages, st.RetainedBytes)
	}
}
