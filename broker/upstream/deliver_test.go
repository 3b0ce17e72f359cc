package upstream

import (
	"strconv"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/packets"

	"mqttsn-gateway/broker"
)

func TestAcknowledgementsFollowTheGatewayInOrderOfArrival(t *testing.T) {
	b, _, d, p := exchange(t, nil, false)
	p.deliver(7, "a", 1, false)
	p.deliver(3, "b", 2, false)
	p.deliver(9, "c", 1, false)
	p.deliver(0, "d", 0, false)
	a, bb, c := d.message("t", "a"), d.message("t", "b"), d.message("t", "c")
	if a.Token == bb.Token || bb.Token == c.Token || d.message("t", "d").Token != 0 {
		t.Fatalf("tokens %d %d %d", a.Token, bb.Token, c.Token)
	}
	d.ack(c)
	d.ack(bb)
	d.publish(1, "t", "marker", 0)
	p.publish("marker", 0, false) // no acknowledgement before it
	d.do(broker.Request{Op: broker.Ack, Token: a.Token, Code: broker.CodePacketTooLarge})
	if got := p.want(packets.PUBACK).(*packets.Puback); got.PacketID != 7 || got.ReasonCode != 0x83 {
		t.Fatalf("%v", got)
	}
	if got := p.want(packets.PUBREC).(*packets.Pubrec); got.PacketID != 3 || got.ReasonCode != 0 {
		t.Fatalf("%v", got)
	}
	if got := p.want(packets.PUBACK).(*packets.Puback); got.PacketID != 9 || got.ReasonCode != 0 {
		t.Fatalf("%v", got)
	}
	p.pubrel(3)
	if got := p.want(packets.PUBCOMP).(*packets.Pubcomp); got.PacketID != 3 || got.ReasonCode != 0 {
		t.Fatalf("%v", got)
	}
	p.pubrel(3) // again: no error during recovery
	if got := p.want(packets.PUBCOMP).(*packets.Pubcomp); got.PacketID != 3 || got.ReasonCode != 0x92 {
		t.Fatalf("%v", got)
	}
	if st := b.Stats(); st.Unacked != 0 || st.Delivered != 4 {
		t.Fatalf("%+v", st)
	}
}

// Of three messages the second is acknowledged, and the connection is lost before the
// first is. All come again, in order, and one that is new.
func TestRedeliveryIsNotPassedOnAgain(t *testing.T) {
	b, f, d, p := exchange(t, nil, false)
	p.deliver(1, "a", 1, false)
	p.deliver(2, "b", 2, false)
	p.deliver(3, "c", 1, false)
	a, bb, c := d.message("t", "a"), d.message("t", "b"), d.message("t", "c")
	d.ack(bb)
	p.close()
	p = f.next()
	d.ack(a) // while away
	p.connack(0, true, nil)
	p.deliver(1, "a", 1, true)
	p.deliver(2, "b", 2, true)
	p.deliver(3, "c", 1, true)
	p.deliver(4, "d", 1, false)
	if got := p.want(packets.PUBACK).(*packets.Puback); got.PacketID != 1 {
		t.Fatalf("%v", got)
	}
	if got := p.want(packets.PUBREC).(*packets.Pubrec); got.PacketID != 2 {
		t.Fatalf("%v", got)
	}
	dd := d.message("t", "d")
	d.quiet()
	d.ack(dd)
	d.ack(c)
	for id := uint16(3); id <= 4; id++ {
		if got := p.want(packets.PUBACK).(*packets.Puback); got.PacketID != id {
			t.Fatalf("%v, want %d", got, id)
		}
	}
	// The PUBREC is lost with the connection: the message comes again, and is not passed on.
	p.close()
	p = f.welcomed(true)
	p.deliver(2, "b", 2, true)
	p.want(packets.PUBREC)
	p.pubrel(2)
	p.want(packets.PUBCOMP)
	d.quiet()
	if st := b.Stats(); st.Repeated != 4 || st.Unacked != 0 {
		t.Fatalf("%+v", st)
	}
}

// The broker has lost the session and uses the identifier of a message that the gateway
// still holds for another one.
func TestTokensStayApartWhenTheSessionIsLost(t *testing.T) {
	_, f, d, p := exchange(t, nil, false)
	p.deliver(1, "old", 1, false)
	p.deliver(2, "old too", 1, false)
	old, too := d.message("t", "old"), d.message("t", "old too")
	p.close()
	p = f.welcomed(false)
	p.deliver(1, "new", 1, false)
	fresh := d.message("t", "new")
	if fresh.Token == old.Token || fresh.Token == too.Token {
		t.Fatalf("two messages with token %d", fresh.Token)
	}
	d.ack(old) // nobody waits for that
	d.ack(fresh)
	p.want(packets.PUBACK)
	p.deliver(2, "newer", 1, false)
	newer := d.message("t", "newer")
	d.ack(too)
	d.publish(1, "t", "marker", 0)
	p.publish("marker", 0, false)
	d.ack(newer)
	p.want(packets.PUBACK)

	// The same within a session: the broker has dropped a message unnoticed.
	p.deliver(5, "expires", 1, false)
	expires := d.message("t", "expires")
	p.close()
	p = f.welcomed(true)
	p.deliver(5, "other", 1, false)
	if other := d.message("t", "other"); other.Token == expires.Token {
		t.Fatalf("two messages with token %d", other.Token)
	}
}

func TestUnackedComesAgainAfterConnect(t *testing.T) {
	_, f, d, p := exchange(t, nil, false)
	p.deliver(1, "a", 1, false)
	p.deliver(2, "b", 2, false)
	a, bb := d.message("t", "a"), d.message("t", "b")
	d.ack(bb) // its turn has not come: the broker does not know
	d.do(broker.Request{Op: broker.Disconnect})
	p.want(packets.DISCONNECT)
	p.wantEnd()
	p.close()
	d.do(broker.Request{Op: broker.Connect, Token: 1})
	p = f.welcomed(true)
	d.answer(1, 0)
	p.deliver(1, "a", 1, true)
	p.deliver(2, "b", 2, true)
	again := d.message("t", "a")
	if again.Token != a.Token {
		t.Fatalf("token %d, was %d", again.Token, a.Token)
	}
	d.ack(again)
	p.want(packets.PUBACK)
	p.want(packets.PUBREC)
	d.quiet()
}

func TestBadTopicsAreRefused(t *testing.T) {
	b, _, d, p := exchange(t, nil, false)
	for i, topic := range []string{"", "a/+", "#", "nul\x00", "\xff"} {
		for qos := byte(0); qos <= 2; qos++ {
			id := uint16(10*i) + uint16(qos)
			p.send(&packets.Publish{Topic: topic, QoS: qos, PacketID: id, Properties: &packets.Properties{}})
			switch qos {
			case 1:
				if got := p.want(packets.PUBACK).(*packets.Puback); got.PacketID != id || got.ReasonCode != 0x90 {
					t.Fatalf("%v", got)
				}
			case 2:
				if got := p.want(packets.PUBREC).(*packets.Pubrec); got.PacketID != id || got.ReasonCode != 0x90 {
					t.Fatalf("%v", got)
				}
			}
		}
	}
	d.quiet()
	if st := b.Stats(); st.Malformed != 15 || st.Unacked != 0 {
		t.Fatalf("%+v", st)
	}
}

// Mosquitto 2.0.11 does not keep to the receive maximum when it empties a queue. What is
// beyond it waits here: the gateway gets no more than it has asked for, and the broker no
// acknowledgement before the gateway's.
func TestBrokerThatIgnoresOurReceiveMaximum(t *testing.T) {
	const window, all = 2, 100
	_, _, d, p := exchange(t, func(o *Options) { o.ReceiveMaximum = window }, false)
	for id := uint16(1); id <= all; id++ {
		p.deliver(id, strconv.Itoa(int(id)), 1+byte(id%2), false)
	}
	var taken []broker.Event
	for id := 1; id <= all; id++ {
		taken = append(taken, d.message("t", strconv.Itoa(id)))
		if len(taken) < window {
			continue
		}
		d.quiet()
		d.ack(taken[0])
		p.want([]byte{packets.PUBACK, packets.PUBREC}[taken[0].QoS-1])
		taken = taken[1:]
	}
}

// There is an end to that: the connection is closed, and nothing is lost by it.
func TestBrokerThatSendsWithoutEnd(t *testing.T) {
	_, f, d, p := exchange(t, func(o *Options) { o.ReceiveMaximum = 2 }, false)
	go func() {
		for id := uint16(1); id <= maxHeld+1; id++ {
			p.deliver(id, "x", 1, false)
		}
	}()
	first, second := d.message("t", "x"), d.message("t", "x")
	p.wantEnd()
	f.welcomed(true)
	d.ack(first)
	d.ack(second)
	d.message("t", "x")
}

// Messages that the broker drops while the gateway has them must not use up what the
// gateway may have.
func TestDroppedMessagesDoNotBlockOthers(t *testing.T) {
	_, f, d, p := exchange(t, func(o *Options) { o.ReceiveMaximum = 1 }, false)
	for range 3 {
		p.deliver(1, "x", 1, false) // without DUP: another message under the same identifier
		d.message("t", "x")
		p.close()
		p = f.welcomed(true)
	}
	p.deliver(1, "last", 1, false)
	d.message("t", "last")
}

func TestRetainedFlag(t *testing.T) {
	_, _, d, p := exchange(t, nil, false)
	p.send(&packets.Publish{Topic: "t", QoS: 1, PacketID: 1, Retain: true, Payload: []byte("x"), Properties: &packets.Properties{}})
	if ev := d.message("t", "x"); !ev.Retain || ev.QoS != 1 || len(ev.Message.Payload) != cap(ev.Message.Payload) && cap(ev.Message.Payload) > 64 {
		t.Fatalf("%+v", ev)
	}
}

// A message says when it expires, if its publisher has said so.
func TestMessageExpiry(t *testing.T) {
	_, _, d, p := exchange(t, nil, false)
	p.deliver(1, "lasts", 1, false)
	if m := d.message("t", "lasts").Message; !m.Expires.IsZero() {
		t.Errorf("expires at %v", m.Expires)
	}
	seconds := uint32(60)
	before := time.Now()
	p.send(&packets.Publish{Topic: "t", QoS: 1, PacketID: 2, Payload: []byte("ends"), Properties: &packets.Properties{MessageExpiry: &seconds}})
	m := d.message("t", "ends").Message
	if from, to := before.Add(time.Minute), time.Now().Add(time.Minute); m.Expires.Before(from) || m.Expires.After(to) {
		t.Errorf("expires at %v, want %v to %v", m.Expires, from, to)
	}
}
