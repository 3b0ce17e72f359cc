package framing

// fcsSize is the size in octets of the frame check sequence.
const fcsSize = 2

// fcsPolynomial is x**16 + x**12 + x**5 + 1, least significant bit first [RFC 1662, C.1].
const fcsPolynomial = 0x8408

// fcs returns the 16-bit frame check sequence of b [RFC 1662, C.2]. It goes on the line
// with the low octet first.
func fcs(b []byte) uint16 {
	sum := uint16(0xFFFF)
	for _, c := range b {
		sum ^= uint16(c)
		for range 8 {
			if sum&1 != 0 {
				sum = sum>>1 ^ fcsPolynomial
			} else {
				sum >>= 1
			}
		}
	}
	return ^sum
}

// body collects the octets of a frame between two delimiters, without their escapes.
type body struct {
	crc    bool // a frame check sequence is at the end
	begun  bool // there was an octet since the delimiter
	bad    bool // with an escape or length that does not exist
	long   bool
	octets []byte
	errors Errors
}

func newBody(crc bool) body {
	size := MaxFrame
	if crc {
		size += fcsSize
	}
	return body{crc: crc, octets: make([]byte, 0, size)}
}

func (b *body) put(c byte) {
	if len(b.octets) == cap(b.octets) {
		b.long = true
		return
	}
	b.octets = append(b.octets, c)
}

// end hands out the packet if the frame carried a good one, counts it otherwise, and
// begins the next. Nothing between two delimiters is no frame.
func (b *body) end(frame func(packet []byte)) {
	packet := b.octets
	switch {
	case !b.begun:
	case b.long:
		b.errors.TooLong++
	case b.bad:
		b.errors.Malformed++
	case !b.crc && len(packet) == 0, b.crc && len(packet) <= fcsSize:
		b.errors.Malformed++
	case b.crc && !checked(packet):
		b.errors.Checksum++
	default:
		if b.crc {
			packet = packet[:len(packet)-fcsSize]
		}
		frame(packet[:len(packet):len(packet)])
	}
	b.clear()
}

// cut ends a frame that stays incomplete.
func (b *body) cut() {
	switch {
	case !b.begun:
	case b.long:
		b.errors.TooLong++
	default:
		b.errors.Malformed++
	}
	b.clear()
}

func (b *body) clear() {
	b.begun, b.bad, b.long = false, false, false
	b.octets = b.octets[:0]
}

// checked reports whether b ends with the frame check sequence of what precedes it.
func checked(b []byte) bool {
	n := len(b) - fcsSize
	sum := fcs(b[:n])
	return b[n] == byte(sum) && b[n+1] == byte(sum>>8)
}
