package mqtt

import "encoding/binary"

// Puback answers a PUBLISH with QoS 1 [MQTT 5, 3.4].
type Puback struct {
	PacketID   uint16
	Code       Code // MQTT 5 only
	Properties AckProperties
}

// Pubrec answers a PUBLISH with QoS 2 [MQTT 5, 3.5]. With a failure code it ends the
// exchange.
type Pubrec struct {
	PacketID   uint16
	Code       Code // MQTT 5 only
	Properties AckProperties
}

// Pubrel answers a PUBREC [MQTT 5, 3.6].
type Pubrel struct {
	PacketID   uint16
	Code       Code // MQTT 5 only: CodeSuccess or CodePacketIDNotFound
	Properties AckProperties
}

// Pubcomp answers a PUBREL [MQTT 5, 3.7].
type Pubcomp struct {
	PacketID   uint16
	Code       Code // MQTT 5 only: CodeSuccess or CodePacketIDNotFound
	Properties AckProperties
}

// AckProperties are the properties of all packets that only acknowledge: PUBACK,
// PUBREC, PUBREL, PUBCOMP, SUBACK and UNSUBACK.
type AckProperties struct {
	ReasonString []byte // nil: absent
	User         []UserProperty
}

// Type is TypePuback.
func (p *Puback) Type() Type { return TypePuback }

// Type is TypePubrec.
func (p *Pubrec) Type() Type { return TypePubrec }

// Type is TypePubrel.
func (p *Pubrel) Type() Type { return TypePubrel }

// Type is TypePubcomp.
func (p *Pubcomp) Type() Type { return TypePubcomp }

// Append adds the packet to b.
func (p *Puback) Append(b []byte, v Version) []byte {
	return appendAck(b, v, TypePuback, 0, p.PacketID, p.Code, &p.Properties)
}

// Append adds the packet to b.
func (p *Pubrec) Append(b []byte, v Version) []byte {
	return appendAck(b, v, TypePubrec, 0, p.PacketID, p.Code, &p.Properties)
}

// Append adds the packet to b.
func (p *Pubrel) Append(b []byte, v Version) []byte {
	return appendAck(b, v, TypePubrel, flagsReserved2, p.PacketID, p.Code, &p.Properties)
}

// Append adds the packet to b.
func (p *Pubcomp) Append(b []byte, v Version) []byte {
	return appendAck(b, v, TypePubcomp, 0, p.PacketID, p.Code, &p.Properties)
}

// appendAck leaves out what may be left out: the properties if there are none, and the
// code as well if it is success [MQTT 5, 3.4.2.1].
func appendAck(b []byte, v Version, t Type, flags byte, id uint16, code Code, props *AckProperties) []byte {
	b, at := begin(b, t, flags)
	b = binary.BigEndian.AppendUint16(b, id)
	if v >= V5 && (code != CodeSuccess || !props.empty()) {
		b = append(b, byte(code))
		if !props.empty() {
			b = props.append(b)
		}
	}
	return finish(b, at, 0)
}

func (p *Puback) decode(r *reader)  { p.PacketID, p.Code = r.ack(inPuback, &p.Properties) }
func (p *Pubrec) decode(r *reader)  { p.PacketID, p.Code = r.ack(inPuback, &p.Properties) }
func (p *Pubrel) decode(r *reader)  { p.PacketID, p.Code = r.ack(inPubrel, &p.Properties) }
func (p *Pubcomp) decode(r *reader) { p.PacketID, p.Code = r.ack(inPubrel, &p.Properties) }

func (r *reader) ack(in uint16, props *AckProperties) (id uint16, code Code) {
	*props = AckProperties{}
	id = r.packetID()
	if r.version < V5 || len(r.b) == 0 {
		return id, CodeSuccess
	}
	code = r.code(in)
	if len(r.b) > 0 {
		props.decode(r)
	}
	return id, code
}

func (p *AckProperties) empty() bool { return p.ReasonString == nil && len(p.User) == 0 }

func (p *AckProperties) append(b []byte) []byte {
	b, at := beginProperties(b)
	b = appendOptionalBinary(b, PropReasonString, p.ReasonString)
	b = appendUser(b, p.User)
	return finish(b, at, 0)
}

func (p *AckProperties) decode(r *reader) {
	r.beginProperties()
	for id := r.property(); id != 0; id = r.property() {
		switch id {
		case PropReasonString:
			p.ReasonString = r.string("")
		case PropUser:
			p.User = r.user(p.User)
		default:
			r.invalidProperty()
		}
	}
	r.endProperties()
}
