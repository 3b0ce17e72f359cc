package mqttsn

// Register ties a topic name to a topic id [SN-5.4.10].
type Register struct {
	TopicID   uint16 // 0 from a client, the assigned id from a gateway
	MsgID     uint16
	TopicName []byte // a name without wildcards; the codec accepts any octets, and none
}

// Type is TypeRegister.
func (Register) Type() Type { return TypeRegister }

// Append implements Packet.
func (p Register) Append(b []byte) []byte {
	b, ok := appendHeader(b, TypeRegister, 4+len(p.TopicName))
	if !ok {
		return b
	}
	b = appendUint16(b, p.TopicID)
	b = appendUint16(b, p.MsgID)
	return append(b, p.TopicName...)
}

func (p *Register) decode(r reader) fault {
	p.TopicID = r.uint16("TopicId")
	p.MsgID = r.uint16("MsgId")
	p.TopicName = r.rest()
	return r.end()
}

// Regack answers REGISTER [SN-5.4.11].
type Regack struct {
	TopicID    uint16 // the id to use in PUBLISH
	MsgID      uint16
	ReturnCode ReturnCode
}

// Type is TypeRegack.
func (Regack) Type() Type { return TypeRegack }

// Append implements Packet.
func (p Regack) Append(b []byte) []byte {
	return appendTopicAck(b, TypeRegack, p.TopicID, p.MsgID, p.ReturnCode)
}

func (p *Regack) decode(r reader) fault {
	p.TopicID = r.uint16("TopicId")
	p.MsgID = r.uint16("MsgId")
	p.ReturnCode = ReturnCode(r.octet("ReturnCode"))
	return r.end()
}

// appendTopicAck appends an acknowledgement that repeats a topic id.
func appendTopicAck(b []byte, t Type, topicID, msgID uint16, c ReturnCode) []byte {
	b, _ = appendHeader(b, t, 5)
	b = appendUint16(b, topicID)
	b = appendUint16(b, msgID)
	return append(b, byte(c))
}
