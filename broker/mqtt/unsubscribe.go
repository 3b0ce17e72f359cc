package mqtt

import "encoding/binary"

// Unsubscribe ends one or more subscriptions [MQTT 5, 3.10].
type Unsubscribe struct {
	PacketID   uint16
	Filters    [][]byte // at least one
	Properties UnsubscribeProperties
}

// UnsubscribeProperties are the properties of an UNSUBSCRIBE [MQTT 5, 3.10.2.1].
type UnsubscribeProperties struct {
	User []UserProperty
}

// Unsuback answers an UNSUBSCRIBE [MQTT 5, 3.11].
type Unsuback struct {
	PacketID uint16
	// Codes are the answers in the order of the filters; MQTT 5 only.
	Codes      []Code
	Properties AckProperties
}

// Type is TypeUnsubscribe.
func (p *Unsubscribe) Type() Type { return TypeUnsubscribe }

// Type is TypeUnsuback.
func (p *Unsuback) Type() Type { return TypeUnsuback }

// Append adds the packet to b.
func (p *Unsubscribe) Append(b []byte, v Version) []byte {
	b, at := begin(b, TypeUnsubscribe, flagsReserved2)
	b = binary.BigEndian.AppendUint16(b, p.PacketID)
	if v >= V5 {
		var block int
		b, block = beginProperties(b)
		b = finish(appendUser(b, p.Properties.User), block, 0)
	}
	for _, f := range p.Filters {
		b = appendBinary(b, f)
	}
	return finish(b, at, 0)
}

func (p *Unsubscribe) decode(r *reader) {
	p.PacketID = r.packetID()
	if r.version >= V5 {
		p.Properties.decode(r)
	}
	if len(r.b) == 0 {
		r.protocolError("payload", "has no filter") // [MQTT-3.10.3-2]
	}
	for len(r.b) > 0 {
		r.oneMore(len(p.Filters))
		f := r.topicFilter()
		if r.err != nil {
			return
		}
		p.Filters = append(p.Filters, f)
	}
}

func (p *UnsubscribeProperties) decode(r *reader) {
	r.beginProperties()
	for id := r.property(); id != 0; id = r.property() {
		if id != PropUser {
			r.invalidProperty()
			return
		}
		p.User = r.user(p.User)
	}
	r.endProperties()
}

// Append adds the packet to b.
func (p *Unsuback) Append(b []byte, v Version) []byte {
	b, at := begin(b, TypeUnsuback, 0)
	b = binary.BigEndian.AppendUint16(b, p.PacketID)
	if v >= V5 {
		b = p.Properties.append(b)
		for _, c := range p.Codes {
			b = append(b, byte(c))
		}
	}
	return finish(b, at, 0)
}

func (p *Unsuback) decode(r *reader) {
	p.PacketID = r.packetID()
	if r.version >= V5 {
		p.Properties.decode(r)
		p.Codes = r.codes(inUnsuback)
	}
}
