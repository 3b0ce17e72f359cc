package mqtt

import "encoding/binary"

// begin starts a packet at the end of b with room for a remaining length of one octet.
// at is where that length stands: finish needs it.
func begin(b []byte, t Type, flags byte) (out []byte, at int) {
	b = append(b, byte(t)<<4|flags, 0)
	return b, len(b) - 1
}

// finish writes the length that belongs to the octet at at: what follows it in b, and
// more octets that the caller will add. Where the length needs more than one octet, what
// follows is moved up.
func finish(b []byte, at, more int) []byte {
	n := len(b) - at - 1 + more
	if n < 0x80 {
		b[at] = byte(n)
		return b
	}
	extra := 1
	for limit := 1 << 14; n >= limit && extra < 3; limit <<= 7 {
		extra++
	}
	b = append(b, 0, 0, 0)[:len(b)+extra]
	copy(b[at+1+extra:], b[at+1:len(b)-extra])
	for i := at; ; i++ {
		b[i] = byte(n & 0x7F)
		n >>= 7
		if i == at+extra {
			return b
		}
		b[i] |= 0x80
	}
}

func appendVarint(b []byte, n uint32) []byte {
	for n >= 0x80 {
		b = append(b, byte(n)|0x80)
		n >>= 7
	}
	return append(b, byte(n))
}

// appendBinary adds a string or binary data with its length, cut at 65,535 octets: a
// longer one would make everything after it on the connection unreadable.
func appendBinary(b, v []byte) []byte {
	if len(v) > 0xFFFF {
		v = v[:0xFFFF]
	}
	b = binary.BigEndian.AppendUint16(b, uint16(len(v)))
	return append(b, v...)
}
