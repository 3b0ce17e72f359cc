package upstream

import (
	"testing"

	"github.com/eclipse/paho.golang/packets"

	"mqttsn-gateway/broker"
)

// Three publications are under way, each at another stage, and a SUBSCRIBE, when the
// connection is lost; the broker keeps the session.
func TestExchangesGoOnWhenTheSessionIsPresent(t *testing.T) {
	b, f, d, p := exchange(t, nil, true)
	d.publish(1, "t", "one", 1)
	d.publish(2, "t", "two", 2)
	d.publish(3, "t", "three", 2)
	one, two, three := p.publish("one", 1, false), p.publish("two", 2, false), p.publish("three", 2, false)
	p.pubrec(two.PacketID, 0)
	p.want(packets.PUBREL)
	d.do(broker.Request{Op: broker.Subscribe, Token: 4, Topic: "s/#", QoS: 2})
	sub := p.subscribe("s/#")
	p.close()

	p = f.next()
	if p.connect.CleanStart {
		t.Fatal("the session is thrown away")
	}
	p.connack(0, true, nil)
	if again := p.publish("one", 1, true); again.PacketID != one.PacketID {
		t.Fatalf("packet identifier %d, was %d", again.PacketID, one.PacketID)
	}
	if again := p.want(packets.PUBREL).(*packets.Pubrel); again.PacketID != two.PacketID {
		t.Fatalf("PUBREL %d, want %d", again.PacketID, two.PacketID)
	}
	if again := p.publish("three", 2, true); again.PacketID != three.PacketID {
		t.Fatalf("packet identifier %d, was %d", again.PacketID, three.PacketID)
	}
	if again := p.subscribe("s/#"); again.PacketID != sub.PacketID {
		t.Fatalf("packet identifier %d, was %d", again.PacketID, sub.PacketID)
	}
	d.quiet()
	p.suback(sub.PacketID, 1)
	if ev := d.answer(4, 0); ev.QoS != 1 {
		t.Fatalf("granted %d", ev.QoS)
	}
	p.pubcomp(two.PacketID)
	d.answer(2, 0)
	p.pubrec(three.PacketID, 0)
	p.want(packets.PUBREL)
	p.pubrec(three.PacketID, 0) // repeated: PUBREL again
	p.want(packets.PUBREL)
	p.puback(one.PacketID, 0x10)
	d.answer(1, broker.CodeNoSubscribers)
	p.pubcomp(three.PacketID)
	d.answer(3, 0)
	if st := b.Stats(); st.Pending != 0 || st.Reconnects != 1 || st.ConnectionsLost != 1 || st.Published != 3 || st.Uncertain != 0 {
		t.Fatalf("%+v", st)
	}
}

// The same, but the broker has lost the session.
func TestRepairWhenTheSessionIsLost(t *testing.T) {
	b, f, d, p := exchange(t, nil, false)
	for i, filter := range []string{"b/+", "a", "gone"} {
		d.do(broker.Request{Op: broker.Subscribe, Token: broker.Token(10 + i), Topic: filter, QoS: 1})
		p.suback(p.subscribe(filter).PacketID, 1)
		d.answer(broker.Token(10+i), 0)
	}
	d.do(broker.Request{Op: broker.Unsubscribe, Token: 13, Topic: "gone"})
	p.send(&packets.Unsuback{PacketID: p.want(packets.UNSUBSCRIBE).(*packets.Unsubscribe).PacketID, Reasons: []byte{0}, Properties: &packets.Properties{}})
	d.answer(13, 0)
	d.publish(1, "t", "one", 1)
	d.publish(2, "t", "two", 2)
	d.publish(3, "t", "three", 2)
	p.publish("one", 1, false)
	two := p.publish("two", 2, false)
	p.publish("three", 2, false)
	p.pubrec(two.PacketID, 0)
	p.want(packets.PUBREL)
	p.close()

	p = f.welcomed(false)
	d.answer(2, 0) // nobody knows
	a, bb := p.subscribe("a"), p.subscribe("b/+")
	one, three := p.publish("one", 1, false), p.publish("three", 2, false)
	p.suback(a.PacketID, 1)
	p.suback(bb.PacketID, 1)
	p.puback(one.PacketID, 0)
	d.answer(1, 0)
	p.pubrec(three.PacketID, 0)
	p.want(packets.PUBREL)
	p.pubcomp(three.PacketID)
	d.answer(3, 0)
	if st := b.Stats(); st.Uncertain != 1 || st.SessionsLost != 1 || st.Pending != 0 {
		t.Fatalf("%+v", st)
	}
	d.quiet()
}

// A subscription that cannot be made again must not be lost in silence.
func TestSubscriptionRefusedOnRepair(t *testing.T) {
	_, f, d, p := exchange(t, nil, false)
	d.do(broker.Request{Op: broker.Subscribe, Token: 1, Topic: "a", QoS: 1})
	p.suback(p.subscribe("a").PacketID, 1)
	d.answer(1, 0)
	p.close()
	p = f.welcomed(false)
	p.suback(p.subscribe("a").PacketID, 0x87)
	if ev := d.want(broker.Closed); ev.Code != broker.CodeNotAuthorized {
		t.Fatalf("%+v", ev)
	}
	if err := d.Do(&broker.Request{Op: broker.Publish, Topic: "t"}); err != broker.ErrClosed {
		t.Fatalf("after Closed: %v", err)
	}
}

// The broker still has a session of an earlier process, perhaps with a QoS 2 message that
// waits for its PUBREL under the identifier that we use next.
func TestStaleIdentifiersAreReleased(t *testing.T) {
	f := startFake(t)
	b := serve(t, quick(f.address))
	d := b.open(t, "c")
	d.do(broker.Request{Op: broker.Connect, Token: 1})
	p := f.welcomed(true)
	if ev := d.answer(1, 0); !ev.SessionPresent {
		t.Fatal("no session present")
	}
	d.publish(2, "t", "two", 2)
	rel := p.want(packets.PUBREL).(*packets.Pubrel)
	pub := p.publish("two", 2, false)
	if rel.PacketID != pub.PacketID {
		t.Fatalf("PUBREL %d before PUBLISH %d", rel.PacketID, pub.PacketID)
	}
	p.pubcomp(rel.PacketID) // the answer to that PUBREL: not the end of the new exchange
	p.pubrec(pub.PacketID, 0)
	p.want(packets.PUBREL)
	d.quiet()
	p.pubcomp(pub.PacketID)
	d.answer(2, 0)
}

func TestReceiveMaximumOfTheBroker(t *testing.T) {
	f := startFake(t)
	b := serve(t, quick(f.address))
	d := b.open(t, "c")
	d.do(broker.Request{Op: broker.Connect, Token: 1, CleanSession: true})
	p := f.next()
	one := uint16(1)
	p.connack(0, false, &packets.Properties{ReceiveMaximum: &one})
	d.answer(1, 0)
	for i, qos := range []byte{1, 2, 0, 1} {
		d.publish(broker.Token(10+i), "t", string(rune('a'+i)), qos)
	}
	d.do(broker.Request{Op: broker.Subscribe, Token: 20, Topic: "s", QoS: 0})
	a := p.publish("a", 1, false)
	p.raw(0xD0, 0) // something to read; nothing may be sent for it
	p.close()      // the quota starts anew with a connection, but not above the maximum
	p = f.next()
	p.connack(0, true, &packets.Properties{ReceiveMaximum: &one})
	p.publish("a", 1, true)
	p.puback(a.PacketID, 0)
	d.answer(10, 0)
	second := p.publish("b", 2, false)
	p.publish("c", 0, false) // in order; QoS 0 does not count
	p.pubrec(second.PacketID, 0)
	p.want(packets.PUBREL)
	p.pubcomp(second.PacketID)
	d.answer(11, 0)
	last := p.publish("d", 1, false)
	p.subscribe("s")
	p.puback(last.PacketID, 0)
	d.answer(13, 0)
}

func TestPublishWhileAway(t *testing.T) {
	_, f, d, p := exchange(t, func(o *Options) { o.MaxPending = 3 }, true)
	p.close()
	p = f.next() // and is not answered yet
	for i := range 3 {
		d.publish(broker.Token(i), "t", string(rune('a'+i)), 1)
	}
	for _, qos := range []byte{0, 1, 2} {
		if err := d.Do(&broker.Request{Op: broker.Publish, Topic: "t", QoS: qos}); err != broker.ErrBusy {
			t.Fatalf("QoS %d: %v, want ErrBusy", qos, err)
		}
	}
	if err := d.Do(&broker.Request{Op: broker.Subscribe, Topic: "t"}); err != broker.ErrBusy {
		t.Fatalf("Subscribe: %v, want ErrBusy", err)
	}
	p.connack(0, true, nil)
	for i := range 3 {
		p.puback(p.publish(string(rune('a'+i)), 1, false).PacketID, 0)
		d.answer(broker.Token(i), 0)
	}
}

func TestWriteBufferIsBounded(t *testing.T) {
	_, _, d, p := exchange(t, func(o *Options) { o.WriteBuffer = 4096 }, true)
	big := make([]byte, 5000) // one message always fits
	d.do(broker.Request{Op: broker.Publish, Token: 1, Topic: "t", Payload: big, QoS: 1})
	if err := d.Do(&broker.Request{Op: broker.Publish, Topic: "t", Payload: big}); err != broker.ErrBusy {
		t.Fatalf("%v, want ErrBusy", err)
	}
	p.puback(p.want(packets.PUBLISH).(*packets.Publish).PacketID, 0)
	d.answer(1, 0)
	d.publish(2, "t", "", 0)
	p.publish("", 0, false)
}
