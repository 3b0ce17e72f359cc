package mqttsn

// decodable is a packet that can read itself. decode sets every field.
type decodable interface {
	Packet
	decode(r reader) fault
}

// Peek reads the frame header of a datagram: the message type, reserved or not, and what follows it.
// The declared length must be the datagram's, except for the forwarder encapsulation,
// whose Length covers only its own header; its body is everything after the type.
// The error is a *DecodeError.
func Peek(b []byte) (t Type, body []byte, err error) {
	t, body, f := frame(b, false)
	if f.failed() {
		return 0, nil, f.error(0)
	}
	return t, body, nil
}

// Decode decodes one datagram into a new packet, such as a *Publish. It allocates that
// packet only: its []byte fields alias b. The error is a *DecodeError.
func Decode(b []byte) (Packet, error) {
	t, body, f := frame(b, false)
	if f.failed() {
		return nil, f.error(0)
	}
	p := newPacket(t)
	if p == nil {
		return nil, fault{FieldMsgType, ReasonReserved}.error(t)
	}
	if f := p.decode(newReader(b, body, false)); f.failed() {
		return nil, f.error(t)
	}
	return p, nil
}

// Decoder decodes datagrams without allocating. The packet it returns is valid until
// the next call, with one exception that lets a forwarder's frame be opened: an
// Encapsulated stays valid while the packet within it is decoded. The zero Decoder is
// ready to use. A Decoder is not safe for concurrent use.
type Decoder struct {
	// Lenient accepts datagrams that are longer than the packet declares, and ignores
	// the rest of them. Some clients pad; the specification says nothing.
	Lenient bool

	advertise     Advertise
	searchGW      SearchGW
	gwInfo        GWInfo
	connect       Connect
	connack       Connack
	willTopicReq  WillTopicReq
	willTopic     WillTopic
	willMsgReq    WillMsgReq
	willMsg       WillMsg
	register      Register
	regack        Regack
	publish       Publish
	puback        Puback
	pubcomp       Pubcomp
	pubrec        Pubrec
	pubrel        Pubrel
	subscribe     Subscribe
	suback        Suback
	unsubscribe   Unsubscribe
	unsuback      Unsuback
	pingreq       Pingreq
	pingresp      Pingresp
	disconnect    Disconnect
	willTopicUpd  WillTopicUpd
	willTopicResp WillTopicResp
	willMsgUpd    WillMsgUpd
	willMsgResp   WillMsgResp
	encapsulated  Encapsulated
}

// Decode decodes one datagram. The error is a *DecodeError.
func (d *Decoder) Decode(b []byte) (Packet, error) {
	t, body, f := frame(b, d.Lenient)
	if f.failed() {
		return nil, f.error(0)
	}
	p := d.packet(t)
	if p == nil {
		return nil, fault{FieldMsgType, ReasonReserved}.error(t)
	}
	if f := p.decode(newReader(b, body, d.Lenient)); f.failed() {
		return nil, f.error(t)
	}
	return p, nil
}

// packet returns the decoder's own packet of a type; nil for reserved types.
func (d *Decoder) packet(t Type) decodable {
	switch t {
	case TypeAdvertise:
		return &d.advertise
	case TypeSearchGW:
		return &d.searchGW
	case TypeGWInfo:
		return &d.gwInfo
	case TypeConnect:
		return &d.connect
	case TypeConnack:
		return &d.connack
	case TypeWillTopicReq:
		return &d.willTopicReq
	case TypeWillTopic:
		return &d.willTopic
	case TypeWillMsgReq:
		return &d.willMsgReq
	case TypeWillMsg:
		return &d.willMsg
	case TypeRegister:
		return &d.register
	case TypeRegack:
		return &d.regack
	case TypePublish:
		return &d.publish
	case TypePuback:
		return &d.puback
	case TypePubcomp:
		return &d.pubcomp
	case TypePubrec:
		return &d.pubrec
	case TypePubrel:
		return &d.pubrel
	case TypeSubscribe:
		return &d.subscribe
	case TypeSuback:
		return &d.suback
	case TypeUnsubscribe:
		return &d.unsubscribe
	case TypeUnsuback:
		return &d.unsuback
	case TypePingreq:
		return &d.pingreq
	case TypePingresp:
		return &d.pingresp
	case TypeDisconnect:
		return &d.disconnect
	case TypeWillTopicUpd:
		return &d.willTopicUpd
	case TypeWillTopicResp:
		return &d.willTopicResp
	case TypeWillMsgUpd:
		return &d.willMsgUpd
	case TypeWillMsgResp:
		return &d.willMsgResp
	case TypeEncapsulated:
		return &d.encapsulated
	default:
		return nil
	}
}

// newPacket returns a new packet of a type; nil for reserved types.
func newPacket(t Type) decodable {
	switch t {
	case TypeAdvertise:
		return new(Advertise)
	case TypeSearchGW:
		return new(SearchGW)
	case TypeGWInfo:
		return new(GWInfo)
	case TypeConnect:
		return new(Connect)
	case TypeConnack:
		return new(Connack)
	case TypeWillTopicReq:
		return new(WillTopicReq)
	case TypeWillTopic:
		return new(WillTopic)
	case TypeWillMsgReq:
		return new(WillMsgReq)
	case TypeWillMsg:
		return new(WillMsg)
	case TypeRegister:
		return new(Register)
	case TypeRegack:
		return new(Regack)
	case TypePublish:
		return new(Publish)
	case TypePuback:
		return new(Puback)
	case TypePubcomp:
		return new(Pubcomp)
	case TypePubrec:
		return new(Pubrec)
	case TypePubrel:
		return new(Pubrel)
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
	case TypeWillTopicUpd:
		return new(WillTopicUpd)
	case TypeWillTopicResp:
		return new(WillTopicResp)
	case TypeWillMsgUpd:
		return new(WillMsgUpd)
	case TypeWillMsgResp:
		return new(WillMsgResp)
	case TypeEncapsulated:
		return new(Encapsulated)
	default:
		return nil
	}
}
