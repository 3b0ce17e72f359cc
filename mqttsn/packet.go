package mqttsn

// MaxPacket is the size in octets of the largest packet that the 3-octet Length can
// express [SN-5.2.1]. Append of a struct that needs more appends nothing; how much a
// medium carries is the caller's business.
const MaxPacket = 65535

// MaxNodeID is the size in octets of the longest Wireless Node Id: the Length of the
// forwarder encapsulation is a single octet and covers three others [SN-5.5].
const MaxNodeID = 252

// Packet is one MQTT-SN message. The structs of this package implement it, by value
// and by pointer; Decode returns pointers.
type Packet interface {
	// Type is the message type on the wire.
	Type() Type
	// Append appends the encoded packet to b and returns the extended slice. It
	// never fails and allocates only to grow b.
	Append(b []byte) []byte
}

// Type is the MsgType octet [SN-5.2.2].
type Type byte

// The message types. Their values do not follow the order of an exchange: PUBCOMP is
// below PUBREC and PUBREL.
const (
	TypeAdvertise     Type = 0x00
	TypeSearchGW      Type = 0x01
	TypeGWInfo        Type = 0x02
	TypeConnect       Type = 0x04
	TypeConnack       Type = 0x05
	TypeWillTopicReq  Type = 0x06
	TypeWillTopic     Type = 0x07
	TypeWillMsgReq    Type = 0x08
	TypeWillMsg       Type = 0x09
	TypeRegister      Type = 0x0A
	TypeRegack        Type = 0x0B
	TypePublish       Type = 0x0C
	TypePuback        Type = 0x0D
	TypePubcomp       Type = 0x0E
	TypePubrec        Type = 0x0F
	TypePubrel        Type = 0x10
	TypeSubscribe     Type = 0x12
	TypeSuback        Type = 0x13
	TypeUnsubscribe   Type = 0x14
	TypeUnsuback      Type = 0x15
	TypePingreq       Type = 0x16
	TypePingresp      Type = 0x17
	TypeDisconnect    Type = 0x18
	TypeWillTopicUpd  Type = 0x1A
	TypeWillTopicResp Type = 0x1B
	TypeWillMsgUpd    Type = 0x1C
	TypeWillMsgResp   Type = 0x1D
	TypeEncapsulated  Type = 0xFE
)

// typeNames holds the specification's names; empty for the reserved values.
var typeNames = [256]string{
	TypeAdvertise:     "ADVERTISE",
	TypeSearchGW:      "SEARCHGW",
	TypeGWInfo:        "GWINFO",
	TypeConnect:       "CONNECT",
	TypeConnack:       "CONNACK",
	TypeWillTopicReq:  "WILLTOPICREQ",
	TypeWillTopic:     "WILLTOPIC",
	TypeWillMsgReq:    "WILLMSGREQ",
	TypeWillMsg:       "WILLMSG",
	TypeRegister:      "REGISTER",
	TypeRegack:        "REGACK",
	TypePublish:       "PUBLISH",
	TypePuback:        "PUBACK",
	TypePubcomp:       "PUBCOMP",
	TypePubrec:        "PUBREC",
	TypePubrel:        "PUBREL",
	TypeSubscribe:     "SUBSCRIBE",
	TypeSuback:        "SUBACK",
	TypeUnsubscribe:   "UNSUBSCRIBE",
	TypeUnsuback:      "UNSUBACK",
	TypePingreq:       "PINGREQ",
	TypePingresp:      "PINGRESP",
	TypeDisconnect:    "DISCONNECT",
	TypeWillTopicUpd:  "WILLTOPICUPD",
	TypeWillTopicResp: "WILLTOPICRESP",
	TypeWillMsgUpd:    "WILLMSGUPD",
	TypeWillMsgResp:   "WILLMSGRESP",
	TypeEncapsulated:  "ENCAPSULATED",
}

// Reserved reports whether the specification gives the value no meaning.
func (t Type) Reserved() bool { return typeNames[t] == "" }

// String is the specification's name of the type, or "reserved(0x1E)".
func (t Type) String() string {
	if t.Reserved() {
		return "reserved(" + hexOctet(byte(t)) + ")"
	}
	return typeNames[t]
}

// appendHeader appends Length and MsgType of a packet whose body has n octets, in the
// short form whenever it can [SN-5.2.1]. ok is false, and nothing is appended, if the
// whole would exceed MaxPacket.
func appendHeader(b []byte, t Type, n int) (_ []byte, ok bool) {
	switch {
	case n <= 255-2:
		return append(b, byte(n+2), byte(t)), true
	case n <= MaxPacket-4:
		return append(b, 0x01, byte((n+4)>>8), byte(n+4), byte(t)), true
	default:
		return b, false
	}
}

func appendUint16(b []byte, v uint16) []byte { return append(b, byte(v>>8), byte(v)) }

func hexOctet(v byte) string {
	const digits = "0123456789ABCDEF"
	return string([]byte{'0', 'x', digits[v>>4], digits[v&0x0F]})
}
