package mqttsn

import (
	"bytes"
	"fmt"
	"testing"
)

// samples holds every packet in its usual forms.
var samples = []Packet{
	&Advertise{GatewayID: 1, Duration: 900},
	&SearchGW{Radius: 1},
	&GWInfo{GatewayID: 1},
	&GWInfo{GatewayID: 1, Address: []byte{4, 10, 0, 0, 5}},
	&Connect{CleanSession: true, ProtocolID: ProtocolID, Duration: 60, ClientID: []byte("cli-1")},
	&Connect{Will: true, ProtocolID: ProtocolID, Duration: 65535, ClientID: []byte("x")},
	&Connack{ReturnCode: Congestion},
	&WillTopicReq{},
	&WillTopic{QoS: QoS1, Retain: true, Topic: []byte("w/dead1")},
	&WillTopic{},
	&WillMsgReq{},
	&WillMsg{Message: []byte("bye!")},
	&WillMsg{},
	&Register{TopicID: 5, MsgID: 9, TopicName: []byte("s/temp")},
	&Regack{TopicID: 5, MsgID: 1, ReturnCode: NotSupported},
	&Publish{DUP: true, QoS: QoS1, TopicID: 5, MsgID: 7, Data: []byte("hi")},
	&Publish{QoS: QoSMinusOne, Retain: true, TopicIDType: TopicShort, TopicID: 0x6162, Data: []byte("hi")},
	&Publish{QoS: QoS2, TopicIDType: TopicPredefined, TopicID: 10, MsgID: 8, Data: bytes.Repeat([]byte("x"), 300)},
	&Publish{TopicID: 5, Retain: true},
	&Puback{TopicID: 5, MsgID: 7, ReturnCode: InvalidTopicID},
	&Pubrec{MsgID: 8},
	&Pubrel{MsgID: 9},
	&Pubcomp{MsgID: 10},
	&Subscribe{DUP: true, QoS: QoS1, MsgID: 3, TopicName: []byte("s/#")},
	&Subscribe{QoS: QoS2, TopicIDType: TopicPredefined, MsgID: 5, TopicID: 10},
	&Subscribe{TopicIDType: TopicShort, MsgID: 6, TopicID: 0x6162},
	&Suback{QoS: QoS1, TopicID: 5, MsgID: 3},
	&Unsubscribe{MsgID: 10, TopicName: []byte("s/temp")},
	&Unsubscribe{TopicIDType: TopicPredefined, MsgID: 11, TopicID: 10},
	&Unsubscribe{TopicIDType: TopicShort, MsgID: 11, TopicID: 0x6162},
	&Unsuback{MsgID: 10},
	&Pingreq{},
	&Pingreq{ClientID: []byte("cli-1")},
	&Pingresp{},
	&Disconnect{},
	&Disconnect{HasDuration: true, Duration: 60},
	&WillTopicUpd{QoS: QoS2, Topic: []byte("w/dead2")},
	&WillTopicUpd{},
	&WillTopicResp{ReturnCode: Accepted},
	&WillMsgUpd{Message: []byte("new")},
	&WillMsgResp{ReturnCode: NotSupported},
	&Encapsulated{Radius: 1, NodeID: []byte{0, 7}, Packet: []byte{3, 1, 1}},
}

func TestRoundTrip(t *testing.T) {
	for _, want := range samples {
		b := want.Append(nil)
		got, err := Decode(b)
		if err != nil || render(got) != render(want) {
			t.Errorf("Decode(% X) = %+v, %v, want %+v", b, got, err, want)
		}
		if appended := want.Append([]byte("before")); string(appended) != "before"+string(b) {
			t.Errorf("%v: Append to a slice gives % X", want.Type(), appended)
		}
	}
}

// TestLengthForm walks over the borders between the two forms of Length and the
// greatest size, for each message of variable size.
func TestLengthForm(t *testing.T) {
	field := bytes.Repeat([]byte("x"), MaxPacket+1)
	packets := map[string]func(n int) (p Packet, body int){
		"GWINFO":       func(n int) (Packet, int) { return &GWInfo{Address: field[:n]}, 1 + n },
		"CONNECT":      func(n int) (Packet, int) { return &Connect{ClientID: field[:n]}, 4 + n },
		"WILLTOPIC":    func(n int) (Packet, int) { return &WillTopic{Topic: field[:n]}, 1 + n },
		"WILLMSG":      func(n int) (Packet, int) { return &WillMsg{Message: field[:n]}, n },
		"REGISTER":     func(n int) (Packet, int) { return &Register{TopicName: field[:n]}, 4 + n },
		"PUBLISH":      func(n int) (Packet, int) { return &Publish{Data: field[:n]}, 5 + n },
		"SUBSCRIBE":    func(n int) (Packet, int) { return &Subscribe{TopicName: field[:n]}, 3 + n },
		"UNSUBSCRIBE":  func(n int) (Packet, int) { return &Unsubscribe{TopicName: field[:n]}, 3 + n },
		"PINGREQ":      func(n int) (Packet, int) { return &Pingreq{ClientID: field[:n]}, n },
		"WILLTOPICUPD": func(n int) (Packet, int) { return &WillTopicUpd{Topic: field[:n]}, 1 + n },
		"WILLMSGUPD":   func(n int) (Packet, int) { return &WillMsgUpd{Message: field[:n]}, n },
	}
	for name, packet := range packets {
		for _, n := range []int{1, 240, 247, 248, 249, 250, 251, 252, 253, 254, 255, 256, 300, 1400, 65526, 65531, MaxPacket, MaxPacket + 1} {
			p, body := packet(n)
			b := p.Append(nil)
			var prefix []byte
			switch {
			case body <= 253:
				prefix = []byte{byte(body + 2), byte(p.Type())}
			case body <= 65531:
				prefix = []byte{1, byte((body + 4) >> 8), byte(body + 4), byte(p.Type())}
			case len(b) != 0:
				t.Errorf("%s with a body of %d octets is encoded to %d", name, body, len(b))
			}
			if prefix == nil {
				continue
			}
			if !bytes.HasPrefix(b, prefix) || len(b) != len(prefix)+body {
				t.Errorf("%s with a body of %d octets begins % X and has %d", name, body, b[:4], len(b))
			}
			if q, err := Decode(b); err != nil || render(q) != render(p) {
				t.Errorf("%s with a body of %d octets: %v", name, body, err)
			}
		}
	}
}

func TestEncapsulatedSizes(t *testing.T) {
	id := bytes.Repeat([]byte{0xA5}, MaxNodeID+1)
	inner := Publish{TopicID: 1, Data: bytes.Repeat([]byte("x"), 1000)}.Append(nil)
	for _, n := range []int{1, 2, 8, MaxNodeID} {
		b := Encapsulated{NodeID: id[:n], Packet: inner}.Append(nil)
		p, err := Decode(b)
		if err != nil || len(b) != 3+n+len(inner) {
			t.Fatalf("node id of %d octets: %d octets, %v", n, len(b), err)
		}
		if e := p.(*Encapsulated); !bytes.Equal(e.NodeID, id[:n]) || !bytes.Equal(e.Packet, inner) {
			t.Errorf("node id of %d octets comes back as %s", n, render(p))
		}
	}
	if b := (Encapsulated{NodeID: id, Packet: inner}).Append(nil); len(b) != 0 {
		t.Errorf("a node id that is too long is encoded to %d octets", len(b))
	}
}

// TestDecoderReuse decodes every ordered pair with one decoder: nothing of the first
// packet may show in the second.
func TestDecoderReuse(t *testing.T) {
	var d Decoder
	for _, first := range samples {
		for _, second := range samples {
			if _, err := d.Decode(first.Append(nil)); err != nil {
				t.Fatal(err)
			}
			p, err := d.Decode(second.Append(nil))
			if err != nil || render(p) != render(second) {
				t.Fatalf("%s after %s: %v, %v", render(second), render(first), p, err)
			}
		}
	}
}

// TestDecoderOpensEncapsulated checks the promise that both packets of a forwarder's
// frame can be looked at together.
func TestDecoderOpensEncapsulated(t *testing.T) {
	var d Decoder
	b := Encapsulated{NodeID: []byte{7}, Packet: Pingreq{ClientID: []byte("c")}.Append(nil)}.Append(nil)
	p, err := d.Decode(b)
	if err != nil {
		t.Fatal(err)
	}
	outer := p.(*Encapsulated)
	inner, err := d.Decode(outer.Packet)
	if err != nil || render(inner) != `PINGREQ ClientID="c"` || !bytes.Equal(outer.NodeID, []byte{7}) {
		t.Errorf("inner %v, outer %v, %v", inner, outer, err)
	}
}

// TestLenientPaho takes the packet of 257 octets that Paho's client library sends with
// a length of 255, without losing the last two.
func TestLenientPaho(t *testing.T) {
	b := append([]byte{0x01, 0x00, 0xFF, byte(TypePublish), 0, 0, 1, 0, 0}, bytes.Repeat([]byte("x"), 248)...)
	if _, err := Decode(b); err == nil {
		t.Error("a strict decoder accepts it")
	}
	d := Decoder{Lenient: true}
	p, err := d.Decode(b)
	if err != nil || len(p.(*Publish).Data) != 248 {
		t.Errorf("a lenient decoder gives %v, %v", p, err)
	}
}

func TestPeek(t *testing.T) {
	for in, want := range map[string]string{
		"\x02\x17":                     "PINGRESP  <nil>",
		"\x01\x00\x06\x18\x00\x3C":     "DISCONNECT 003C <nil>",
		"\x02\x03":                     "reserved(0x03)  <nil>",
		"\x04\xFE\x00\x2A\x02\x16":     "ENCAPSULATED 002A0216 <nil>",
		"\x04\xFE\x00\x2A":             "ENCAPSULATED 002A <nil>",
		"\x09\xFE\x00\x2A\x02\x16":     "ADVERTISE  mqttsn: Length differs from the datagram's",
		"\x02\xFE":                     "ADVERTISE  mqttsn: Length is illegal",
		"\x05\x17":                     "ADVERTISE  mqttsn: Length differs from the datagram's",
		"":                             "ADVERTISE  mqttsn: Length is missing",
		"\x01\x00\x08\xFE\x00\x2A\x02": "ADVERTISE  mqttsn: Length is illegal",
	} {
		typ, body, err := Peek([]byte(in))
		if got := fmt.Sprintf("%v %X %v", typ, body, err); got != want {
			t.Errorf("Peek(% X) = %s, want %s", in, got, want)
		}
	}
}

// TestAliasing checks that a decoded field cannot be appended into what follows it.
func TestAliasing(t *testing.T) {
	b := Encapsulated{NodeID: []byte{1, 2}, Packet: Pingresp{}.Append(nil)}.Append(nil)
	before := bytes.Clone(b)
	p, err := Decode(b)
	if err != nil {
		t.Fatal(err)
	}
	e := p.(*Encapsulated)
	if &e.NodeID[0] != &b[3] {
		t.Error("NodeID is a copy")
	}
	_ = append(e.NodeID, 0xFF)
	if !bytes.Equal(b, before) {
		t.Error("append to a field changes the datagram")
	}
}
