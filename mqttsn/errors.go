package mqttsn

// DecodeError says why a datagram is not a packet. The datagram has no effect: drop and
// count it. It may come from anyone, so it says nothing about the client behind the
// address.
type DecodeError struct {
	// Type of the message. It is meaningful only if Field is not FieldLength.
	Type Type
	// Field is the field that could not be read, by the specification's name, such as
	// "MsgId", or FieldLength, FieldMsgType or FieldMessage.
	Field string
	// Reason is what is wrong with it: one of the Reason constants.
	Reason string
}

// The fields of a DecodeError that are not one message's.
const (
	FieldLength  = "Length"
	FieldMsgType = "MsgType"
	FieldMessage = "Message" // as a whole; of the encapsulation, the packet within
)

// The reasons of a DecodeError. They are few and short, so they can label a counter.
const (
	ReasonMissing  = "missing"  // the packet ends before or within the field
	ReasonMismatch = "mismatch" // the declared length is not that of the datagram
	ReasonIllegal  = "illegal"  // a length that no packet can have
	ReasonReserved = "reserved" // a message type without a meaning
	ReasonSurplus  = "surplus"  // octets follow the last field
	ReasonEmpty    = "empty"    // the field must have an octet
	ReasonNested   = "nested"   // a forwarder frame within a forwarder frame
)

// sentence completes an error message that begins with the name of the field.
func sentence(reason string) string {
	switch reason {
	case ReasonMismatch:
		return " differs from the datagram's"
	case ReasonSurplus:
		return " has surplus octets"
	case ReasonNested:
		return " is encapsulated twice"
	default:
		return " is " + reason
	}
}

// Error is a sentence such as "mqttsn: PUBLISH: MsgId is missing".
func (e *DecodeError) Error() string {
	if e.Field == FieldLength {
		return "mqttsn: Length" + sentence(e.Reason)
	}
	return "mqttsn: " + e.Type.String() + ": " + e.Field + sentence(e.Reason)
}

// fault is a DecodeError before it is known to be wanted: readers pass it on the stack.
// The zero fault is none.
type fault struct{ field, reason string }

func (f fault) failed() bool { return f.reason != "" }

func (f fault) error(t Type) error {
	return &DecodeError{Type: t, Field: f.field, Reason: f.reason}
}
