package embedded

import (
	"testing"

	"mqttsn-gateway/broker"
	"mqttsn-gateway/broker/mqtt"
	"mqttsn-gateway/gateway/store"
)

// newStoreBroker makes a broker without listeners that has a store.
func newStoreBroker(t testing.TB, st store.Store, change ...func(*Options)) *Broker {
	t.Helper()
	o := DefaultOptions()
	o.Listeners = nil
	for _, f := range change {
		f(&o)
	}
	b, err := New(o, st, silent())
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// What was acknowledged is there after a crash: sessions, subscriptions, messages in their
// order, retained messages, wills.
func TestRestart(t *testing.T) {
	st := store.NewMemory()
	b := newStoreBroker(t, st)
	d := connected(t, b, "d", false)
	d.subscribe("t/+", 2)
	away := connected(t, b, "away", false)
	away.subscribe("t/#", 1)
	away.do(broker.Request{Op: broker.Disconnect})
	from := connected(t, b, "from", true)
	from.publish("t/1", "one", 1, false)
	from.publish("t/2", "two", 2, true)
	from.publish("r", "kept", 0, true)
	one, two := d.delivered("one", 1), d.delivered("two", 2)
	d.ack(one)

	b = newStoreBroker(t, st.Crash())
	if s := b.Stats(); s.Sessions != 2 || s.Subscriptions != 2 || s.QueuedMessages != 3 || s.RetainedMessages != 2 {
		t.Errorf("after a crash: %d sessions, %d subscriptions, %d queued, %d retained", s.Sessions, s.Subscriptions, s.QueuedMessages, s.RetainedMessages)
	}
	d = open(t, b, "d")
	d.do(broker.Request{Op: broker.Connect})
	if !d.answer().SessionPresent {
		t.Error("the session is not there")
	}
	if again := d.delivered("two", 2); again != two {
		t.Errorf("token %d, want %d", again, two)
	}
	d.quiet()
	d.ack(two)
	away = open(t, b, "away")
	away.do(broker.Request{Op: broker.Connect})
	away.answer()
	away.ack(away.delivered("one", 1))
	away.ack(away.delivered("two", 1))
	from = connected(t, b, "from", true)
	from.publish("t/3", "three", 1, false)
	d.ack(d.delivered("three", 1))
	away.ack(away.delivered("three", 1))
	d.subscribe("r", 1)
	d.delivered("kept", 0)
	for k := range b.store.(*store.Memory).Records() {
		if k.Space == store.MQTTDelivery || k.Space == store.MQTTFlight {
			t.Errorf("a record is left: %+v", k)
		}
	}
}

// The same for an MQTT client.
func TestRestartClient(t *testing.T) {
	eachVersion(t, func(t *testing.T, v mqtt.Version) {
		st := store.NewMemory()
		b := serveStore(t, st)
		p := login(t, b, v, "c", stay)
		p.subscribe(2, "t")
		d := connected(t, b, "d", true)
		for _, payload := range []string{"one", "two", "three"} {
			d.publish("t", payload, 2, false)
		}
		b.Flush()
		one, two, three := p.gets("one", 2).PacketID, p.gets("two", 2).PacketID, p.gets("three", 2).PacketID
		p.send(&mqtt.Pubrec{PacketID: one}, &mqtt.Pubrec{PacketID: two})
		expect[*mqtt.Pubrel](p)
		expect[*mqtt.Pubrel](p)
		p.send(&mqtt.Pubcomp{PacketID: one})
		p.send(&mqtt.Publish{Topic: []byte("u"), QoS: 2, PacketID: 9})
		expect[*mqtt.Pubrec](p)

		b = serveStore(t, st.Crash())
		p = login(t, b, v, "c", stay)
		if v > mqtt.V31 && !p.connack.SessionPresent {
			t.Error("the session is not there")
		}
		if got := expect[*mqtt.Pubrel](p); got.PacketID != two {
			t.Errorf("PUBREL %d, want %d", got.PacketID, two)
		}
		if got := p.gets("three", 2); got.PacketID != three || !got.DUP {
			t.Errorf("PUBLISH %d, DUP %v, want %d again", got.PacketID, got.DUP, three)
		}
		p.send(&mqtt.Publish{Topic: []byte("t"), QoS: 2, PacketID: 9, DUP: true})
		expect[*mqtt.Pubrec](p)
		p.quiet() // it had been passed on before
	})
}
