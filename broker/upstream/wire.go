package upstream

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/eclipse/paho.golang/packets"

	"mqttsn-gateway/broker"
)

// This file is all that knows the packets of paho.golang: what it needs of each packet
// from the broker it puts into an incoming, and it appends our own packets to a slice.

// The kinds of packet that a broker sends.
const (
	kindConnack    = packets.CONNACK
	kindPublish    = packets.PUBLISH
	kindPuback     = packets.PUBACK
	kindPubrec     = packets.PUBREC
	kindPubrel     = packets.PUBREL
	kindPubcomp    = packets.PUBCOMP
	kindSuback     = packets.SUBACK
	kindUnsuback   = packets.UNSUBACK
	kindPingresp   = packets.PINGRESP
	kindDisconnect = packets.DISCONNECT
)

// incoming is a packet from the broker, as far as we look at it.
type incoming struct {
	kind    byte
	id      uint16
	code    broker.Code
	reason  string // the broker's own words, may be empty
	dup     bool
	qos     byte
	retain  bool
	message *broker.Message
	present bool // CONNACK: the broker had a session
	limits  limits
}

// errOldBroker says that the broker answered as MQTT 3.1.1 has it: no property length.
var errOldBroker = errors.New("the broker does not speak MQTT 5: it answered CONNECT like an MQTT 3.1.1 broker")

// malformed is an error in what the broker sent.
func malformed(what string) error { return fmt.Errorf("malformed packet from the broker: %s", what) }

// decoder has what paho.golang wants on the heap for each packet. Lines borrow one.
type decoder struct {
	props packets.Properties
	body  bytes.Buffer
}

var decoders = sync.Pool{New: func() any { return new(decoder) }}

// decode reads the body of a packet whose first octet is head.
func decode(in *incoming, head byte, body []byte) error {
	d := decoders.Get().(*decoder)
	defer decoders.Put(d)
	return d.decode(in, head, body)
}

func (d *decoder) decode(in *incoming, head byte, body []byte) (err error) {
	// A property length or identifier of more than 31 bits becomes a negative int on a
	// 32-bit machine, with which packets (v0.23.0, decodeVBI) panics.
	defer func() {
		if r := recover(); r != nil {
			err = malformed(fmt.Sprint(r))
		}
	}()
	*in = incoming{kind: head >> 4}
	d.props = packets.Properties{}
	d.body = *bytes.NewBuffer(body)
	switch in.kind {
	case kindPublish:
		return d.publish(in, head)
	case kindConnack:
		if len(body) == 2 {
			return errOldBroker
		}
		p := packets.Connack{Properties: &d.props}
		err = p.Unpack(&d.body)
		in.code, in.present = broker.Code(p.ReasonCode), p.SessionPresent
		in.limits = limitsOf(&d.props)
	case kindPuback:
		p := packets.Puback{Properties: &d.props}
		err = p.Unpack(&d.body)
		in.id, in.code = p.PacketID, broker.Code(p.ReasonCode)
	case kindPubrec:
		p := packets.Pubrec{Properties: &d.props}
		err = p.Unpack(&d.body)
		in.id, in.code = p.PacketID, broker.Code(p.ReasonCode)
	case kindPubrel:
		p := packets.Pubrel{Properties: &d.props}
		err = p.Unpack(&d.body)
		in.id, in.code = p.PacketID, broker.Code(p.ReasonCode)
	case kindPubcomp:
		p := packets.Pubcomp{Properties: &d.props}
		err = p.Unpack(&d.body)
		in.id, in.code = p.PacketID, broker.Code(p.ReasonCode)
	case kindSuback:
		p := packets.Suback{Properties: &d.props}
		err = p.Unpack(&d.body)
		in.one(p.PacketID, p.Reasons, &err)
	case kindUnsuback:
		p := packets.Unsuback{Properties: &d.props}
		err = p.Unpack(&d.body)
		in.one(p.PacketID, p.Reasons, &err)
	case kindPingresp:
	case kindDisconnect:
		if len(body) == 0 { // normal disconnection; Unpack does not know that form
			return nil
		}
		p := packets.Disconnect{Properties: &d.props}
		err = p.Unpack(&d.body)
		in.code = broker.Code(p.ReasonCode)
	default:
		err = fmt.Errorf("type %d is not for clients", in.kind)
	}
	if err != nil {
		return malformed(err.Error())
	}
	in.reason = d.props.ReasonString
	return nil
}

// one takes the code of a SUBACK or UNSUBACK: we ask for one filter at a time.
func (in *incoming) one(id uint16, codes []byte, err *error) {
	switch {
	case *err != nil:
	case len(codes) != 1:
		*err = fmt.Errorf("%d reason codes for one filter", len(codes))
	default:
		in.id, in.code = id, broker.Code(codes[0])
	}
}

func (d *decoder) publish(in *incoming, head byte) error {
	p := packets.Publish{Properties: &d.props, QoS: head >> 1 & 3}
	if err := p.Unpack(&d.body); err != nil {
		return malformed("PUBLISH: " + err.Error())
	}
	switch {
	case p.QoS > 2:
		return malformed("PUBLISH with QoS 3")
	case p.QoS > 0 && p.PacketID == 0:
		return malformed("PUBLISH with packet identifier 0")
	case d.props.TopicAlias != nil:
		return malformed("PUBLISH with a topic alias, which we do not allow")
	}
	in.id, in.qos, in.dup, in.retain = p.PacketID, p.QoS, head&8 != 0, head&1 != 0
	// The clone is as long as the payload: Unpack leaves at least 512 octets.
	in.message = &broker.Message{Topic: p.Topic, Payload: bytes.Clone(p.Payload), QoS: p.QoS, Retain: in.retain}
	if e := d.props.MessageExpiry; e != nil {
		in.message.Expires = time.Now().Add(time.Duration(*e) * time.Second)
	}
	if !validTopic(p.Topic) {
		in.code = broker.CodeTopicName
	}
	return nil
}

// validTopic reports whether a topic may stand in a PUBLISH [MQTT-3.3.2].
func validTopic(topic string) bool {
	return topic != "" && utf8.ValidString(topic) && !strings.ContainsAny(topic, "\x00+#")
}

func limitsOf(p *packets.Properties) limits {
	l := limits{receiveMaximum: 65535, maxQoS: 2, expiry: -1}
	if p.ReceiveMaximum != nil && *p.ReceiveMaximum > 0 {
		l.receiveMaximum = int(*p.ReceiveMaximum)
	}
	if p.MaximumPacketSize != nil {
		l.maxPacket = int(min(*p.MaximumPacketSize, 1<<28))
	}
	if p.MaximumQOS != nil {
		l.maxQoS = *p.MaximumQOS
	}
	l.noRetain = p.RetainAvailable != nil && *p.RetainAvailable == 0
	l.noWildcards = p.WildcardSubAvailable != nil && *p.WildcardSubAvailable == 0
	l.noShared = p.SharedSubAvailable != nil && *p.SharedSubAvailable == 0
	if p.ServerKeepAlive != nil {
		l.keepAlive = time.Duration(*p.ServerKeepAlive) * time.Second
	}
	if p.SessionExpiryInterval != nil {
		l.expiry = time.Duration(*p.SessionExpiryInterval) * time.Second
	}
	return l
}

// noProperties is shared by all packets without properties; nobody writes to it.
var noProperties packets.Properties

// appendPacket appends a packet. A buffer in memory does not fail.
func appendPacket(out []byte, p interface {
	WriteTo(io.Writer) (int64, error)
}) []byte {
	b := bytes.NewBuffer(out)
	_, _ = p.WriteTo(b)
	return b.Bytes()
}

func appendPublish(out []byte, r *broker.Request, id uint16) []byte {
	return appendPacket(out, &packets.Publish{
		Topic: r.Topic, Payload: r.Payload, QoS: r.QoS, Retain: r.Retain, PacketID: id, Properties: properties(r.User),
	})
}

func properties(user []broker.UserProperty) *packets.Properties {
	if len(user) == 0 {
		return &noProperties
	}
	p := &packets.Properties{User: make([]packets.User, len(user))}
	for i, u := range user {
		p.User[i] = packets.User{Key: string(u.Name), Value: string(u.Value)}
	}
	return p
}

func appendPuback(out []byte, id uint16, code broker.Code) []byte {
	return appendPacket(out, &packets.Puback{PacketID: id, ReasonCode: byte(code), Properties: &noProperties})
}

func appendPubrec(out []byte, id uint16, code broker.Code) []byte {
	return appendPacket(out, &packets.Pubrec{PacketID: id, ReasonCode: byte(code), Properties: &noProperties})
}

func appendPubrel(out []byte, id uint16, code broker.Code) []byte {
	return appendPacket(out, &packets.Pubrel{PacketID: id, ReasonCode: byte(code), Properties: &noProperties})
}

func appendPubcomp(out []byte, id uint16, code broker.Code) []byte {
	return appendPacket(out, &packets.Pubcomp{PacketID: id, ReasonCode: byte(code), Properties: &noProperties})
}

// appendSubscribe asks for one filter in the manner of MQTT 3.1.1: retained messages are
// sent, with the flag; other messages come without it, and our own come back.
func appendSubscribe(out []byte, filter string, qos byte, id uint16) []byte {
	return appendPacket(out, &packets.Subscribe{
		PacketID: id, Subscriptions: []packets.SubOptions{{Topic: filter, QoS: qos}}, Properties: &noProperties,
	})
}

func appendUnsubscribe(out []byte, filter string, id uint16) []byte {
	return appendPacket(out, &packets.Unsubscribe{PacketID: id, Topics: []string{filter}, Properties: &noProperties})
}

func appendPingreq(out []byte) []byte { return appendPacket(out, &packets.Pingreq{}) }

// appendDisconnect says goodbye; if forget, the broker ends the session at once.
func appendDisconnect(out []byte, forget bool) []byte {
	p := &packets.Disconnect{Properties: &noProperties}
	if forget {
		p.Properties = &packets.Properties{SessionExpiryInterval: new(uint32)}
	}
	return appendPacket(out, p)
}

// hello is what a CONNECT says.
type hello struct {
	clientID       string
	username       string
	password       []byte
	cleanStart     bool
	expiry         time.Duration
	keepAlive      time.Duration
	receiveMaximum int
	maxPacket      int
}

// appendConnect never carries a will: see the package comment.
func appendConnect(out []byte, h *hello) []byte {
	expiry, receive, size := uint32(h.expiry/time.Second), uint16(h.receiveMaximum), uint32(h.maxPacket)
	return appendPacket(out, &packets.Connect{
		ProtocolName: "MQTT", ProtocolVersion: 5,
		ClientID: h.clientID, CleanStart: h.cleanStart, KeepAlive: uint16(h.keepAlive / time.Second),
		UsernameFlag: h.username != "", Username: h.username,
		PasswordFlag: h.password != nil, Password: h.password,
		Properties: &packets.Properties{
			SessionExpiryInterval: &expiry, ReceiveMaximum: &receive, MaximumPacketSize: &size,
		},
	})
}
