package dtls

import (
	"encoding/binary"
)

// Sizes and numbers of DTLS 1.2 (RFC 6347, RFC 5246) and of its connection ids (RFC 9146),
// as far as they are in the clear: what a datagram is, and whose.
const (
	recordHeader    = 13 // type, version, epoch, sequence number, length
	handshakeHeader = 12 // type, length, message number, fragment offset and length
	randomSize      = 32
	cidSize         = 8 // of the connection ids that we give out

	typeChangeCipherSpec = 20
	typeAlert            = 21
	typeHandshake        = 22
	typeCID              = 25

	clientHello        = 1
	helloVerifyRequest = 3

	versionDTLS10 = 0xfeff
	versionDTLS12 = 0xfefd

	alertFatal           = 2
	alertProtocolVersion = 70
	alertDecryptError    = 51

	// MaxDatagram is the longest datagram received, in octets; the library reads no longer
	// ones.
	MaxDatagram = 8192
)

// connectionID is one of ours, all of the same length so that it can be found in a record.
type connectionID [cidSize]byte

// record is one record of a datagram, its body still encrypted from epoch 1 on.
type record struct {
	kind  byte
	epoch uint16
	seq   uint64 // 48 bits
	cid   connectionID
	body  []byte
	raw   []byte // header and body
}

// readRecord takes the first record off a datagram. ok is false if it is not whole, or
// longer than the datagram.
func readRecord(b []byte) (r record, rest []byte, ok bool) {
	if len(b) < recordHeader {
		return r, nil, false
	}
	r.kind = b[0]
	header := recordHeader
	if r.kind == typeCID {
		header += cidSize
	}
	if b[1] != versionDTLS12>>8 || len(b) < header {
		return r, nil, false
	}
	r.epoch = binary.BigEndian.Uint16(b[3:])
	r.seq = binary.BigEndian.Uint64(b[3:]) & (1<<48 - 1)
	end := header + int(binary.BigEndian.Uint16(b[header-2:]))
	if end > len(b) {
		return r, nil, false
	}
	copy(r.cid[:], b[11:header-2])
	r.body, r.raw = b[header:end], b[:end]
	return r, b[end:], true
}

// hello is a ClientHello, as parts of the datagram that it came in.
type hello struct {
	seq     uint64 // of its record
	message uint16 // its message number: 0 the first time, 1 with a cookie
	version uint16
	body    []byte
	// Where in body: the core parameters, which have to be the same in both hellos, are
	// what lies before cookie's length octet and from cookieEnd to coreEnd.
	cookieAt, cookieEnd, coreEnd int
}

// helloFault says why a datagram is no ClientHello that can be answered.
type helloFault int

const (
	helloGood helloFault = iota
	helloNone
	helloMalformed
	helloFragmented
)

// readHello reads a record that may be a ClientHello. RFC 6347 (4.2.1, 4.3.2) leaves it to
// servers to take whole ones only, so that no fragments need to be kept for strangers.
func readHello(r record) (h hello, fault helloFault) {
	if r.kind != typeHandshake || r.epoch != 0 || len(r.body) == 0 || r.body[0] != clientHello {
		return h, helloNone
	}
	b := r.body
	if len(b) < handshakeHeader {
		return h, helloMalformed
	}
	length := uint24(b[1:])
	if uint24(b[6:]) != 0 || uint24(b[9:]) != length {
		return h, helloFragmented
	}
	if length != len(b)-handshakeHeader {
		return h, helloMalformed
	}
	h.seq, h.message = r.seq, binary.BigEndian.Uint16(b[4:])
	h.body = b[handshakeHeader:]
	if len(h.body) < 2+randomSize {
		return h, helloMalformed
	}
	h.version = binary.BigEndian.Uint16(h.body)
	ok := true
	at := 2 + randomSize
	skip := func(lengthOctets, shortest, longest int) {
		at, ok = skipVector(h.body, at, lengthOctets, shortest, longest, ok)
	}
	skip(1, 0, 32) // session id
	h.cookieAt = at
	skip(1, 0, 255) // cookie
	h.cookieEnd = at
	skip(2, 2, 1<<15) // cipher suites
	skip(1, 1, 255)   // compression methods
	h.coreEnd = at
	if at < len(h.body) {
		skip(2, 0, MaxDatagram) // extensions
	}
	if !ok || at != len(h.body) {
		return h, helloMalformed
	}
	return h, helloGood
}

// skipVector returns where the vector that begins at b[at] with its length ends; ok is
// false, and remains so, if it is not whole or its length not allowed.
func skipVector(b []byte, at, lengthOctets, shortest, longest int, ok bool) (int, bool) {
	if !ok || len(b)-at < lengthOctets {
		return at, false
	}
	n := 0
	for _, octet := range b[at : at+lengthOctets] {
		n = n<<8 | int(octet)
	}
	at += lengthOctets
	if n < shortest || n > longest || n > len(b)-at {
		return at, false
	}
	return at + n, true
}

func uint24(b []byte) int { return int(b[0])<<16 | int(b[1])<<8 | int(b[2]) }

// cookie is what the hello repeats of our HelloVerifyRequest; empty the first time.
func (h hello) cookie() []byte { return h.body[h.cookieAt+1 : h.cookieEnd] }

// suites are the cipher suites that the hello offers, two octets each.
func (h hello) suites() []byte {
	return h.body[h.cookieEnd+2:][:binary.BigEndian.Uint16(h.body[h.cookieEnd:])]
}

// connectionID is the length of the connection id that the client wants in our records
// (RFC 9146, 3), the longest if it names several; 0 if it takes none or its extensions are
// malformed.
func (h hello) connectionID() (longest int) {
	longest, _ = h.readConnectionID()
	return longest
}

// takesID reports whether the client offers to use a connection id.
func (h hello) takesID() bool {
	_, takes := h.readConnectionID()
	return takes
}

func (h hello) readConnectionID() (longest int, takes bool) {
	const kind = 54
	if h.coreEnd == len(h.body) {
		return 0, false
	}
	for b := h.body[h.coreEnd+2:]; len(b) >= 4; {
		length := int(binary.BigEndian.Uint16(b[2:]))
		if length > len(b)-4 {
			return 0, false
		}
		if binary.BigEndian.Uint16(b) == kind && length > 0 {
			longest, takes = max(longest, length-1), true
		}
		b = b[4+length:]
	}
	return longest, takes
}

// appendHeader appends the header of a record that is not encrypted.
func appendHeader(b []byte, kind byte, version uint16, seq uint64, length int) []byte {
	b = append(b, kind)
	b = binary.BigEndian.AppendUint16(b, version)
	b = binary.BigEndian.AppendUint64(b, seq&(1<<48-1)) // its upper half is epoch 0
	return binary.BigEndian.AppendUint16(b, uint16(length))
}

// appendMessageHeader appends the header of a handshake message that is not fragmented.
func appendMessageHeader(b []byte, kind byte, number uint16, length int) []byte {
	b = append(b, kind, byte(length>>16), byte(length>>8), byte(length))
	b = binary.BigEndian.AppendUint16(b, number)
	return append(b, 0, 0, 0, byte(length>>16), byte(length>>8), byte(length))
}

// appendAlert appends a fatal alert that is not encrypted.
func appendAlert(b []byte, seq uint64, description byte) []byte {
	b = appendHeader(b, typeAlert, versionDTLS12, seq, 2)
	return append(b, alertFatal, description)
}

// withoutCookie appends the record of the hello that the client sent before it had our
// cookie: the same but for the cookie (RFC 6347, 4.2.1), number 0, in a record before
// this one's.
func (h hello) withoutCookie(b []byte) []byte {
	seq := h.seq - 1
	if h.seq == 0 {
		seq = 63 // within the window of 64 numbers in which the library takes each once
	}
	length := len(h.body) - len(h.cookie())
	b = appendHeader(b, typeHandshake, versionDTLS12, seq, handshakeHeader+length)
	b = appendMessageHeader(b, clientHello, 0, length)
	b = append(b, h.body[:h.cookieAt]...)
	b = append(b, 0)
	return append(b, h.body[h.cookieEnd:]...)
}

// pastEpoch0 is a datagram without the leading records that are not encrypted. Once the
// client knows that the handshake is over they can only do harm: anybody's would make the
// library keep fragments, or send its last flight again.
func pastEpoch0(b []byte) []byte {
	for len(b) > 0 {
		r, rest, ok := readRecord(b)
		if !ok {
			return nil
		}
		if r.epoch != 0 {
			return b
		}
		b = rest
	}
	return nil
}
