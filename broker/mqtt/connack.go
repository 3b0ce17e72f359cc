package mqtt

// Connack answers a CONNECT [MQTT 5, 3.2].
type Connack struct {
	SessionPresent bool // only with CodeSuccess; not in MQTT 3.1
	// Code is the answer. Before MQTT 5 it is translated to and from the return codes
	// 0 to 5 of those versions; failures they do not know become 3, server
	// unavailable, or the nearest of 4 and 5.
	Code       Code
	Properties ConnackProperties
}

// ConnackProperties are the properties of a CONNACK [MQTT 5, 3.2.2.3].
type ConnackProperties struct {
	SessionExpiry            Optional[uint32] // seconds; absent: as the client asked
	ReceiveMaximum           uint16           // 0: absent, which is 65,535
	MaximumQoS               Optional[QoS]    // 0 or 1; absent is 2
	RetainAvailable          Optional[bool]   // absent is true
	MaximumPacketSize        uint32           // octets; 0: absent, no limit
	AssignedClientID         []byte           // nil: absent
	TopicAliasMaximum        Optional[uint16] // absent is 0
	ReasonString             []byte           // nil: absent
	WildcardAvailable        Optional[bool]   // absent is true
	SubscriptionIDsAvailable Optional[bool]   // absent is true
	SharedAvailable          Optional[bool]   // absent is true
	ServerKeepAlive          Optional[uint16] // seconds; absent: as the client asked
	ResponseInformation      []byte           // nil: absent
	ServerReference          []byte           // nil: absent
	AuthenticationMethod     []byte           // nil: absent
	AuthenticationData       []byte           // nil: absent
	User                     []UserProperty
}

// Type is TypeConnack.
func (p *Connack) Type() Type { return TypeConnack }

// Append adds the packet to b.
func (p *Connack) Append(b []byte, v Version) []byte {
	b, at := begin(b, TypeConnack, 0)
	b = append(b, bit(p.SessionPresent && v != V31, 0))
	if v < V5 {
		b = append(b, p.Code.returnCode())
		return finish(b, at, 0)
	}
	b = append(b, byte(p.Code))
	b = p.Properties.append(b)
	return finish(b, at, 0)
}

func (p *Connack) decode(r *reader) {
	flags := r.byte("acknowledge flags")
	if r.version == V31 {
		flags = 0 // reserved there, without a rule
	}
	if flags > 1 {
		r.malformed("acknowledge flags", "reserved bits are set") // [MQTT-3.2.2-1]
	}
	p.SessionPresent = flags == 1
	if r.version < V5 {
		n := r.byte("return code")
		if int(n) >= len(connackCodes) {
			r.protocolError("return code", "is reserved")
			return
		}
		p.Code = connackCodes[n]
	} else {
		p.Code = r.code(inConnack)
		p.Properties.decode(r)
	}
	if p.SessionPresent && p.Code != CodeSuccess {
		r.protocolError("acknowledge flags", "session present in a refusal") // [MQTT-3.2.2-6]
	}
}

func (p *ConnackProperties) append(b []byte) []byte {
	b, at := beginProperties(b)
	b = appendOptionalUint32(b, PropSessionExpiry, p.SessionExpiry)
	b = appendUint16(b, PropReceiveMaximum, p.ReceiveMaximum)
	b = appendOptionalByte(b, PropMaximumQoS, Optional[byte]{byte(p.MaximumQoS.Value), p.MaximumQoS.Set})
	b = appendOptionalBool(b, PropRetainAvailable, p.RetainAvailable)
	b = appendUint32(b, PropMaximumPacketSize, p.MaximumPacketSize)
	b = appendOptionalBinary(b, PropAssignedClientID, p.AssignedClientID)
	b = appendOptionalUint16(b, PropTopicAliasMaximum, p.TopicAliasMaximum)
	b = appendOptionalBinary(b, PropReasonString, p.ReasonString)
	b = appendOptionalBool(b, PropWildcardAvailable, p.WildcardAvailable)
	b = appendOptionalBool(b, PropSubscriptionIDs, p.SubscriptionIDsAvailable)
	b = appendOptionalBool(b, PropSharedAvailable, p.SharedAvailable)
	b = appendOptionalUint16(b, PropServerKeepAlive, p.ServerKeepAlive)
	b = appendOptionalBinary(b, PropResponseInformation, p.ResponseInformation)
	b = appendOptionalBinary(b, PropServerReference, p.ServerReference)
	b = appendOptionalBinary(b, PropAuthenticationMethod, p.AuthenticationMethod)
	b = appendOptionalBinary(b, PropAuthenticationData, p.AuthenticationData)
	b = appendUser(b, p.User)
	return finish(b, at, 0)
}

func (p *ConnackProperties) decode(r *reader) {
	r.beginProperties()
	for id := r.property(); id != 0; id = r.property() {
		switch id {
		case PropSessionExpiry:
			p.SessionExpiry = r.optionalUint32()
		case PropReceiveMaximum:
			p.ReceiveMaximum = r.nonZero16(CodeProtocolError)
		case PropMaximumQoS:
			p.MaximumQoS = Some(QoS(r.optionalByte(1).Value))
		case PropRetainAvailable:
			p.RetainAvailable = r.optionalBool()
		case PropMaximumPacketSize:
			p.MaximumPacketSize = r.nonZero32()
		case PropAssignedClientID:
			p.AssignedClientID = r.string("")
		case PropTopicAliasMaximum:
			p.TopicAliasMaximum = r.optionalUint16()
		case PropReasonString:
			p.ReasonString = r.string("")
		case PropWildcardAvailable:
			p.WildcardAvailable = r.optionalBool()
		case PropSubscriptionIDs:
			p.SubscriptionIDsAvailable = r.optionalBool()
		case PropSharedAvailable:
			p.SharedAvailable = r.optionalBool()
		case PropServerKeepAlive:
			p.ServerKeepAlive = r.optionalUint16()
		case PropResponseInformation:
			p.ResponseInformation = r.string("")
		case PropServerReference:
			p.ServerReference = r.string("")
		case PropAuthenticationMethod:
			p.AuthenticationMethod = r.string("")
		case PropAuthenticationData:
			p.AuthenticationData = r.binary("")
		case PropUser:
			p.User = r.user(p.User)
		default:
			r.invalidProperty()
		}
	}
	r.endProperties()
}
