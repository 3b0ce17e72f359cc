package mqtt

import "encoding/binary"

// Property is the identifier of a property [MQTT 5, 2.2.2.2].
type Property byte

// The properties.
const (
	PropPayloadFormat        Property = 0x01
	PropMessageExpiry        Property = 0x02
	PropContentType          Property = 0x03
	PropResponseTopic        Property = 0x08
	PropCorrelationData      Property = 0x09
	PropSubscriptionID       Property = 0x0B
	PropSessionExpiry        Property = 0x11
	PropAssignedClientID     Property = 0x12
	PropServerKeepAlive      Property = 0x13
	PropAuthenticationMethod Property = 0x15
	PropAuthenticationData   Property = 0x16
	PropRequestProblem       Property = 0x17
	PropWillDelay            Property = 0x18
	PropRequestResponse      Property = 0x19
	PropResponseInformation  Property = 0x1A
	PropServerReference      Property = 0x1C
	PropReasonString         Property = 0x1F
	PropReceiveMaximum       Property = 0x21
	PropTopicAliasMaximum    Property = 0x22
	PropTopicAlias           Property = 0x23
	PropMaximumQoS           Property = 0x24
	PropRetainAvailable      Property = 0x25
	PropUser                 Property = 0x26
	PropMaximumPacketSize    Property = 0x27
	PropWildcardAvailable    Property = 0x28
	PropSubscriptionIDs      Property = 0x29
	PropSharedAvailable      Property = 0x2A
	lastProperty                      = PropSharedAvailable
)

var propertyNames = [lastProperty + 1]string{
	PropPayloadFormat:        "Payload Format Indicator",
	PropMessageExpiry:        "Message Expiry Interval",
	PropContentType:          "Content Type",
	PropResponseTopic:        "Response Topic",
	PropCorrelationData:      "Correlation Data",
	PropSubscriptionID:       "Subscription Identifier",
	PropSessionExpiry:        "Session Expiry Interval",
	PropAssignedClientID:     "Assigned Client Identifier",
	PropServerKeepAlive:      "Server Keep Alive",
	PropAuthenticationMethod: "Authentication Method",
	PropAuthenticationData:   "Authentication Data",
	PropRequestProblem:       "Request Problem Information",
	PropWillDelay:            "Will Delay Interval",
	PropRequestResponse:      "Request Response Information",
	PropResponseInformation:  "Response Information",
	PropServerReference:      "Server Reference",
	PropReasonString:         "Reason String",
	PropReceiveMaximum:       "Receive Maximum",
	PropTopicAliasMaximum:    "Topic Alias Maximum",
	PropTopicAlias:           "Topic Alias",
	PropMaximumQoS:           "Maximum QoS",
	PropRetainAvailable:      "Retain Available",
	PropUser:                 "User Property",
	PropMaximumPacketSize:    "Maximum Packet Size",
	PropWildcardAvailable:    "Wildcard Subscription Available",
	PropSubscriptionIDs:      "Subscription Identifier Available",
	PropSharedAvailable:      "Shared Subscription Available",
}

// String is the name of the property in the specification.
func (p Property) String() string {
	if p <= lastProperty && propertyNames[p] != "" {
		return propertyNames[p]
	}
	return "property identifier"
}

// Optional is a number or flag that may be absent.
type Optional[T byte | uint16 | uint32 | bool | QoS] struct {
	Value T
	Set   bool // false: the property is absent, and Value means nothing
}

// Some is an Optional with a value.
func Some[T byte | uint16 | uint32 | bool | QoS](v T) Optional[T] { return Optional[T]{v, true} }

// Or is the value, or def if there is none.
func (o Optional[T]) Or(def T) T {
	if o.Set {
		return o.Value
	}
	return def
}

// UserProperty is a name and value of the application's own. Both may be empty; the
// same name may come more than once, and the order is part of the meaning.
type UserProperty struct {
	Name, Value []byte
}

// beginProperties enters the property block that follows. The reader then ends where
// the block ends, until endProperties.
func (r *reader) beginProperties() {
	n := r.varint("property length")
	if n > len(r.b) {
		r.malformed("property length", "is larger than the packet")
	}
	if r.err != nil {
		return
	}
	r.rest = r.b[n:]
	r.b = r.b[:n]
	r.seen = 0
}

// property reads the identifier of the next property; 0 at the end of the block.
func (r *reader) property() Property {
	if len(r.b) == 0 {
		return 0
	}
	id := Property(r.b[0])
	r.b = r.b[1:]
	r.prop = id
	if id > lastProperty || propertyNames[id] == "" {
		r.prop = 0
		r.malformed("", "is unknown") // [MQTT 5, 2.2.2.2]
		return 0
	}
	bit := uint64(1) << id
	if r.seen&bit != 0 && !r.repeats(id) {
		r.protocolError("", "comes more than once")
		return 0
	}
	r.seen |= bit
	return id
}

// repeats reports whether the property may come more than once in this packet.
func (r *reader) repeats(id Property) bool {
	return id == PropUser || id == PropSubscriptionID && r.h.Type == TypePublish
}

// invalidProperty refuses a property that does not belong to the packet.
func (r *reader) invalidProperty() {
	r.malformed("", "does not belong to this packet") // [MQTT 5, 2.2.2.2]
}

// endProperties leaves the property block.
func (r *reader) endProperties() {
	if r.err == nil {
		r.b = r.rest
	}
	r.prop = 0
}

// The values of properties. Those of which zero is no legal value refuse it.

func (r *reader) optionalByte(largest byte) Optional[byte] {
	v := r.byte("")
	if v > largest {
		r.protocolError("", "is larger than allowed")
	}
	return Some(v)
}

func (r *reader) optionalBool() Optional[bool] {
	v := r.byte("")
	if v > 1 {
		r.protocolError("", "is neither 0 nor 1")
	}
	return Some(v == 1)
}

func (r *reader) optionalUint16() Optional[uint16] { return Some(r.uint16("")) }
func (r *reader) optionalUint32() Optional[uint32] { return Some(r.uint32("")) }

func (r *reader) nonZero16(code Code) uint16 {
	v := r.uint16("")
	if v == 0 {
		r.fail(code, "", "is zero")
	}
	return v
}

func (r *reader) nonZero32() uint32 {
	v := r.uint32("")
	if v == 0 {
		r.protocolError("", "is zero")
	}
	return v
}

func (r *reader) subscriptionID() uint32 {
	v := r.varint("")
	if v == 0 {
		r.protocolError("", "is zero") // [MQTT 5, 3.8.2.1.2]
	}
	return uint32(v)
}

func (r *reader) user(u []UserProperty) []UserProperty {
	name := r.string("")
	value := r.string("")
	if r.err != nil {
		return u
	}
	return append(u, UserProperty{name, value})
}

// The writing side. Absent values write nothing.

func beginProperties(b []byte) (out []byte, at int) { return append(b, 0), len(b) }

func appendOptionalByte(b []byte, id Property, v Optional[byte]) []byte {
	if !v.Set {
		return b
	}
	return append(b, byte(id), v.Value)
}

func appendOptionalBool(b []byte, id Property, v Optional[bool]) []byte {
	if !v.Set {
		return b
	}
	return append(b, byte(id), bit(v.Value, 0))
}

func appendOptionalUint16(b []byte, id Property, v Optional[uint16]) []byte {
	if !v.Set {
		return b
	}
	return binary.BigEndian.AppendUint16(append(b, byte(id)), v.Value)
}

func appendOptionalUint32(b []byte, id Property, v Optional[uint32]) []byte {
	if !v.Set {
		return b
	}
	return binary.BigEndian.AppendUint32(append(b, byte(id)), v.Value)
}

// appendUint16 and appendUint32 are for the properties of which zero means absent.

func appendUint16(b []byte, id Property, v uint16) []byte {
	return appendOptionalUint16(b, id, Optional[uint16]{v, v != 0})
}

func appendUint32(b []byte, id Property, v uint32) []byte {
	return appendOptionalUint32(b, id, Optional[uint32]{v, v != 0})
}

func appendSubscriptionID(b []byte, v uint32) []byte {
	if v == 0 {
		return b
	}
	return appendVarint(append(b, byte(PropSubscriptionID)), v)
}

func appendOptionalBinary(b []byte, id Property, v []byte) []byte {
	if v == nil {
		return b
	}
	return appendBinary(append(b, byte(id)), v)
}

func appendUser(b []byte, user []UserProperty) []byte {
	for _, u := range user {
		b = append(b, byte(PropUser))
		b = appendBinary(b, u.Name)
		b = appendBinary(b, u.Value)
	}
	return b
}

// bit is 1 << n if set.
func bit(set bool, n uint) byte {
	if set {
		return 1 << n
	}
	return 0
}
