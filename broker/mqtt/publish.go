package mqtt

import "encoding/binary"

// Publish carries a message [MQTT 5, 3.3].
type Publish struct {
	DUP        bool
	QoS        QoS
	Retain     bool
	Topic      []byte // empty only in MQTT 5 with a topic alias
	PacketID   uint16 // of no meaning with QoS 0
	Payload    []byte
	Properties PublishProperties
}

// PublishProperties are the properties of a PUBLISH [MQTT 5, 3.3.2.3].
type PublishProperties struct {
	PayloadFormat   Optional[byte]   // 0 octets, 1 UTF-8 text; absent is 0
	MessageExpiry   Optional[uint32] // seconds; absent is never
	TopicAlias      uint16           // 0: absent
	ResponseTopic   []byte           // nil: absent
	CorrelationData []byte           // nil: absent
	ContentType     []byte           // nil: absent
	SubscriptionIDs []uint32         // only from a server; 1 to 268,435,455 each
	User            []UserProperty
}

// Type is TypePublish.
func (p *Publish) Type() Type { return TypePublish }

// The bits of the PUBLISH header flags [MQTT 5, 3.3.1].
const (
	flagRetain = 1 << 0
	shiftQoS   = 1
	flagDUP    = 1 << 3
)

// Append adds the packet to b.
func (p *Publish) Append(b []byte, v Version) []byte {
	b, at := begin(b, TypePublish, bit(p.Retain, 0)|byte(p.QoS)<<shiftQoS|bit(p.DUP, 3))
	b = appendBinary(b, p.Topic)
	if p.QoS > QoS0 {
		b = binary.BigEndian.AppendUint16(b, p.PacketID)
	}
	if v >= V5 {
		b = p.Properties.append(b)
	}
	b = finish(b, at, len(p.Payload)) // before the payload is there to be moved
	return append(b, p.Payload...)
}

func (p *Publish) decode(r *reader) {
	f := r.h.Flags
	p.DUP, p.QoS, p.Retain = f&flagDUP != 0, QoS(f>>shiftQoS&3), f&flagRetain != 0
	switch {
	case p.QoS > QoS2:
		r.malformed("QoS", "is 3") // [MQTT-3.3.1-4]
	case p.QoS == QoS0 && p.DUP:
		r.malformed("DUP", "is set with QoS 0") // [MQTT-3.3.1-2]
	}
	p.Topic = r.topicName("topic name")
	if p.QoS > QoS0 {
		p.PacketID = r.packetID()
	}
	if r.version >= V5 {
		p.Properties.decode(r)
	}
	if len(p.Topic) == 0 {
		if r.version < V5 {
			r.malformed("topic name", "is empty") // [MQTT-4.7.3-1]
		} else if p.Properties.TopicAlias == 0 {
			r.protocolError("topic name", "is empty, without a topic alias") // [MQTT 5, 3.3.2.1]
		}
	}
	p.Payload, r.b = r.b, nil
}

// reset empties the packet for another decode and keeps the lists' memory, unless it is
// large: nobody should hold what one odd packet needed.
func (p *Publish) reset() {
	const keep = 32
	user, ids := p.Properties.User, p.Properties.SubscriptionIDs
	clear(user) // they refer to the packet's octets
	*p = Publish{}
	if cap(user) <= keep {
		p.Properties.User = user[:0]
	}
	if cap(ids) <= keep {
		p.Properties.SubscriptionIDs = ids[:0]
	}
}

func (p *PublishProperties) append(b []byte) []byte {
	b, at := beginProperties(b)
	b = appendOptionalByte(b, PropPayloadFormat, p.PayloadFormat)
	b = appendOptionalUint32(b, PropMessageExpiry, p.MessageExpiry)
	b = appendUint16(b, PropTopicAlias, p.TopicAlias)
	b = appendOptionalBinary(b, PropResponseTopic, p.ResponseTopic)
	b = appendOptionalBinary(b, PropCorrelationData, p.CorrelationData)
	b = appendOptionalBinary(b, PropContentType, p.ContentType)
	for _, id := range p.SubscriptionIDs {
		b = appendSubscriptionID(b, id)
	}
	b = appendUser(b, p.User)
	return finish(b, at, 0)
}

func (p *PublishProperties) decode(r *reader) {
	r.beginProperties()
	for id := r.property(); id != 0; id = r.property() {
		switch id {
		case PropPayloadFormat:
			p.PayloadFormat = r.optionalByte(1)
		case PropMessageExpiry:
			p.MessageExpiry = r.optionalUint32()
		case PropTopicAlias:
			p.TopicAlias = r.nonZero16(CodeTopicAlias) // [MQTT-3.3.2-8]
		case PropResponseTopic:
			p.ResponseTopic = r.responseTopic()
		case PropCorrelationData:
			p.CorrelationData = r.binary("")
		case PropContentType:
			p.ContentType = r.string("")
		case PropSubscriptionID:
			if r.from == FromClient {
				r.protocolError("", "comes from a client") // [MQTT-3.3.4-6]
			}
			p.SubscriptionIDs = append(p.SubscriptionIDs, r.subscriptionID())
		case PropUser:
			p.User = r.user(p.User)
		default:
			r.invalidProperty()
		}
	}
	r.endProperties()
}

// responseTopic is a topic name, not a filter [MQTT-3.3.2-14] [MQTT-3.1.3-15].
func (r *reader) responseTopic() []byte {
	v := r.topicName("")
	if len(v) == 0 {
		r.protocolError("", "is empty") // [MQTT-4.7.3-1]
	}
	return v
}
