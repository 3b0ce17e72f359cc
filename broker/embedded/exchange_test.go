package embedded

import (
	"fmt"
	"testing"

	"mqttsn-gateway/broker/mqtt"
)

// two publishes a QoS 2 message with identifier 5.
func (p *peer) two(payload string, dup bool) *mqtt.Pubrec {
	p.t.Helper()
	p.send(&mqtt.Publish{Topic: []byte("t"), Payload: []byte(payload), QoS: 2, PacketID: 5, DUP: dup})
	return expect[*mqtt.Pubrec](p)
}

// An identifier that comes again before it was released is the same message, whatever DUP
// says and on whichever connection it comes [MQTT-4.3.3-10].
func TestPacketIdentifierInUse(t *testing.T) {
	eachVersion(t, func(t *testing.T, v mqtt.Version) {
		b := serve(t)
		d := connected(t, b, "d", true)
		d.subscribe("t", 2)
		got := func(payload string) {
			t.Helper()
			d.ack(d.delivered(payload, 2))
			d.quiet()
		}
		p := login(t, b, v, "c", stay)
		p.two("1", false)
		got("1")
		for range 2 {
			for _, dup := range []bool{true, false} {
				if ack := p.two("2", dup); ack.Code != mqtt.CodeSuccess {
					t.Errorf("PUBREC %v", ack.Code)
				}
			}
			d.quiet()
			p.conn.Close()
			p = login(t, b, v, "c", stay)
		}
		p.send(&mqtt.Pubrel{PacketID: 5})
		if comp := expect[*mqtt.Pubcomp](p); comp.Code != mqtt.CodeSuccess {
			t.Errorf("PUBCOMP %v", comp.Code)
		}
		p.two("5", true) // nothing is known of it [MQTT-4.3.3-12]
		got("5")
		p.conn.Close()
		p = login(t, b, v, "c") // a clean session has forgotten it
		p.two("6", true)
		got("6")
	})
}

// Identifiers of the client's packets are the client's: one in use for a QoS 2 message does
// not disturb a SUBSCRIBE, an UNSUBSCRIBE or a QoS 1 message, nor do those of the broker's
// messages.
func TestPacketIdentifierOfSeveralPackets(t *testing.T) {
	eachVersion(t, func(t *testing.T, v mqtt.Version) {
		b := serve(t)
		p := login(t, b, v, "c")
		p.two("x", false)
		p.send(&mqtt.Subscribe{PacketID: 5, Subscriptions: []mqtt.Subscription{{Filter: []byte("u"), QoS: 2}}})
		if ack := expect[*mqtt.Suback](p); ack.PacketID != 5 || ack.Codes[0] != mqtt.CodeGrantedQoS2 {
			t.Errorf("SUBACK %+v", ack)
		}
		from := connected(t, b, "from", true)
		for range 5 {
			from.publish("u", "x", 2, false)
		}
		b.Flush()
		for id := range uint16(5) {
			if m := p.gets("x", 2); m.PacketID != id+1 {
				t.Errorf("identifier %d", m.PacketID)
			}
		}
		p.send(&mqtt.Publish{Topic: []byte("t"), QoS: 1, PacketID: 5})
		if ack := expect[*mqtt.Puback](p); ack.PacketID != 5 || ack.Code.Failed() {
			t.Errorf("PUBACK %+v", ack)
		}
		p.send(&mqtt.Unsubscribe{PacketID: 5, Filters: [][]byte{[]byte("u")}})
		expect[*mqtt.Unsuback](p)
		p.send(&mqtt.Pubrec{PacketID: 5})
		expect[*mqtt.Pubrel](p)
		p.send(&mqtt.Pubrel{PacketID: 5})
		if comp := expect[*mqtt.Pubcomp](p); comp.Code != mqtt.CodeSuccess {
			t.Errorf("PUBCOMP %v", comp.Code)
		}
		p.send(&mqtt.Pubcomp{PacketID: 5})
		p.quiet()
	})
}

// An acknowledgement that does not belong to the message's QoS or state is a protocol
// error. Nothing is lost by it, and nothing waits for ever.
func TestAcknowledgementOutOfStep(t *testing.T) {
	eachVersion(t, func(t *testing.T, v mqtt.Version) {
		b := serve(t, func(o *Options) { o.MaxInflightMessages = 1 })
		from := connected(t, b, "from", true)
		p := login(t, b, v, "c", stay)
		p.subscribe(2, "t")
		for i, c := range []struct {
			qos mqtt.QoS
			ack func(id uint16) mqtt.Packet
		}{
			{1, func(id uint16) mqtt.Packet { return &mqtt.Pubrec{PacketID: id} }},
			{1, func(id uint16) mqtt.Packet { return &mqtt.Pubcomp{PacketID: id} }},
			{2, func(id uint16) mqtt.Packet { return &mqtt.Puback{PacketID: id} }},
			{2, func(id uint16) mqtt.Packet { return &mqtt.Pubcomp{PacketID: id} }}, // before PUBREC
		} {
			payload := fmt.Sprint(i)
			from.publish("t", payload, byte(c.qos), false)
			from.publish("t", "next", 1, false)
			b.Flush()
			id := p.gets(payload, c.qos).PacketID
			p.send(c.ack(id + 1)) // for nothing in flight
			if _, ok := c.ack(id).(*mqtt.Pubrec); ok {
				expect[*mqtt.Pubrel](p)
			}
			p.quiet()
			p.send(c.ack(id))
			p.disconnected(mqtt.CodeProtocolError)

			p = login(t, b, v, "c", stay)
			if m := p.gets(payload, c.qos); m.PacketID != id || !m.DUP {
				t.Errorf("again: id %d, DUP %v", m.PacketID, m.DUP)
			}
			if c.qos == 1 {
				p.send(&mqtt.Puback{PacketID: id})
			} else {
				p.send(&mqtt.Pubrec{PacketID: id}, &mqtt.Pubrec{PacketID: id}) // twice does no harm
				expect[*mqtt.Pubrel](p)
				expect[*mqtt.Pubrel](p)
				p.send(&mqtt.Pubcomp{PacketID: id})
			}
			p.send(&mqtt.Puback{PacketID: p.gets("next", 1).PacketID})
			p.quiet()
		}
		if n := b.Stats().QueuedMessages; n != 0 {
			t.Errorf("%d messages are still queued", n)
		}
	})
}

// A PUBREC that refuses a message ends it: it is not sent again [MQTT-4.4.0-2], its place
// is free, and its identifier comes again for another message.
func TestRefusedMessageIsOver(t *testing.T) {
	b := serve(t, func(o *Options) { o.MaxInflightMessages = 2 })
	from := connected(t, b, "from", true)
	p := login(t, b, mqtt.V5, "c", stay)
	p.subscribe(2, "t")
	for i := range 3 {
		from.publish("t", fmt.Sprint(i), 2, false)
	}
	b.Flush()
	first := p.gets("0", 2).PacketID
	p.gets("1", 2)
	p.send(&mqtt.Pubrec{PacketID: first, Code: mqtt.CodeUnspecified})
	p.gets("2", 2)
	p.quiet()
	b.mu.Lock()
	s := b.sessions["c"]
	b.mu.Unlock()
	s.mu.Lock()
	s.lastID = first - 1
	s.mu.Unlock()
	p.conn.Close()
	p = login(t, b, mqtt.V5, "c", stay)
	second := p.gets("1", 2)
	p.gets("2", 2)
	p.send(&mqtt.Pubrec{PacketID: second.PacketID, Code: mqtt.CodeUnspecified})
	from.publish("t", "3", 2, false)
	b.Flush()
	if m := p.gets("3", 2); m.PacketID != first || m.DUP {
		t.Errorf("id %d, want %d; DUP %v", m.PacketID, first, m.DUP)
	}
	p.send(&mqtt.Pubrec{PacketID: first}) // accepted this time
	expect[*mqtt.Pubrel](p)
	p.send(&mqtt.Pubcomp{PacketID: first})
	p.quiet()
}

// Acknowledgements go out in the order of what they acknowledge [MQTT-4.6.0-2]
// [MQTT-4.6.0-3] [MQTT-4.6.0-4].
func TestOrderOfAcknowledgements(t *testing.T) {
	eachVersion(t, func(t *testing.T, v mqtt.Version) {
		b := serve(t)
		p := login(t, b, v, "c")
		var all []mqtt.Packet
		for id := range uint16(20) {
			all = append(all, &mqtt.Publish{Topic: []byte("t"), QoS: mqtt.QoS(1 + id%2), PacketID: 100 - id})
		}
		p.send(all...)
		for id := range uint16(20) {
			if id%2 == 0 {
				if ack := expect[*mqtt.Puback](p); ack.PacketID != 100-id {
					t.Fatalf("PUBACK %d, want %d", ack.PacketID, 100-id)
				}
			} else if ack := expect[*mqtt.Pubrec](p); ack.PacketID != 100-id {
				t.Fatalf("PUBREC %d, want %d", ack.PacketID, 100-id)
			}
		}
		p.subscribe(2, "u")
		from := connected(t, b, "from", true)
		for range 5 {
			from.publish("u", "x", 2, false)
		}
		b.Flush()
		for range 5 {
			p.gets("x", 2)
		}
		order := []uint16{3, 1, 5, 2, 4}
		for _, id := range order {
			p.send(&mqtt.Pubrec{PacketID: id})
		}
		for _, id := range order {
			if rel := expect[*mqtt.Pubrel](p); rel.PacketID != id {
				t.Fatalf("PUBREL %d, want %d", rel.PacketID, id)
			}
		}
	})
}
