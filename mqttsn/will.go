package mqttsn

// WillTopicReq asks the client for its will topic [SN-5.4.6].
type WillTopicReq struct{}

// Type is TypeWillTopicReq.
func (WillTopicReq) Type() Type { return TypeWillTopicReq }

// Append implements Packet.
func (WillTopicReq) Append(b []byte) []byte { return appendEmpty(b, TypeWillTopicReq) }

func (*WillTopicReq) decode(r reader) fault { return r.end() }

// WillTopic gives the will topic [SN-5.4.7]. An empty Topic is the empty form, which
// deletes will topic and will message; QoS and Retain are then 0 and false.
type WillTopic struct {
	QoS    QoS
	Retain bool
	Topic  []byte
}

// Type is TypeWillTopic.
func (WillTopic) Type() Type { return TypeWillTopic }

// Append implements Packet.
func (p WillTopic) Append(b []byte) []byte {
	return appendWillTopic(b, TypeWillTopic, p.QoS, p.Retain, p.Topic)
}

func (p *WillTopic) decode(r reader) fault {
	p.QoS, p.Retain, p.Topic = r.willTopic()
	return r.end()
}

// WillMsgReq asks the client for its will message [SN-5.4.8].
type WillMsgReq struct{}

// Type is TypeWillMsgReq.
func (WillMsgReq) Type() Type { return TypeWillMsgReq }

// Append implements Packet.
func (WillMsgReq) Append(b []byte) []byte { return appendEmpty(b, TypeWillMsgReq) }

func (*WillMsgReq) decode(r reader) fault { return r.end() }

// WillMsg gives the will message, which may be empty [SN-5.4.9].
type WillMsg struct {
	Message []byte
}

// Type is TypeWillMsg.
func (WillMsg) Type() Type { return TypeWillMsg }

// Append implements Packet.
func (p WillMsg) Append(b []byte) []byte { return appendOctets(b, TypeWillMsg, p.Message) }

func (p *WillMsg) decode(r reader) fault {
	p.Message = r.rest()
	return r.end()
}

// WillTopicUpd replaces the stored will topic [SN-5.4.22]. An empty Topic is the empty
// form, which deletes will topic and will message; QoS and Retain are then 0 and false.
type WillTopicUpd struct {
	QoS    QoS
	Retain bool
	Topic  []byte
}

// Type is TypeWillTopicUpd.
func (WillTopicUpd) Type() Type { return TypeWillTopicUpd }

// Append implements Packet.
func (p WillTopicUpd) Append(b []byte) []byte {
	return appendWillTopic(b, TypeWillTopicUpd, p.QoS, p.Retain, p.Topic)
}

func (p *WillTopicUpd) decode(r reader) fault {
	p.QoS, p.Retain, p.Topic = r.willTopic()
	return r.end()
}

// WillTopicResp answers WILLTOPICUPD [SN-5.4.24].
type WillTopicResp struct {
	ReturnCode ReturnCode
}

// Type is TypeWillTopicResp.
func (WillTopicResp) Type() Type { return TypeWillTopicResp }

// Append implements Packet.
func (p WillTopicResp) Append(b []byte) []byte {
	return appendReturnCode(b, TypeWillTopicResp, p.ReturnCode)
}

func (p *WillTopicResp) decode(r reader) fault {
	p.ReturnCode = ReturnCode(r.octet("ReturnCode"))
	return r.end()
}

// WillMsgUpd replaces the stored will message [SN-5.4.23]. An empty one deletes
// nothing: the will message becomes empty.
type WillMsgUpd struct {
	Message []byte
}

// Type is TypeWillMsgUpd.
func (WillMsgUpd) Type() Type { return TypeWillMsgUpd }

// Append implements Packet.
func (p WillMsgUpd) Append(b []byte) []byte { return appendOctets(b, TypeWillMsgUpd, p.Message) }

func (p *WillMsgUpd) decode(r reader) fault {
	p.Message = r.rest()
	return r.end()
}

// WillMsgResp answers WILLMSGUPD [SN-5.4.25].
type WillMsgResp struct {
	ReturnCode ReturnCode
}

// Type is TypeWillMsgResp.
func (WillMsgResp) Type() Type { return TypeWillMsgResp }

// Append implements Packet.
func (p WillMsgResp) Append(b []byte) []byte {
	return appendReturnCode(b, TypeWillMsgResp, p.ReturnCode)
}

func (p *WillMsgResp) decode(r reader) fault {
	p.ReturnCode = ReturnCode(r.octet("ReturnCode"))
	return r.end()
}

func appendWillTopic(b []byte, t Type, q QoS, retain bool, topic []byte) []byte {
	if len(topic) == 0 {
		return appendEmpty(b, t) // the empty form has no Flags either [SN-5.4.7]
	}
	b, ok := appendHeader(b, t, 1+len(topic))
	if !ok {
		return b
	}
	b = append(b, byte(q.flags()|flagIf(retain, flagRetain)))
	return append(b, topic...)
}

// willTopic reads Flags and will topic. Flags without a topic, which the specification
// does not define, are read as the empty form.
func (r *reader) willTopic() (QoS, bool, []byte) {
	if r.empty() {
		return 0, false, nil
	}
	f := flags(r.octet("Flags"))
	topic := r.rest()
	if len(topic) == 0 {
		return 0, false, nil
	}
	return f.qos(), f.has(flagRetain), topic
}

// appendEmpty appends a packet without a body.
func appendEmpty(b []byte, t Type) []byte {
	b, _ = appendHeader(b, t, 0)
	return b
}

// appendOctets appends a packet whose body is one field.
func appendOctets(b []byte, t Type, body []byte) []byte {
	b, ok := appendHeader(b, t, len(body))
	if !ok {
		return b
	}
	return append(b, body...)
}
