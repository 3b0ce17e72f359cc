package mqttsn

// Subscribe asks for the messages of a topic [SN-5.4.15].
type Subscribe struct {
	DUP         bool
	QoS         QoS // the highest that the client wants; QoSMinusOne has no meaning here
	TopicIDType TopicIDType
	MsgID       uint16
	TopicID     uint16 // with TopicPredefined and TopicShort; of a short topic its two octets
	TopicName   []byte // with TopicNormal a name or filter, with TopicReserved what was there
}

// Type is TypeSubscribe.
func (Subscribe) Type() Type { return TypeSubscribe }

// Append implements Packet.
func (p Subscribe) Append(b []byte) []byte {
	f := flagIf(p.DUP, flagDUP) | p.QoS.flags() | p.TopicIDType.flags()
	return appendSubscription(b, TypeSubscribe, f, p.MsgID, p.TopicID, p.TopicName)
}

func (p *Subscribe) decode(r reader) fault {
	f := flags(r.octet("Flags"))
	p.DUP, p.QoS, p.TopicIDType = f.has(flagDUP), f.qos(), f.topicIDType()
	p.MsgID = r.uint16("MsgId")
	p.TopicID, p.TopicName = r.subscription(p.TopicIDType)
	return r.end()
}

// Suback answers SUBSCRIBE [SN-5.4.16].
type Suback struct {
	QoS        QoS    // granted
	TopicID    uint16 // the id to expect in PUBLISH; 0 for a filter with wildcards
	MsgID      uint16
	ReturnCode ReturnCode
}

// Type is TypeSuback.
func (Suback) Type() Type { return TypeSuback }

// Append implements Packet.
func (p Suback) Append(b []byte) []byte {
	b, _ = appendHeader(b, TypeSuback, 6)
	b = append(b, byte(p.QoS.flags()))
	b = appendUint16(b, p.TopicID)
	b = appendUint16(b, p.MsgID)
	return append(b, byte(p.ReturnCode))
}

func (p *Suback) decode(r reader) fault {
	p.QoS = flags(r.octet("Flags")).qos()
	p.TopicID = r.uint16("TopicId")
	p.MsgID = r.uint16("MsgId")
	p.ReturnCode = ReturnCode(r.octet("ReturnCode"))
	return r.end()
}

// Unsubscribe ends a subscription [SN-5.4.17].
type Unsubscribe struct {
	TopicIDType TopicIDType
	MsgID       uint16
	TopicID     uint16 // with TopicPredefined and TopicShort; of a short topic its two octets
	TopicName   []byte // with TopicNormal a name or filter, with TopicReserved what was there
}

// Type is TypeUnsubscribe.
func (Unsubscribe) Type() Type { return TypeUnsubscribe }

// Append implements Packet.
func (p Unsubscribe) Append(b []byte) []byte {
	return appendSubscription(b, TypeUnsubscribe, p.TopicIDType.flags(), p.MsgID, p.TopicID, p.TopicName)
}

func (p *Unsubscribe) decode(r reader) fault {
	p.TopicIDType = flags(r.octet("Flags")).topicIDType()
	p.MsgID = r.uint16("MsgId")
	p.TopicID, p.TopicName = r.subscription(p.TopicIDType)
	return r.end()
}

// Unsuback answers UNSUBSCRIBE; it has no return code [SN-5.4.18].
type Unsuback struct {
	MsgID uint16
}

// Type is TypeUnsuback.
func (Unsuback) Type() Type { return TypeUnsuback }

// Append implements Packet.
func (p Unsuback) Append(b []byte) []byte { return appendMsgID(b, TypeUnsuback, p.MsgID) }

func (p *Unsuback) decode(r reader) fault {
	p.MsgID = r.uint16("MsgId")
	return r.end()
}

// hasTopicID reports whether SUBSCRIBE and UNSUBSCRIBE carry a topic id and not a name.
func (t TopicIDType) hasTopicID() bool { return t == TopicPredefined || t == TopicShort }

// appendSubscription appends a SUBSCRIBE or UNSUBSCRIBE. Their MsgId stands before the
// topic, unlike in REGISTER and PUBLISH.
func appendSubscription(b []byte, t Type, f flags, msgID, topicID uint16, name []byte) []byte {
	n := len(name)
	if f.topicIDType().hasTopicID() {
		n = 2
	}
	b, ok := appendHeader(b, t, 3+n)
	if !ok {
		return b
	}
	b = append(b, byte(f))
	b = appendUint16(b, msgID)
	if f.topicIDType().hasTopicID() {
		return appendUint16(b, topicID)
	}
	return append(b, name...)
}

// subscription reads the topic of a SUBSCRIBE or UNSUBSCRIBE.
func (r *reader) subscription(t TopicIDType) (topicID uint16, name []byte) {
	if t.hasTopicID() {
		return r.uint16("TopicId"), nil
	}
	return 0, r.restNotEmpty("TopicName")
}
