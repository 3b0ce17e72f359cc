package mqtt

// MaxRemaining is the largest remaining length that a fixed header can state: what
// follows it is 256 MiB - 1 at most [MQTT 5, 1.5.5].
const MaxRemaining = 268_435_455

// Version is the protocol level of a connection.
type Version byte

// The versions of the protocol.
const (
	V31  Version = 3 // MQTT 3.1, "MQIsdp"
	V311 Version = 4 // MQTT 3.1.1
	V5   Version = 5 // MQTT 5.0
)

// String is the version as people write it: "3.1.1".
func (v Version) String() string {
	switch v {
	case V31:
		return "3.1"
	case V311:
		return "3.1.1"
	case V5:
		return "5"
	default:
		return "unknown"
	}
}

// QoS is a quality of service level: 0, 1 or 2.
type QoS byte

// The quality of service levels.
const (
	QoS0 QoS = 0 // at most once
	QoS1 QoS = 1 // at least once
	QoS2 QoS = 2 // exactly once
)

// Type is a control packet type [MQTT 5, 2.1.2].
type Type byte

// The control packet types. 0 is reserved.
const (
	TypeConnect     Type = 1
	TypeConnack     Type = 2
	TypePublish     Type = 3
	TypePuback      Type = 4
	TypePubrec      Type = 5
	TypePubrel      Type = 6
	TypePubcomp     Type = 7
	TypeSubscribe   Type = 8
	TypeSuback      Type = 9
	TypeUnsubscribe Type = 10
	TypeUnsuback    Type = 11
	TypePingreq     Type = 12
	TypePingresp    Type = 13
	TypeDisconnect  Type = 14
	TypeAuth        Type = 15 // MQTT 5 only
)

var typeNames = [16]string{
	"RESERVED", "CONNECT", "CONNACK", "PUBLISH", "PUBACK", "PUBREC", "PUBREL", "PUBCOMP",
	"SUBSCRIBE", "SUBACK", "UNSUBSCRIBE", "UNSUBACK", "PINGREQ", "PINGRESP", "DISCONNECT", "AUTH",
}

// String is the name of the packet type in the specification's capitals.
func (t Type) String() string {
	if int(t) < len(typeNames) {
		return typeNames[t]
	}
	return "RESERVED"
}

// Header is a fixed header.
type Header struct {
	Type   Type
	Flags  byte // the low four bits of the first octet
	Length int  // the remaining length: octets after the fixed header
}

// Packet is one control packet: a pointer to one of the structs of this package.
type Packet interface {
	// Type tells which packet it is.
	Type() Type
	// Append adds the packet in its form for version v to b and returns b. Strings
	// and binary data beyond 65,535 octets are cut there; it is up to the caller that
	// the packet as a whole stays below MaxRemaining, and that topics, identifiers
	// and reason codes are valid ones.
	Append(b []byte, v Version) []byte
}
