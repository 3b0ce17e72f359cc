package mqttsn

import (
	"bytes"
	"reflect"
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
	&Register{TopicID: 5, MsgID: 9, TopicName: []byte("s/temp")},
	&Regack{TopicID: 5, MsgID: 1, ReturnCode: NotSupported},
	&Publish{DUP: true, QoS: QoS1, TopicID: 5, MsgID: 7, Data: []byte("hi")},
	&Publish{QoS: QoSMinusOne, Retain: true, TopicIDType: TopicShort, TopicID: 0x6162, Data: []byte("hi")},
	&Publish{QoS: QoS2, TopicIDType: TopicPredefined, TopicID: 10, MsgID: 8, Data: bytes.Repeat([]byte("x"), 300)},
	&Puback{TopicID: 5, MsgID: 7, ReturnCode: InvalidTopicID},
	&Pubrec{MsgID: 8},
	&Pubrel{MsgID: 8},
	&Pubcomp{MsgID: 8},
	&Subscribe{DUP: true, QoS: QoS1, MsgID: 3, TopicName: []byte("s/#")},
	&Subscribe{QoS: QoS2, TopicIDType: TopicPredefined, MsgID: 5, TopicID: 10},
	&Subscribe{TopicIDType: TopicShort, MsgID: 6, TopicID: 0x6162},
	&Suback{QoS: QoS1, TopicID: 5, MsgID: 3},
	&Unsubscribe{MsgID: 10, TopicName: []byte("s/temp")},
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

// equal compares packets; an absent field equals an empty one.
func equal(a, b Packet) bool {
	return a.Type() == b.Type() && reflect.DeepEqual(a, b) || bytes.Equal(a.Append(nil), b.Append(nil))
}

func TestRoundTrip(t *testing.T) {
	for _, want := range samples {
		b := want.Append(nil)
		got, err := Decode(b)
		if err != nil || !equal(got, want) {
			t.Errorf("Decode(% X) = %+v, %v, want %+v", b, got, err, want)
		}
	}
}
