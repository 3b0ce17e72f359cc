package mqtt

// Decode reads one packet: the header and body that Frame or a Reader gave. v is the
// version of the connection; a CONNECT is read in the version that it names itself. The
// packet's []byte fields alias body. Lists (subscriptions, user properties) take up to ten
// times the memory of their octets, so the maximum packet size bounds them too. Every
// error is an *Error.
func Decode(h Header, body []byte, v Version) (Packet, error) {
	return decode(newPacket(h.Type), reader{b: body, h: h, version: v})
}

// Decoder reads packets like Decode, but reuses its structs for PUBLISH and its
// acknowledgements: such a packet is valid until the next call. The zero Decoder is
// ready. It keeps nothing from one packet to the next, so that one may serve several
// connections, by one goroutine at a time.
type Decoder struct {
	// From says who sends the packets. If it is stated, what that side may not send
	// is refused as well.
	From Sender
	// MaxFilters is how many filters a SUBSCRIBE or UNSUBSCRIBE may have, 0 for any number.
	// One with more is refused with CodeQuota: it may be very many in few octets.
	MaxFilters int

	publish Publish
	puback  Puback
	pubrec  Pubrec
	pubrel  Pubrel
	pubcomp Pubcomp
}

// Decode reads one packet.
func (d *Decoder) Decode(h Header, body []byte, v Version) (Packet, error) {
	var p Packet
	switch h.Type {
	case TypePublish:
		d.publish.reset()
		p = &d.publish
	case TypePuback:
		p = &d.puback
	case TypePubrec:
		p = &d.pubrec
	case TypePubrel:
		p = &d.pubrel
	case TypePubcomp:
		p = &d.pubcomp
	default:
		p = newPacket(h.Type)
	}
	return decode(p, reader{b: body, h: h, version: v, from: d.From, most: d.MaxFilters})
}

// newPacket is an empty packet of a type; nil for the reserved one.
func newPacket(t Type) Packet {
	switch t {
	case TypeConnect:
		return new(Connect)
	case TypeConnack:
		return new(Connack)
	case TypePublish:
		return new(Publish)
	case TypePuback:
		return new(Puback)
	case TypePubrec:
		return new(Pubrec)
	case TypePubrel:
		return new(Pubrel)
	case TypePubcomp:
		return new(Pubcomp)
	case TypeSubscribe:
		return new(Subscribe)
	case TypeSuback:
		return new(Suback)
	case TypeUnsubscribe:
		return new(Unsubscribe)
	case TypeUnsuback:
		return new(Unsuback)
	case TypePingreq:
		return new(Pingreq)
	case TypePingresp:
		return new(Pingresp)
	case TypeDisconnect:
		return new(Disconnect)
	case TypeAuth:
		return new(Auth)
	default:
		return nil
	}
}

// decode fills the empty packet p. The calls are static, not through an interface, so
// that the reader stays on the stack.
func decode(p Packet, r reader) (Packet, error) {
	if p == nil {
		r.malformed("packet type", "is reserved")
	} else {
		r.checkHeader()
		r.checkSender()
	}
	if r.err == nil {
		switch p := p.(type) {
		case *Connect:
			p.decode(&r)
		case *Connack:
			p.decode(&r)
		case *Publish:
			p.decode(&r)
		case *Puback:
			p.decode(&r)
		case *Pubrec:
			p.decode(&r)
		case *Pubrel:
			p.decode(&r)
		case *Pubcomp:
			p.decode(&r)
		case *Subscribe:
			p.decode(&r)
		case *Suback:
			p.decode(&r)
		case *Unsubscribe:
			p.decode(&r)
		case *Unsuback:
			p.decode(&r)
		case *Disconnect:
			p.decode(&r)
		case *Auth:
			p.decode(&r)
		}
		r.done()
	}
	if r.err != nil {
		return nil, r.err
	}
	return p, nil
}

// flagsReserved2 are the header flags of PUBREL, SUBSCRIBE and UNSUBSCRIBE.
const flagsReserved2 = 0x02

// checkHeader judges type, flags [MQTT-2.1.3-1] and length.
func (r *reader) checkHeader() {
	flags := r.h.Flags
	var want byte
	switch r.h.Type {
	case TypePublish:
		want = flags
	case TypePubrel, TypeSubscribe, TypeUnsubscribe:
		want = flagsReserved2
		if r.version == V31 {
			flags &^= flagDUP // which MQTT 3.1 has there too
		}
	case TypeAuth:
		if r.version < V5 {
			r.protocolError("packet type", "is not one of this version")
		}
	}
	if flags != want {
		r.malformed("header flags", "are not those of this packet")
	}
	if len(r.b) != r.h.Length && r.err == nil {
		r.malformed("remaining length", "is not that of the body")
	}
}
