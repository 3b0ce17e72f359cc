package upstream

import (
	"bytes"
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/packets"

	"mqttsn-gateway/broker"
)

func TestConnackCodesArePassedOn(t *testing.T) {
	f := startFake(t)
	b := serve(t, quick(f.address))
	for i, code := range []byte{0x87, 0x97, 0x88, 0x86, 0x9F, 0x85} {
		d := b.open(t, string(rune('a'+i)))
		d.do(broker.Request{Op: broker.Connect, Token: broker.Token(i)})
		f.next().connack(code, false, nil)
		d.answer(broker.Token(i), broker.Code(code))
		if err := d.Do(&broker.Request{Op: broker.Publish, Topic: "t"}); err != broker.ErrClosed {
			t.Fatalf("after a refusal: %v", err)
		}
	}
	if st := b.Stats(); st.Failed[broker.CodeNotAuthorized] != 1 || st.Connecting != 0 || !st.Up {
		t.Fatalf("%+v", st)
	}
}

func TestConnectIsAnsweredInTime(t *testing.T) {
	f := startFake(t)
	f.mute.Store(true) // the health connection finds nothing either
	o := quick(f.address)
	o.ConnectTimeout = time.Second
	b := serve(t, o)
	d := b.open(t, "c")
	d.do(broker.Request{Op: broker.Connect, Token: 1, CleanSession: true})
	d.answer(1, broker.CodeServerUnavailable)
	if b.Up() {
		t.Fatal("up")
	}

	f.mute.Store(false)
	await(t, "up", b.Up)
	d.do(broker.Request{Op: broker.Connect, Token: 2, CleanSession: true})
	silent := f.next() // never answers CONNECT
	d.answer(2, broker.CodeServerUnavailable)
	silent.wantEnd()

	away := serve(t, quick(freeAddress(t))) // nobody listens
	d = away.open(t, "c")
	d.do(broker.Request{Op: broker.Connect, Token: 3})
	d.answer(3, broker.CodeServerUnavailable)
}

func TestOldBroker(t *testing.T) {
	f := startFake(t)
	f.old.Store(true)
	b := serve(t, quick(f.address))
	d := b.open(t, "c")
	for i := range 20 {
		d.do(broker.Request{Op: broker.Connect, Token: broker.Token(i)})
		d.answer(broker.Token(i), 0x84)
	}
	if n := b.logs.count("needs MQTT 5"); n != 1 || b.logs.count("\n") != 1 || b.Up() {
		t.Fatalf("log:\n%s", b.logs)
	}
	if n := f.tries.Load(); n > 0 {
		t.Fatalf("%d clients were let loose on it", n)
	}
}

func TestTakenOver(t *testing.T) {
	b, f, d, p := exchange(t, nil, false)
	d.do(broker.Request{Op: broker.SetWill, Will: &broker.Message{Topic: "w", QoS: 1}})
	p.disconnect(0x8E)
	if ev := d.want(broker.Closed); ev.Code != broker.CodeTakenOver {
		t.Fatalf("%+v", ev)
	}
	if st := b.Stats(); st.TakenOver != 1 || st.Wills != 0 || st.Connected+st.Reconnecting != 0 {
		t.Fatalf("%+v", st)
	}
	d.do(broker.Request{Op: broker.Connect, Token: 1})
	f.welcomed(true)
	d.answer(1, 0)
	if n := f.tries.Load(); n != 2 {
		t.Fatalf("%d connections, want 2", n)
	}
}

func TestDisconnectedByTheBroker(t *testing.T) {
	for _, code := range []byte{0x8B, 0x97, 0x93, 0x98, 0x00} {
		t.Run(fmt.Sprintf("%02X", code), func(t *testing.T) {
			_, f, d, p := exchange(t, nil, true)
			d.publish(1, "t", "x", 1)
			p.publish("x", 1, false)
			p.disconnect(code)
			p = f.welcomed(true)
			p.puback(p.publish("x", 1, true).PacketID, 0)
			d.answer(1, 0)
		})
	}
}

// What we send displeases the broker, however often we send it: the client has to know.
func TestComplaintsEndTheClient(t *testing.T) {
	_, f, d, p := exchange(t, nil, true)
	d.publish(1, "t", "x", 1)
	for i := range maxStrikes {
		if i > 0 {
			p = f.welcomed(true)
		}
		p.publish("x", 1, i > 0)
		p.disconnect(0x99)
	}
	if ev := d.want(broker.Closed); ev.Code != broker.CodePayloadFormat {
		t.Fatalf("%+v", ev)
	}
}

func TestAnswersOfTheBroker(t *testing.T) {
	b, _, d, p := exchange(t, nil, true)
	d.publish(1, "t", "x", 1)
	p.puback(p.publish("x", 1, false).PacketID, 0x97)
	d.answer(1, broker.CodeQuota)
	d.publish(2, "t", "x", 2)
	id := p.publish("x", 2, false).PacketID
	p.puback(id, 0)   // the wrong kind of answer
	p.pubcomp(id)     // not its turn
	p.suback(id, 0)   // no SUBSCRIBE
	p.puback(id+1, 0) // unknown
	p.pubrec(id+1, 0) // unknown
	got := p.want(packets.PUBREL).(*packets.Pubrel)
	if got.PacketID != id+1 || got.ReasonCode != 0x92 {
		t.Fatalf("%v", got)
	}
	d.quiet()
	p.pubrec(id, 0x87)
	d.answer(2, broker.CodeNotAuthorized)
	d.do(broker.Request{Op: broker.Subscribe, Token: 3, Topic: "s", QoS: 1})
	p.suback(p.subscribe("s").PacketID, 0x8F)
	d.answer(3, broker.CodeTopicFilter)
	if st := b.Stats(); st.Failed[broker.CodeQuota] != 1 || st.Failed[broker.CodeNotAuthorized] != 1 || st.Pending != 0 {
		t.Fatalf("%+v", st)
	}
}

func TestLimitsOfTheBroker(t *testing.T) {
	f := startFake(t)
	b := serve(t, quick(f.address))
	d := b.open(t, "c")
	d.do(broker.Request{Op: broker.Connect, Token: 1})
	p := f.next()
	size, qos, no := uint32(100), byte(1), byte(0)
	p.connack(0, false, &packets.Properties{
		MaximumPacketSize: &size, MaximumQOS: &qos, RetainAvailable: &no, WildcardSubAvailable: &no, SharedSubAvailable: &no,
	})
	d.answer(1, 0)
	refused := func(r broker.Request, code broker.Code) {
		t.Helper()
		r.Token = 2
		d.do(r)
		d.answer(2, code)
	}
	refused(broker.Request{Op: broker.Publish, Topic: "t", Payload: make([]byte, 100), QoS: 1}, broker.CodePacketTooLarge)
	refused(broker.Request{Op: broker.Publish, Topic: "t", QoS: 2}, 0x9B)
	refused(broker.Request{Op: broker.Publish, Topic: "t", QoS: 1, Retain: true}, 0x9A)
	refused(broker.Request{Op: broker.Subscribe, Topic: "a/#"}, 0xA2)
	refused(broker.Request{Op: broker.Subscribe, Topic: "$share/g/a"}, 0x9E)
	d.do(broker.Request{Op: broker.Publish, Topic: "t", Payload: make([]byte, 100)})
	d.publish(0, "t", "fits", 0)
	p.publish("fits", 0, false)
	if st := b.Stats(); st.Failed[broker.CodePacketTooLarge] != 2 {
		t.Fatalf("%+v", st)
	}
}

// Whatever the broker sends, the client gets a new connection and nothing else happens.
func TestMalformedPackets(t *testing.T) {
	endless := append([]byte{0x30}, bytes.Repeat([]byte{0xFF}, 64)...)
	for name, raw := range map[string][]byte{
		"type 0": {0x00, 0}, "CONNECT": {0x10, 0}, "AUTH": {0xF0, 0}, "second CONNACK": {0x20, 3, 0, 0, 0},
		"QoS 3": {0x36, 5, 0, 1, 't', 0, 1}, "identifier 0": {0x32, 6, 0, 1, 't', 0, 0, 0},
		"cut short": {0x32, 3, 0, 9, 't'}, "no properties": {0x30, 3, 0, 1, 't'},
		"topic alias": {0x30, 7, 0, 1, 't', 3, 0x23, 0, 1}, "huge": {0x30, 0xFF, 0xFF, 0xFF, 0x7F}, "endless": endless,
		"two answers": {0x90, 5, 0, 1, 0, 0, 0}, "no answer": {0x90, 3, 0, 1, 0},
	} {
		t.Run(name, func(t *testing.T) {
			_, f, d, p := exchange(t, nil, true)
			p.raw(raw...)
			p = f.welcomed(true)
			d.publish(1, "t", "x", 1)
			p.puback(p.publish("x", 1, false).PacketID, 0)
			d.answer(1, 0)
		})
	}
}

func TestMalformedConnack(t *testing.T) {
	f := startFake(t)
	b := serve(t, quick(f.address))
	d := b.open(t, "c")
	d.do(broker.Request{Op: broker.Connect, Token: 1})
	f.next().raw(0xD0, 0)
	f.next().raw(0x20, 4, 0, 0, 9, 9)
	f.next().disconnect(0x89)
	f.next().close()
	p := f.welcomed(false)
	d.answer(1, 0)
	d.publish(2, "t", "x", 0)
	p.publish("x", 0, false)
}

// Packets larger than the read buffer, in pieces.
func TestLargePackets(t *testing.T) {
	_, _, d, p := exchange(t, nil, true)
	payload := bytes.Repeat([]byte("0123456789"), 10_000)
	var whole bytes.Buffer
	_, _ = (&packets.Publish{Topic: "t", Payload: payload, Properties: &packets.Properties{}}).WriteTo(&whole)
	for b := whole.Bytes(); len(b) > 0; {
		n := min(len(b), 777)
		p.raw(b[:n]...)
		b = b[n:]
	}
	d.message("t", string(payload))
	d.do(broker.Request{Op: broker.Publish, Topic: "t", Payload: payload})
	p.publish(string(payload), 0, false)
}

// On a 32-bit machine that length is negative, and packets panics.
func TestPropertyLengthOfMoreThan31Bits(t *testing.T) {
	var in incoming
	err := decode(&in, 0x40, []byte{0, 1, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0x0F})
	if fits := math.MaxInt > math.MaxInt32; (err == nil) != fits {
		t.Fatalf("%v", err)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte{0x20, 3, 0, 0, 0})
	f.Add([]byte{0x32, 8, 0, 1, 't', 0, 1, 0, 'x', 'y'})
	f.Add([]byte{0x40, 8, 0, 1, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0x0F})
	f.Add([]byte{0xE0, 0})
	f.Add([]byte{0x90, 4, 0, 1, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		l := newLine(nil, 1<<16)
		l.in.r.Reset(bytes.NewReader(b))
		var in incoming
		for {
			if err := l.in.next(&in); err != nil {
				return
			}
			if in.kind == kindPublish && (in.message == nil || in.qos > 2 || in.qos > 0 && in.id == 0) {
				t.Fatalf("%+v", in)
			}
		}
	})
}
