package mqttsn

// This file holds all index arithmetic of the package. Everything else reads through
// frame and the methods of reader, which check lengths before they look.

// Octets of Length and MsgType in the two forms of the header [SN-5.2.1].
const (
	shortHeader = 2
	longHeader  = 4
)

// headerSize is the size of the header of b, which is not empty. A first octet of 1 is
// the escape to the 3-octet Length: no packet has 1 octet.
func headerSize(b []byte) int {
	if b[0] == 0x01 {
		return longHeader
	}
	return shortHeader
}

// frame splits a datagram into message type and body [SN-5.2]. The body of the
// forwarder encapsulation is everything after its type, since its Length covers only
// its header [SN-5.5].
//
// lenient accepts octets after the declared end and cuts them off.
func frame(b []byte, lenient bool) (t Type, body []byte, f fault) {
	if len(b) < shortHeader {
		return 0, nil, fault{FieldLength, ReasonMissing}
	}
	header, length := headerSize(b), int(b[0])
	if header == longHeader {
		if len(b) < longHeader {
			return 0, nil, fault{FieldLength, ReasonMissing}
		}
		length = int(b[1])<<8 | int(b[2])
	}
	if length < header {
		return 0, nil, fault{FieldLength, ReasonIllegal}
	}
	t = Type(b[header-1])
	if t == TypeEncapsulated {
		return frameEncapsulated(b, header, length)
	}
	if lenient && length < len(b) {
		b = b[:lenientEnd(b, header, length)]
		length = len(b)
	}
	if length != len(b) {
		return 0, nil, fault{FieldLength, ReasonMismatch}
	}
	return t, b[header:], fault{}
}

// frameEncapsulated is frame for the forwarder encapsulation: its Length is a single
// octet and covers Length, MsgType, Ctrl and the Wireless Node Id [SN-5.5].
func frameEncapsulated(b []byte, header, length int) (Type, []byte, fault) {
	if header != shortHeader || length < 3 {
		return 0, nil, fault{FieldLength, ReasonIllegal}
	}
	if length > len(b) {
		return 0, nil, fault{FieldLength, ReasonMismatch}
	}
	return TypeEncapsulated, b[header:], fault{}
}

// lenientEnd is where a packet ends whose datagram is longer than it declares. Paho's
// client library writes 255 as the length of a packet of 257 octets, in the long form
// that nothing else uses for 255; that one is taken whole.
func lenientEnd(b []byte, header, length int) int {
	if header == longHeader && length == 255 && len(b) == 257 {
		return 257
	}
	return length
}

// reader reads the body of a packet field by field. The first field that is not there
// sets the fault; all later reads then return zero values, so callers check once, at
// the end.
type reader struct {
	b       []byte
	head    int // octets of a forwarder's header: the frame's Length
	lenient bool
	fault   fault
}

func (r *reader) fail(field, reason string) {
	if !r.fault.failed() {
		r.fault = fault{field, reason}
	}
	r.b = nil
}

func (r *reader) octet(field string) byte {
	if len(r.b) < 1 {
		r.fail(field, ReasonMissing)
		return 0
	}
	v := r.b[0]
	r.b = r.b[1:]
	return v
}

func (r *reader) uint16(field string) uint16 {
	if len(r.b) < 2 {
		r.fail(field, ReasonMissing)
		return 0
	}
	v := uint16(r.b[0])<<8 | uint16(r.b[1])
	r.b = r.b[2:]
	return v
}

// octets reads n octets. They alias the input and have no room to grow into it.
func (r *reader) octets(field string, n int) []byte {
	if n < 0 || len(r.b) < n {
		r.fail(field, ReasonMissing)
		return nil
	}
	v := r.b[:n:n]
	r.b = r.b[n:]
	return v
}

// rest reads everything that is left, which may be nothing.
func (r *reader) rest() []byte {
	return r.octets(FieldMessage, len(r.b))
}

// restNotEmpty reads everything that is left, which must be something.
func (r *reader) restNotEmpty(field string) []byte {
	if len(r.b) == 0 {
		r.fail(field, ReasonEmpty)
	}
	return r.rest()
}

// empty reports whether all octets have been read.
func (r *reader) empty() bool { return len(r.b) == 0 }

// end is the result of reading: what failed first, or surplus octets.
func (r *reader) end() fault {
	if len(r.b) > 0 {
		r.fail(FieldMessage, ReasonSurplus)
	}
	return r.fault
}

// newReader reads the body that frame found in b.
func newReader(b, body []byte, lenient bool) reader {
	return reader{b: body, head: int(b[0]), lenient: lenient}
}

// nodeID reads the Wireless Node Id: what a forwarder's header holds besides Length,
// MsgType and Ctrl. An empty one would stand for the forwarder itself.
func (r *reader) nodeID() []byte {
	id := r.octets("WirelessNodeId", r.head-3)
	if len(id) == 0 {
		r.fail("WirelessNodeId", ReasonEmpty)
	}
	return id
}

// packet reads the packet within a forwarder's frame, which fills the rest of it.
func (r *reader) packet() []byte {
	t, body, f := frame(r.b, r.lenient)
	switch {
	case f.failed():
		r.fail(FieldMessage, f.reason)
		return nil
	case t == TypeEncapsulated:
		r.fail(FieldMessage, ReasonNested)
		return nil
	}
	p := r.octets(FieldMessage, headerSize(r.b)+len(body))
	r.b = nil // frame lets octets follow only if they are to be ignored
	return p
}
