package mqtt

import "encoding/binary"

// Connect opens a connection [MQTT 5, 3.1].
type Connect struct {
	// Version is what a CONNECT that was read asked for. Append goes by its argument.
	Version Version
	// CleanStart forgets an earlier session. Before MQTT 5 (Clean Session) it also
	// says that the session ends with the connection.
	CleanStart bool
	KeepAlive  uint16 // seconds; 0 is off
	ClientID   []byte // may be empty
	HasWill    bool
	Will       Will   // of no meaning without HasWill
	Username   []byte // nil: absent
	Password   []byte // nil: absent; before MQTT 5 only with a Username
	Properties ConnectProperties
}

// Will is the message that the server publishes when the client is lost.
type Will struct {
	QoS        QoS
	Retain     bool
	Topic      []byte
	Payload    []byte
	Properties WillProperties
}

// ConnectProperties are the properties of a CONNECT [MQTT 5, 3.1.2.11].
type ConnectProperties struct {
	SessionExpiry        Optional[uint32] // seconds; absent is 0, 0xFFFFFFFF is for ever
	ReceiveMaximum       uint16           // 0: absent, which is 65,535
	MaximumPacketSize    uint32           // octets; 0: absent, no limit
	TopicAliasMaximum    Optional[uint16] // absent is 0
	RequestResponse      Optional[bool]   // absent is false
	RequestProblem       Optional[bool]   // absent is true
	AuthenticationMethod []byte           // nil: absent
	AuthenticationData   []byte           // nil: absent; only with a method
	User                 []UserProperty
}

// WillProperties are the properties of a will [MQTT 5, 3.1.3.2].
type WillProperties struct {
	Delay           Optional[uint32] // seconds; absent is 0
	PayloadFormat   Optional[byte]   // 0 octets, 1 UTF-8 text; absent is 0
	MessageExpiry   Optional[uint32] // seconds; absent is never
	ContentType     []byte           // nil: absent
	ResponseTopic   []byte           // nil: absent
	CorrelationData []byte           // nil: absent
	User            []UserProperty
}

// Type is TypeConnect.
func (p *Connect) Type() Type { return TypeConnect }

// The bits of the connect flags [MQTT 5, 3.1.2.3].
const (
	flagReserved   = 1 << 0
	flagCleanStart = 1 << 1
	flagWill       = 1 << 2
	shiftWillQoS   = 3
	flagWillRetain = 1 << 5
	flagPassword   = 1 << 6
	flagUsername   = 1 << 7
)

// Append adds the packet to b.
func (p *Connect) Append(b []byte, v Version) []byte {
	b, at := begin(b, TypeConnect, 0)
	if v == V31 {
		b = append(b, "\x00\x06MQIsdp"...)
	} else {
		b = append(b, "\x00\x04MQTT"...)
	}
	b = append(b, byte(v), p.flags())
	b = binary.BigEndian.AppendUint16(b, p.KeepAlive)
	if v >= V5 {
		b = p.Properties.append(b)
	}
	b = appendBinary(b, p.ClientID)
	if p.HasWill {
		if v >= V5 {
			b = p.Will.Properties.append(b)
		}
		b = appendBinary(b, p.Will.Topic)
		b = appendBinary(b, p.Will.Payload)
	}
	if p.Username != nil {
		b = appendBinary(b, p.Username)
	}
	if p.Password != nil {
		b = appendBinary(b, p.Password)
	}
	return finish(b, at, 0)
}

func (p *Connect) flags() byte {
	f := bit(p.CleanStart, 1) | bit(p.Password != nil, 6) | bit(p.Username != nil, 7)
	if p.HasWill {
		f |= flagWill | byte(p.Will.QoS)<<shiftWillQoS | bit(p.Will.Retain, 5)
	}
	return f
}

func (p *Connect) decode(r *reader) {
	r.version = 0
	name := r.string("protocol name")
	level := Version(r.byte("protocol version"))
	if r.err != nil {
		return
	}
	if !r.protocol(string(name), level) {
		return
	}
	p.Version, r.version = level, level
	f := r.byte("connect flags")
	p.checkFlags(r, f)
	p.CleanStart = f&flagCleanStart != 0
	p.KeepAlive = r.uint16("keep alive")
	if level >= V5 {
		p.Properties.decode(r)
	}
	p.ClientID = r.string("client identifier")
	if len(p.ClientID) == 0 && r.err == nil && (level == V31 || level == V311 && !p.CleanStart) {
		r.fail(CodeClientID, "client identifier", "is empty") // [MQTT-3.1.3-8]
		r.err.Refuse = true
	}
	if f&flagWill != 0 {
		p.HasWill = true
		p.Will.QoS = QoS(f >> shiftWillQoS & 3)
		p.Will.Retain = f&flagWillRetain != 0
		p.Will.decode(r)
	}
	p.decodeCredentials(r, f)
}

// protocol judges protocol name and level.
func (r *reader) protocol(name string, level Version) bool {
	switch {
	case name == "MQTT" && (level == V311 || level == V5):
		return true
	case name == "MQIsdp" && level == V31:
		return true
	case name == "MQTT" || name == "MQIsdp":
		r.fail(CodeUnsupportedVersion, "protocol version", "is not supported") // [MQTT-3.1.2-2]
		r.err.Refuse = true
	default:
		r.fail(CodeUnsupportedVersion, "protocol name", "is not MQTT") // [MQTT-3.1.2-1]
	}
	return false
}

func (p *Connect) checkFlags(r *reader, f byte) {
	const field = "connect flags"
	if f&flagReserved != 0 && r.version != V31 {
		r.malformed(field, "reserved bit is set") // [MQTT-3.1.2-3]
	}
	switch qos := f >> shiftWillQoS & 3; {
	case qos == 3:
		r.malformed(field, "will QoS is 3") // [MQTT-3.1.2-12]
	case f&flagWill == 0 && (qos != 0 || f&flagWillRetain != 0):
		r.malformed(field, "will QoS or retain without a will") // [MQTT-3.1.2-11] [MQTT-3.1.2-13]
	}
	if f&flagPassword != 0 && f&flagUsername == 0 && r.version < V5 {
		r.malformed(field, "password without a user name") // [MQTT-3.1.2-22] of 3.1.1
	}
}

func (p *Connect) decodeCredentials(r *reader, f byte) {
	// MQTT 3.1 allows a flag without the field if the packet ends before it.
	absent := func() bool { return r.version == V31 && len(r.b) == 0 }
	if f&flagUsername != 0 && !absent() {
		p.Username = r.string("user name")
	}
	if f&flagPassword != 0 && !absent() {
		p.Password = r.binary("password")
	}
}

func (w *Will) decode(r *reader) {
	if r.version >= V5 {
		w.Properties.decode(r)
	}
	w.Topic = r.topicName("will topic")
	if len(w.Topic) == 0 {
		r.malformed("will topic", "is empty") // [MQTT-4.7.3-1]
	}
	w.Payload = r.binary("will payload")
}

func (p *ConnectProperties) append(b []byte) []byte {
	b, at := beginProperties(b)
	b = appendOptionalUint32(b, PropSessionExpiry, p.SessionExpiry)
	b = appendUint16(b, PropReceiveMaximum, p.ReceiveMaximum)
	b = appendUint32(b, PropMaximumPacketSize, p.MaximumPacketSize)
	b = appendOptionalUint16(b, PropTopicAliasMaximum, p.TopicAliasMaximum)
	b = appendOptionalBool(b, PropRequestResponse, p.RequestResponse)
	b = appendOptionalBool(b, PropRequestProblem, p.RequestProblem)
	b = appendOptionalBinary(b, PropAuthenticationMethod, p.AuthenticationMethod)
	b = appendOptionalBinary(b, PropAuthenticationData, p.AuthenticationData)
	b = appendUser(b, p.User)
	return finish(b, at, 0)
}

func (p *ConnectProperties) decode(r *reader) {
	r.beginProperties()
	for id := r.property(); id != 0; id = r.property() {
		switch id {
		case PropSessionExpiry:
			p.SessionExpiry = r.optionalUint32()
		case PropReceiveMaximum:
			p.ReceiveMaximum = r.nonZero16(CodeProtocolError)
		case PropMaximumPacketSize:
			p.MaximumPacketSize = r.nonZero32()
		case PropTopicAliasMaximum:
			p.TopicAliasMaximum = r.optionalUint16()
		case PropRequestResponse:
			p.RequestResponse = r.optionalBool()
		case PropRequestProblem:
			p.RequestProblem = r.optionalBool()
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
	if p.AuthenticationData != nil && p.AuthenticationMethod == nil {
		r.protocolError(PropAuthenticationData.String(), "without a method") // [MQTT 5, 3.1.2.11.10]
	}
	r.endProperties()
}

func (p *WillProperties) append(b []byte) []byte {
	b, at := beginProperties(b)
	b = appendOptionalUint32(b, PropWillDelay, p.Delay)
	b = appendOptionalByte(b, PropPayloadFormat, p.PayloadFormat)
	b = appendOptionalUint32(b, PropMessageExpiry, p.MessageExpiry)
	b = appendOptionalBinary(b, PropContentType, p.ContentType)
	b = appendOptionalBinary(b, PropResponseTopic, p.ResponseTopic)
	b = appendOptionalBinary(b, PropCorrelationData, p.CorrelationData)
	b = appendUser(b, p.User)
	return finish(b, at, 0)
}

func (p *WillProperties) decode(r *reader) {
	r.beginProperties()
	for id := r.property(); id != 0; id = r.property() {
		switch id {
		case PropWillDelay:
			p.Delay = r.optionalUint32()
		case PropPayloadFormat:
			p.PayloadFormat = r.optionalByte(1)
		case PropMessageExpiry:
			p.MessageExpiry = r.optionalUint32()
		case PropContentType:
			p.ContentType = r.string("")
		case PropResponseTopic:
			p.ResponseTopic = r.responseTopic()
		case PropCorrelationData:
			p.CorrelationData = r.binary("")
		case PropUser:
			p.User = r.user(p.User)
		default:
			r.invalidProperty()
		}
	}
	r.endProperties()
}
