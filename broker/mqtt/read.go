package mqtt

import (
	"encoding/binary"
	"unicode/utf8"
)

// reader takes a packet's body apart. Every method checks the length itself; after the
// first error they all return zero values, and err keeps that first error.
type reader struct {
	b       []byte // what is not read yet
	h       Header
	version Version
	from    Sender
	most    int // filters in a packet; 0: any number
	err     *Error

	// Of the property block that is being read, see properties.go.
	rest []byte // what follows the block
	prop Property
	seen uint64
}

// oneMore judges a packet that has n filters and another one.
func (r *reader) oneMore(n int) {
	if r.most > 0 && n >= r.most {
		r.fail(CodeQuota, "payload", "has too many filters")
	}
}

// fail records an error. Within a property, field may be empty: it is the property.
func (r *reader) fail(code Code, field, reason string) {
	if r.err != nil {
		return
	}
	if field == "" {
		field = r.prop.String()
	}
	r.err = &Error{Packet: r.h.Type, Field: field, Reason: reason, Code: code, Version: r.version}
	r.b = nil
}

func (r *reader) malformed(field, reason string)     { r.fail(CodeMalformed, field, reason) }
func (r *reader) protocolError(field, reason string) { r.fail(CodeProtocolError, field, reason) }

func (r *reader) byte(field string) byte {
	if len(r.b) < 1 {
		r.malformed(field, reasonTruncated)
		return 0
	}
	v := r.b[0]
	r.b = r.b[1:]
	return v
}

func (r *reader) uint16(field string) uint16 {
	if len(r.b) < 2 {
		r.malformed(field, reasonTruncated)
		return 0
	}
	v := binary.BigEndian.Uint16(r.b)
	r.b = r.b[2:]
	return v
}

func (r *reader) uint32(field string) uint32 {
	if len(r.b) < 4 {
		r.malformed(field, reasonTruncated)
		return 0
	}
	v := binary.BigEndian.Uint32(r.b)
	r.b = r.b[4:]
	return v
}

// varint reads a variable byte integer.
func (r *reader) varint(field string) int {
	v, n, ok := varint(r.b)
	switch {
	case !ok:
		r.malformed(field, "is not a variable byte integer in its shortest form")
		return 0
	case n == 0:
		r.malformed(field, reasonTruncated)
		return 0
	}
	r.b = r.b[n:]
	return v
}

// varint reads a variable byte integer of one to four octets [MQTT 5, 1.5.5]. n is how
// many there were, 0 when b ends too early. ok is false if there were more than four, or
// more than the value needs [MQTT-1.5.5-1].
func varint(b []byte) (v, n int, ok bool) {
	for i := range 4 {
		if i >= len(b) {
			return 0, 0, true
		}
		c := b[i]
		v |= int(c&0x7F) << (7 * i)
		if c < 0x80 {
			return v, i + 1, i == 0 || c != 0
		}
	}
	return 0, 0, false
}

// binary reads binary data: a length of two octets, then as many octets. The result is
// never nil unless there was an error.
func (r *reader) binary(field string) []byte {
	n := int(r.uint16(field))
	if n > len(r.b) {
		r.malformed(field, reasonTruncated)
		return nil
	}
	if r.err != nil {
		return nil
	}
	v := r.b[:n:n]
	r.b = r.b[n:]
	return v
}

// string reads a UTF-8 encoded string [MQTT 5, 1.5.4].
func (r *reader) string(field string) []byte {
	v := r.binary(field)
	if !validString(v) {
		r.malformed(field, "is not well-formed UTF-8 without U+0000")
		return nil
	}
	return v
}

// validString reports whether s is well-formed UTF-8, which rules out surrogates
// [MQTT-1.5.4-1], and free of U+0000 [MQTT-1.5.4-2].
func validString(s []byte) bool {
	for i, c := range s {
		if c == 0 {
			return false
		}
		if c >= utf8.RuneSelf {
			return utf8.Valid(s[i:]) && !hasZero(s[i:])
		}
	}
	return true
}

func hasZero(s []byte) bool {
	for _, c := range s {
		if c == 0 {
			return true
		}
	}
	return false
}

// topicName reads a topic name. An empty one is the caller's to judge.
func (r *reader) topicName(field string) []byte {
	v := r.string(field)
	if hasWildcard(v) {
		r.malformed(field, "has a wildcard") // [MQTT-3.3.2-2] [MQTT-4.7.1-1]
		return nil
	}
	return v
}

// packetID reads a packet identifier, which is never zero [MQTT-2.2.1-3].
func (r *reader) packetID() uint16 {
	v := r.uint16("packet identifier")
	if v == 0 {
		r.protocolError("packet identifier", "is zero")
	}
	return v
}

// code reads a reason code that must be one of those of a packet.
func (r *reader) code(in uint16) Code {
	c := Code(r.byte("reason code"))
	if !c.allowedIn(in) {
		r.protocolError("reason code", "is not one of this packet")
	}
	return c
}

// done ends the packet: nothing may be left of the body.
func (r *reader) done() {
	if len(r.b) > 0 {
		r.malformed("remaining length", "is larger than the packet")
	}
}
