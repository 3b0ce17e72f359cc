package mqttsn

// ProtocolID is the ProtocolId of MQTT-SN 1.2; all other values are reserved [SN-5.3.8].
const ProtocolID = 0x01

// Connect asks for a connection [SN-5.4.4].
type Connect struct {
	CleanSession bool
	Will         bool // the gateway shall prompt for will topic and will message
	ProtocolID   byte // ProtocolID; others decode and are to be refused
	Duration     uint16
	ClientID     []byte // UTF-8, 1 to 23 characters by the letter; may be empty on the wire
}

// Type is TypeConnect.
func (Connect) Type() Type { return TypeConnect }

// Append implements Packet.
func (p Connect) Append(b []byte) []byte {
	b, ok := appendHeader(b, TypeConnect, 4+len(p.ClientID))
	if !ok {
		return b
	}
	f := flagIf(p.Will, flagWill) | flagIf(p.CleanSession, flagCleanSession)
	b = append(b, byte(f), p.ProtocolID)
	b = appendUint16(b, p.Duration)
	return append(b, p.ClientID...)
}

func (p *Connect) decode(r reader) fault {
	f := flags(r.octet("Flags"))
	p.Will, p.CleanSession = f.has(flagWill), f.has(flagCleanSession)
	p.ProtocolID = r.octet("ProtocolId")
	p.Duration = r.uint16("Duration")
	p.ClientID = r.rest()
	return r.end()
}

// Connack answers CONNECT, or the last message of the will prompting [SN-5.4.5].
type Connack struct {
	ReturnCode ReturnCode
}

// Type is TypeConnack.
func (Connack) Type() Type { return TypeConnack }

// Append implements Packet.
func (p Connack) Append(b []byte) []byte {
	return appendReturnCode(b, TypeConnack, p.ReturnCode)
}

func (p *Connack) decode(r reader) fault {
	p.ReturnCode = ReturnCode(r.octet("ReturnCode"))
	return r.end()
}

// appendReturnCode appends a packet that consists of a return code.
func appendReturnCode(b []byte, t Type, c ReturnCode) []byte {
	b, _ = appendHeader(b, t, 1)
	return append(b, byte(c))
}
