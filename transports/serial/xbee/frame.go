package xbee

import (
	"bytes"
	"encoding/binary"
	"fmt"
)

// Addresses with a meaning of their own.
const (
	// Coordinator is the 64-bit address of the network's coordinator, whatever its own is.
	Coordinator uint64 = 0
	// Broadcast is the 64-bit address of all radios.
	Broadcast uint64 = 0xFFFF
	// Unknown16 is the 16-bit address for one that is not known or does not matter.
	Unknown16 uint16 = 0xFFFE
	// Broadcast16 is the 16-bit address of all radios in Transmit16.
	Broadcast16 uint16 = 0xFFFF
)

// Type is the first octet of the frame data.
type Type byte

// The frame types. Those below 0x80 go to the radio, the others come from it.
const (
	TypeTransmit64         Type = 0x00
	TypeTransmit16         Type = 0x01
	TypeATCommand          Type = 0x08
	TypeTransmit           Type = 0x10
	TypeExplicitTransmit   Type = 0x11
	TypeReceive64          Type = 0x80
	TypeReceive16          Type = 0x81
	TypeATResponse         Type = 0x88
	TypeStatus802          Type = 0x89
	TypeModemStatus        Type = 0x8A
	TypeTransmitStatus     Type = 0x8B
	TypeReceive            Type = 0x90
	TypeExplicitReceive    Type = 0x91
	TypeNodeIdentification Type = 0x95
)

var typeNames = [256]string{
	TypeTransmit64:         "transmit to 64-bit address",
	TypeTransmit16:         "transmit to 16-bit address",
	TypeATCommand:          "AT command",
	TypeTransmit:           "transmit",
	TypeExplicitTransmit:   "explicit transmit",
	TypeReceive64:          "receive from 64-bit address",
	TypeReceive16:          "receive from 16-bit address",
	TypeATResponse:         "AT response",
	TypeStatus802:          "802.15.4 transmit status",
	TypeModemStatus:        "modem status",
	TypeTransmitStatus:     "transmit status",
	TypeReceive:            "receive",
	TypeExplicitReceive:    "explicit receive",
	TypeNodeIdentification: "node identification",
}

// String is such as "transmit status (0x8B)", or "type 0x92" for one that this package
// does not read.
func (t Type) String() string {
	if name := typeNames[t]; name != "" {
		return fmt.Sprintf("%s (0x%02X)", name, byte(t))
	}
	return fmt.Sprintf("type 0x%02X", byte(t))
}

// Frame is the frame data of one frame. The structs of this package implement it, by value
// and by pointer; Parse returns pointers.
type Frame interface {
	// Append appends the frame data to b and returns the extended slice. It never fails
	// and allocates only to grow b.
	Append(b []byte) []byte
}

// Unknown is a frame of a type that this package does not read, such as those of a
// radio's inputs and of its own network.
type Unknown struct {
	Type Type
	Data []byte // what follows the type
}

// Append implements Frame.
func (f Unknown) Append(b []byte) []byte { return append(append(b, byte(f.Type)), f.Data...) }

// Error says why frame data is not a frame.
type Error struct {
	// Type of the frame; meaningless if Field is FieldType.
	Type Type
	// Field is the first field that is not there, such as "64-bit source".
	Field string
}

// FieldType is the Field of an Error about frame data without a single octet.
const FieldType = "type"

// Error is a sentence such as "xbee: transmit status (0x8B): delivery is missing".
func (e *Error) Error() string {
	if e.Field == FieldType {
		return "xbee: type is missing"
	}
	return "xbee: " + e.Type.String() + ": " + e.Field + " is missing"
}

// Parse reads the frame data of one frame. Its error is an *Error: the data ends before
// a field that its type has. Octets after the last field are ignored, for later firmware may
// have more to say. A type that is not known is no error, see Unknown. Octets in the frame
// that Parse returns alias data.
func Parse(data []byte) (Frame, error) {
	if len(data) == 0 {
		return nil, &Error{Field: FieldType}
	}
	t, r := Type(data[0]), reader{b: data[1:]}
	f := read(t, &r)
	if r.missing != "" {
		return nil, &Error{Type: t, Field: r.missing}
	}
	return f, nil
}

func read(t Type, r *reader) Frame {
	switch t {
	case TypeTransmit:
		return readTransmit(r)
	case TypeTransmitStatus:
		return readTransmitStatus(r)
	case TypeReceive:
		return readReceive(r)
	case TypeExplicitTransmit:
		return readExplicitTransmit(r)
	case TypeExplicitReceive:
		return readExplicitReceive(r)
	case TypeTransmit64:
		return readTransmit64(r)
	case TypeTransmit16:
		return readTransmit16(r)
	case TypeStatus802:
		return readStatus802(r)
	case TypeReceive64:
		return readReceive64(r)
	case TypeReceive16:
		return readReceive16(r)
	case TypeATCommand:
		return readATCommand(r)
	case TypeATResponse:
		return readATResponse(r)
	case TypeModemStatus:
		return readModemStatus(r)
	case TypeNodeIdentification:
		return readNodeIdentification(r)
	default:
		return &Unknown{Type: t, Data: r.rest()}
	}
}

// reader reads frame data field by field. Once a field is not there all later reads give
// zero values, so Parse looks once, at the end.
type reader struct {
	b       []byte
	missing string // the first field that was not there
}

func (r *reader) octets(field string, n int) []byte {
	if len(r.b) < n || r.missing != "" {
		if r.missing == "" {
			r.missing = field
		}
		return nil
	}
	v := r.b[:n:n]
	r.b = r.b[n:]
	return v
}

func (r *reader) octet(field string) byte {
	if v := r.octets(field, 1); v != nil {
		return v[0]
	}
	return 0
}

func (r *reader) uint16(field string) uint16 {
	if v := r.octets(field, 2); v != nil {
		return binary.BigEndian.Uint16(v)
	}
	return 0
}

func (r *reader) uint64(field string) uint64 {
	if v := r.octets(field, 8); v != nil {
		return binary.BigEndian.Uint64(v)
	}
	return 0
}

// name reads the two letters of an AT command.
func (r *reader) name() (v [2]byte) {
	copy(v[:], r.octets("command", 2))
	return v
}

// text reads up to a zero, which it drops.
func (r *reader) text(field string) []byte {
	n := bytes.IndexByte(r.b, 0)
	if n < 0 {
		n = len(r.b) // so that the zero is what is missing
	}
	v := r.octets(field, n)
	r.octet(field)
	return v
}

// rest reads everything that is left, which may be nothing.
func (r *reader) rest() []byte { return r.octets("data", len(r.b)) }
