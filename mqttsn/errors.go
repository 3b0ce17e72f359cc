package mqttsn

// DecodeError says why a datagram is not a packet. The datagram has no effect: drop and
// count it. It may come from anyone, so it says nothing about the client behind the
// address.
type DecodeError struct {
	// Type of the message. It is meaningful only if Field is not FieldLength.
	Type Type
	// Field is the field that could not be read, by the specification's name, such as
	// "MsgId"; "Length", "MsgType" and "Message" stand for the frame.
	Field string
	// Reason is what is wrong with it: one of the Reason constants.
	Reason string
}

// The fields of a DecodeError that concern the frame and not one message.
const (
	FieldLength  = "Length"
	FieldMsgType = "MsgType"
	FieldMessage = "Message"
)

// The reasons of a DecodeError. There are few, so they can label a counter.
const (
	ReasonMissing  = "missing"                 // the packet ends before or within the field
	ReasonMismatch = "not the datagram's size" // the declared length is not what was received
	ReasonIllegal  = "illegal"                 // a length that no packet can have
	ReasonReserved = "reserved"                // a message type without a meaning
	ReasonSurplus  = "followed by octets"      // a fixed-size message is too long
	ReasonEmpty    = "empty"                   // the field must have an octet
	ReasonNested   = "encapsulated twice"      // a forwarder frame within a forwarder frame
)

// Error is a sentence such as "mqttsn: PUBLISH: MsgId missing".
func (e *DecodeError) Error() string {
	if e.Field == FieldLength {
		return "mqttsn: Length " + e.Reason
	}
	return "mqttsn: " + e.Type.String() + ": " + e.Field + " " + e.Reason
}

// fault is a DecodeError before it is known to be wanted: readers pass it on the stack.
// The zero fault is none.
type fault struct{ field, reason string }

func (f fault) failed() bool { return f.reason != "" }

func (f fault) error(t Type) error {
	return &DecodeError{Type: t, Field: f.field, Reason: f.reason}
}
