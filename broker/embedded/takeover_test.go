package embedded

import (
	"testing"

	"mqttsn-gateway/broker"
	"mqttsn-gateway/broker/mqtt"
)

// One client id is one client, whichever protocol it comes in by: an MQTT client takes the
// session of a device over, and the device takes it back.

func (p *peer) puback(m *mqtt.Publish) { p.send(&mqtt.Puback{PacketID: m.PacketID}) }

// again expects a message that was sent before.
func (p *peer) again(payload string, qos mqtt.QoS) *mqtt.Publish {
	p.t.Helper()
	m := p.gets(payload, qos)
	if !m.DUP {
		p.t.Errorf("%v: %q came again without DUP", p.version, payload) // [MQTT-3.3.1-1]
	}
	return m
}

// over makes the broker end the connection of a device, which is told.
func (d *station) over() {
	d.t.Helper()
	if ev := d.next(); ev.Kind != broker.Closed || ev.Code != broker.CodeTakenOver {
		d.t.Fatalf("%s was told %+v, want the end of its connection", d.id, ev)
	}
}

func (d *station) reconnect(present bool) {
	d.t.Helper()
	d.do(broker.Request{Op: broker.Connect})
	if got := d.answer().SessionPresent; got != present {
		d.t.Fatalf("%s: session present %v, want %v", d.id, got, present)
	}
}

// What is in flight goes on with the other one: QoS 1 until it is acknowledged, QoS 2 once.
// Subscriptions stay, also those that the other one has made.
func TestTakeoverInFlight(t *testing.T) {
	for _, v := range versions {
		t.Run(kindName(v), func(t *testing.T) {
			b := serve(t)
			pub := connected(t, b, "pub", true)
			d := connected(t, b, "x", false)
			d.subscribe("t", 2)
			pub.publish("t", "1", 1, false)
			pub.publish("t", "2", 2, false)
			pub.publish("t", "3", 2, false)
			d.delivered("1", 1)
			d.delivered("2", 2)
			d.ack(d.delivered("3", 2))

			p := login(t, b, v, "x", stay)
			if v >= mqtt.V311 && !p.connack.SessionPresent {
				t.Error("the device's session is not present")
			}
			d.over()
			p.puback(p.again("1", 1))
			two := p.again("2", 2)
			p.subscribe(1, "u")
			p.send(&mqtt.Pubrec{PacketID: two.PacketID})
			expect[*mqtt.Pubrel](p) // it has the message, and has not said PUBCOMP
			pub.publish("t", "4", 2, false)
			b.Flush()
			four := p.gets("4", 2)
			pub.publish("u", "5", 1, false)
			b.Flush()
			p.gets("5", 1)

			d.reconnect(true)
			if token := d.delivered("4", 2); token != broker.Token(four.PacketID) {
				t.Errorf("message 4 has token %d, had identifier %d", token, four.PacketID)
			}
			d.ack(broker.Token(four.PacketID))
			five := d.delivered("5", 1)
			d.quiet()

			p = login(t, b, v, "x", stay)
			d.over()
			p.puback(p.again("5", 1))
			p.quiet()
			d.reconnect(true)
			d.ack(five) // is over, and means nothing
			pub.publish("u", "6", 1, false)
			d.ack(d.delivered("6", 1))
			if n := b.Stats().QueuedMessages; n != 0 {
				t.Errorf("%d messages are still queued", n)
			}
		})
	}
}

// A QoS 2 message that an MQTT client has begun is not passed on again when it comes back
// after a device of its name, nor is its identifier forgotten.
func TestTakeoverWithinQoS2(t *testing.T) {
	for _, v := range versions {
		b := serve(t)
		watcher := connected(t, b, "watcher", true)
		watcher.subscribe("t", 2)
		m := &mqtt.Publish{Topic: []byte("t"), Payload: []byte("once"), QoS: 2, PacketID: 9}
		p := login(t, b, v, "x", stay)
		p.send(m)
		expect[*mqtt.Pubrec](p)
		d := connected(t, b, "x", false)
		d.publish("t", "between", 2, false)
		p = login(t, b, v, "x", stay)
		d.over()
		m.DUP = true
		p.send(m)
		expect[*mqtt.Pubrec](p)
		p.send(&mqtt.Pubrel{PacketID: 9})
		expect[*mqtt.Pubcomp](p)
		watcher.ack(watcher.delivered("once", 2))
		watcher.ack(watcher.delivered("between", 2))
		watcher.quiet()
	}
}

// Who starts clean finds nothing of the other one's, and leaves nothing to it.
func TestTakeoverClean(t *testing.T) {
	for _, v := range versions {
		b := serve(t)
		pub := connected(t, b, "pub", true)
		d := connected(t, b, "x", false)
		d.subscribe("t", 1)
		pub.publish("t", "1", 1, false)
		d.delivered("1", 1)
		p := login(t, b, v, "x") // a clean start, and a session that ends with the connection
		d.over()
		if p.connack.SessionPresent {
			t.Errorf("%v: a clean start finds a session", v)
		}
		pub.publish("t", "2", 1, false)
		b.Flush()
		p.quiet()
		p.subscribe(1, "t")

		d.reconnect(false) // the client's session has ended
		pub.publish("t", "3", 1, false)
		d.quiet()
		b.Flush()
		p.end()

		p = login(t, b, v, "x", stay)
		d.over()
		p.subscribe(1, "t")
		d.do(broker.Request{Op: broker.Connect, CleanSession: true})
		if d.answer().SessionPresent {
			t.Errorf("%v: a clean device finds a session", v)
		}
		pub.publish("t", "4", 1, false)
		d.quiet()
		if st := b.Stats(); st.Sessions != 2 || st.Subscriptions != 0 || st.QueuedMessages != 0 {
			t.Errorf("%v: %+v", v, st)
		}
	}
}

// end expects that the broker ends the connection; MQTT 5 is told why.
func (p *peer) end() {
	p.t.Helper()
	if p.version == mqtt.V5 {
		if code := expect[*mqtt.Disconnect](p).Code; code != mqtt.CodeTakenOver {
			p.t.Errorf("DISCONNECT %v", code)
		}
	}
	p.closed()
}

// Each connection has its own will. The one of a connection that is taken over is
// published [MQTT-3.1.2-8].
func TestTakeoverWills(t *testing.T) {
	for _, v := range versions {
		b := serve(t)
		watcher := connected(t, b, "watcher", true)
		watcher.subscribe("w", 0)
		d := open(t, b, "x")
		d.do(broker.Request{Op: broker.Connect, Will: &broker.Message{Topic: "w", Payload: []byte("device")}})
		d.answer()
		p := login(t, b, v, "x", stay, func(c *mqtt.Connect) {
			c.HasWill, c.Will = true, mqtt.Will{Topic: []byte("w"), Payload: []byte("client")}
		})
		d.over()
		watcher.delivered("device", 0)
		d.do(broker.Request{Op: broker.Connect})
		d.answer()
		b.Flush()
		watcher.delivered("client", 0)
		p.end()
		d.do(broker.Request{Op: broker.Abandon}) // without a will of its own
		watcher.quiet()
	}
}
