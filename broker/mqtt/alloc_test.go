package mqtt

import (
	"bytes"
	"testing"
)

// samples are packets with everything in them. All of them are valid in MQTT 5 from one
// side or the other; without what earlier versions lack, in those as well.
var samples = []Packet{
	&Connect{Version: V5, CleanStart: true, ClientID: []byte("c")},
	&Connect{
		Version: V5, KeepAlive: 60, ClientID: []byte("client-1"), HasWill: true,
		Will: Will{
			QoS: QoS1, Retain: true, Topic: []byte("will/t"), Payload: []byte("gone"),
			Properties: WillProperties{
				Delay: Some[uint32](5), PayloadFormat: Some[byte](1), MessageExpiry: Some[uint32](60),
				ContentType: []byte("text/plain"), ResponseTopic: []byte("r/t"), CorrelationData: []byte{0, 1},
				User: []UserProperty{{[]byte("wk"), []byte("wv")}},
			},
		},
		Username: []byte("user"), Password: []byte("secret"),
		Properties: ConnectProperties{
			SessionExpiry: Some[uint32](3600), ReceiveMaximum: 20, MaximumPacketSize: 1 << 20,
			TopicAliasMaximum: Some[uint16](10), RequestResponse: Some(true), RequestProblem: Some(false),
			AuthenticationMethod: []byte("SCRAM"), AuthenticationData: []byte{1, 2, 3},
			User: []UserProperty{{[]byte("k"), []byte("v")}, {[]byte("k"), []byte("w")}},
		},
	},
	&Connack{SessionPresent: true, Properties: ConnackProperties{
		SessionExpiry: Some[uint32](10), ReceiveMaximum: 10, MaximumQoS: Some(QoS1), RetainAvailable: Some(false),
		MaximumPacketSize: 1000, AssignedClientID: []byte("assigned"), TopicAliasMaximum: Some[uint16](5),
		ReasonString: []byte("reason"), WildcardAvailable: Some(true), SubscriptionIDsAvailable: Some(true),
		SharedAvailable: Some(false), ServerKeepAlive: Some[uint16](30), ResponseInformation: []byte("info"),
		ServerReference: []byte("other"), AuthenticationMethod: []byte("m"), AuthenticationData: []byte{9},
		User: []UserProperty{{[]byte("k"), []byte("v")}},
	}},
	&Connack{Code: CodeNotAuthorized},
	&Publish{Topic: []byte("a/b"), Payload: []byte("hello")},
	&Publish{Topic: []byte("a/b"), Payload: bytes.Repeat([]byte("0123456789"), 3000), Retain: true},
	&Publish{DUP: true, QoS: QoS2, Retain: true, Topic: []byte("a/b"), PacketID: 65535, Payload: []byte("hello"),
		Properties: PublishProperties{
			PayloadFormat: Some[byte](1), MessageExpiry: Some[uint32](60), TopicAlias: 3, ResponseTopic: []byte("r"),
			CorrelationData: []byte{0xFF}, ContentType: []byte("text"), SubscriptionIDs: []uint32{1, 268435455},
			User: []UserProperty{{[]byte("k"), bytes.Repeat([]byte("v"), 200)}},
		}},
	&Puback{PacketID: 1},
	&Puback{PacketID: 2, Code: CodeNoSubscribers, Properties: AckProperties{ReasonString: []byte("none")}},
	&Pubrec{PacketID: 3, Code: CodeQuota},
	&Pubrel{PacketID: 4, Code: CodePacketIDNotFound, Properties: AckProperties{User: []UserProperty{{[]byte("k"), []byte("v")}}}},
	&Pubcomp{PacketID: 5},
	&Subscribe{PacketID: 6, Subscriptions: []Subscription{
		{Filter: []byte("a/+/#"), QoS: QoS2, NoLocal: true, RetainAsPublished: true, RetainHandling: RetainNever},
		{Filter: []byte("$share/group/a"), QoS: QoS1},
	}, Properties: SubscribeProperties{SubscriptionID: 300, User: []UserProperty{{[]byte("k"), []byte("v")}}}},
	&Suback{PacketID: 6, Codes: []Code{CodeGrantedQoS2, CodeUnspecified}},
	&Unsubscribe{PacketID: 7, Filters: [][]byte{[]byte("a/+/#"), []byte("b")}},
	&Unsuback{PacketID: 7, Codes: []Code{CodeSuccess, CodeNoSubscription}, Properties: AckProperties{ReasonString: []byte("bye")}},
	&Pingreq{},
	&Pingresp{},
	&Disconnect{},
	&Disconnect{Code: CodeDisconnectWithWill, Properties: DisconnectProperties{SessionExpiry: Some[uint32](0)}},
	&Disconnect{Code: CodeServerMoved, Properties: DisconnectProperties{ReasonString: []byte("moved"), ServerReference: []byte("there")}},
	&Auth{Code: CodeContinueAuthentication, Properties: AuthProperties{AuthenticationMethod: []byte("m"), AuthenticationData: []byte{1}}},
}

// TestSamples encodes the samples for every version and reads them back.
func TestSamples(t *testing.T) {
	for _, p := range samples {
		for _, v := range versions {
			if p.Type() == TypeAuth && v < V5 {
				if b := p.Append(nil, v); len(b) != 0 {
					t.Errorf("AUTH for version %v is % X", v, b)
				}
				continue
			}
			b := p.Append(nil, v)
			q, err := decodeFrame(b, v)
			if err != nil {
				t.Fatalf("%s in version %v: % X: %v", render(p), v, b, err)
			}
			if v == V5 && render(q) != render(p) {
				t.Errorf("%s\ncomes back as\n%s", render(p), render(q))
			}
			checkRoundTrip(t, q, v, len(b))
		}
	}
}

// TestCut pins that strings which no length can state are cut, so that the packet stays
// readable.
func TestCut(t *testing.T) {
	long := bytes.Repeat([]byte("x"), 70000)
	p, err := decodeFrame((&Publish{Topic: long, Properties: PublishProperties{ContentType: long}}).Append(nil, V5), V5)
	if err != nil {
		t.Fatal(err)
	}
	if got := p.(*Publish); len(got.Topic) != 65535 || len(got.Properties.ContentType) != 65535 {
		t.Errorf("%d and %d octets", len(got.Topic), len(got.Properties.ContentType))
	}
}

// hot are the packets that a Decoder decodes without allocating.
func hot(t Type) bool {
	return t >= TypePublish && t <= TypePubcomp || t == TypePingreq || t == TypePingresp
}

func TestAllocations(t *testing.T) {
	var d Decoder
	buf := make([]byte, 0, 64<<10)
	for _, p := range samples {
		b := p.Append(nil, V5)
		for _, v := range versions {
			if n := testing.AllocsPerRun(100, func() { buf = p.Append(buf[:0], v) }); n != 0 {
				t.Errorf("encoding %s for version %v allocates %v times", render(p), v, n)
			}
		}
		h, body, _, err := Frame(b, 0)
		if err != nil {
			t.Fatal(err)
		}
		if n := testing.AllocsPerRun(100, func() { _, _, _, _ = Frame(b, 1<<20) }); n != 0 {
			t.Errorf("a frame of %v allocates %v times", p.Type(), n)
		}
		if !hot(p.Type()) {
			continue
		}
		want := 0.0
		if ack := p.Type() > TypePublish && len(body) > 8; ack {
			want = 1 // the user properties of an acknowledgement
		}
		if n := testing.AllocsPerRun(100, func() { _, _ = d.Decode(h, body, V5) }); n > want {
			t.Errorf("decoding %s with a Decoder allocates %v times", render(p), n)
		}
		if n := testing.AllocsPerRun(100, func() { sink, _ = Decode(h, body, V5) }); n > 1+want && len(body) < 60 {
			t.Errorf("decoding %s allocates %v times", render(p), n)
		}
	}
	if n := testing.AllocsPerRun(100, func() {
		_ = ValidTopicName("käse/ü")
		_ = ValidTopicFilter("$share/g/käse/+/ü/#")
		_ = ValidTopicFilter([]byte("käse/+/ü/#"))
		_, _, _ = Shared("$share/g/a/+/b/#")
		_ = Match("a/+/#", []byte("a/b/c"))
	}); n != 0 {
		t.Errorf("topics allocate %v times", n)
	}
}

var sink Packet

func BenchmarkAppend(b *testing.B) {
	for _, p := range samples {
		for _, v := range []Version{V311, V5} {
			b.Run(p.Type().String()+"/"+v.String(), func(b *testing.B) {
				buf := make([]byte, 0, 64<<10)
				b.ReportAllocs()
				for b.Loop() {
					buf = p.Append(buf[:0], v)
				}
			})
		}
	}
}

func BenchmarkDecode(b *testing.B) {
	var d Decoder
	for _, p := range samples {
		for _, v := range []Version{V311, V5} {
			b.Run(p.Type().String()+"/"+v.String(), func(b *testing.B) {
				in := p.Append(nil, v)
				b.ReportAllocs()
				for b.Loop() {
					h, body, _, _ := Frame(in, 0)
					sink, _ = d.Decode(h, body, v)
				}
			})
		}
	}
}

func BenchmarkMatch(b *testing.B) {
	for b.Loop() {
		if !Match("sensors/+/temperature/#", "sensors/kitchen-42/temperature/celsius") {
			b.Fatal("no match")
		}
	}
}
