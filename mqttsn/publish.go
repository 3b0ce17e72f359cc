package mqttsn

// Publish carries an application message [SN-5.4.12].
type Publish struct {
	DUP         bool
	QoS         QoS
	Retain      bool
	TopicIDType TopicIDType
	TopicID     uint16 // of a short topic its two octets, the first in the high octet
	MsgID       uint16 // 0 with QoS 0 and -1
	Data        []byte // may be empty
}

// Type is TypePublish.
func (Publish) Type() Type { return TypePublish }

// Append implements Packet.
func (p Publish) Append(b []byte) []byte {
	b, ok := appendHeader(b, TypePublish, 5+len(p.Data))
	if !ok {
		return b
	}
	f := flagIf(p.DUP, flagDUP) | p.QoS.flags() | flagIf(p.Retain, flagRetain) | p.TopicIDType.flags()
	b = append(b, byte(f))
	b = appendUint16(b, p.TopicID)
	b = appendUint16(b, p.MsgID)
	return append(b, p.Data...)
}

func (p *Publish) decode(r reader) fault {
	f := flags(r.octet("Flags"))
	p.DUP, p.QoS, p.Retain, p.TopicIDType = f.has(flagDUP), f.qos(), f.has(flagRetain), f.topicIDType()
	p.TopicID = r.uint16("TopicId")
	p.MsgID = r.uint16("MsgId")
	p.Data = r.rest()
	return r.end()
}

// Puback acknowledges a QoS 1 PUBLISH, and refuses one of any QoS [SN-5.4.13].
type Puback struct {
	TopicID    uint16
	MsgID      uint16
	ReturnCode ReturnCode
}

// Type is TypePuback.
func (Puback) Type() Type { return TypePuback }

// Append implements Packet.
func (p Puback) Append(b []byte) []byte {
	return appendTopicAck(b, TypePuback, p.TopicID, p.MsgID, p.ReturnCode)
}

func (p *Puback) decode(r reader) fault {
	p.TopicID = r.uint16("TopicId")
	p.MsgID = r.uint16("MsgId")
	p.ReturnCode = ReturnCode(r.octet("ReturnCode"))
	return r.end()
}

// Pubrec is the first answer to a QoS 2 PUBLISH [SN-5.4.14].
type Pubrec struct {
	MsgID uint16
}

// Type is TypePubrec.
func (Pubrec) Type() Type { return TypePubrec }

// Append implements Packet.
func (p Pubrec) Append(b []byte) []byte { return appendMsgID(b, TypePubrec, p.MsgID) }

func (p *Pubrec) decode(r reader) fault {
	p.MsgID = r.uint16("MsgId")
	return r.end()
}

// Pubrel answers PUBREC [SN-5.4.14].
type Pubrel struct {
	MsgID uint16
}

// Type is TypePubrel.
func (Pubrel) Type() Type { return TypePubrel }

// Append implements Packet.
func (p Pubrel) Append(b []byte) []byte { return appendMsgID(b, TypePubrel, p.MsgID) }

func (p *Pubrel) decode(r reader) fault {
	p.MsgID = r.uint16("MsgId")
	return r.end()
}

// Pubcomp answers PUBREL and ends a QoS 2 exchange [SN-5.4.14].
type Pubcomp struct {
	MsgID uint16
}

// Type is TypePubcomp.
func (Pubcomp) Type() Type { return TypePubcomp }

// Append implements Packet.
func (p Pubcomp) Append(b []byte) []byte { return appendMsgID(b, TypePubcomp, p.MsgID) }

func (p *Pubcomp) decode(r reader) fault {
	p.MsgID = r.uint16("MsgId")
	return r.end()
}

// appendMsgID appends a packet that consists of a message id.
func appendMsgID(b []byte, t Type, msgID uint16) []byte {
	b, _ = appendHeader(b, t, 2)
	return appendUint16(b, msgID)
}
