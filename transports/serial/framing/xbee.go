package framing

// The octets of Digi's API frames with a meaning. The last three are escaped as the
// delimiter is, so that they are free to control the flow.
const (
	xbeeDelimiter = 0x7E
	xbeeEscape    = 0x7D
	xbeeXON       = 0x11
	xbeeXOFF      = 0x13
	xbeeFlip      = 0x20 // what an escaped octet is combined with
)

const (
	xbeeHeader   = 3 // delimiter and length
	xbeeOverhead = xbeeHeader + 1
)

type xbee struct{ escape bool }

// XBee is the envelope of Digi's API frames: delimiter, length and checksum around the
// frame data. mode is the radio's setting AP: 1 without escapes, 2 with. Other modes are
// taken for 1.
func XBee(mode int) Framing { return xbee{escape: mode == 2} }

func (x xbee) Append(b, packet []byte) []byte {
	if !carries(packet) {
		return b
	}
	n := len(packet)
	if !x.escape {
		b = append(b, xbeeDelimiter, byte(n>>8), byte(n))
		b = append(b, packet...)
		return append(b, xbeeSum(packet))
	}
	b = append(b, xbeeDelimiter)
	b = appendEscaped(b, byte(n>>8))
	b = appendEscaped(b, byte(n))
	for _, c := range packet {
		b = appendEscaped(b, c)
	}
	return appendEscaped(b, xbeeSum(packet))
}

func appendEscaped(b []byte, c byte) []byte {
	switch c {
	case xbeeDelimiter, xbeeEscape, xbeeXON, xbeeXOFF:
		return append(b, xbeeEscape, c^xbeeFlip)
	default:
		return append(b, c)
	}
}

// xbeeSum is the checksum of frame data, without escapes.
func xbeeSum(data []byte) byte {
	var sum byte
	for _, c := range data {
		sum += c
	}
	return 0xFF - sum
}

func (x xbee) NewDecoder() Decoder {
	if x.escape {
		return &escapedDecoder{octets: make([]byte, 0, MaxFrame+xbeeOverhead)}
	}
	return &plainDecoder{octets: make([]byte, 0, MaxFrame+xbeeOverhead)}
}

// escapedDecoder decodes mode 2. No delimiter is within a frame there, so each one begins
// the next, whatever came of the last.
type escapedDecoder struct {
	octets  []byte // length, data and checksum so far, without escapes
	inside  bool   // of a frame
	escaped bool
	errors  Errors
}

func (d *escapedDecoder) Decode(octets []byte, frame func(packet []byte)) {
	for _, c := range octets {
		switch {
		case c == xbeeDelimiter:
			d.cut()
			d.inside = true
		case !d.inside:
			d.errors.Noise++
		case c == xbeeEscape && !d.escaped:
			d.escaped = true
		default:
			// Senders that escape more or less than they must are understood: the
			// checksum tells whether that was right.
			if d.escaped {
				c ^= xbeeFlip
			}
			d.escaped = false
			d.octets = append(d.octets, c)
			d.check(frame)
		}
	}
}

// check looks whether the octets so far make a frame.
func (d *escapedDecoder) check(frame func(packet []byte)) {
	if len(d.octets) < xbeeHeader-1 {
		return
	}
	size := int(d.octets[0])<<8 | int(d.octets[1])
	data := d.octets[xbeeHeader-1:]
	switch {
	case size == 0:
		d.errors.Malformed++
	case size > MaxFrame:
		d.errors.TooLong++
	case len(data) <= size:
		return
	case xbeeSum(data[:size]) != data[size]:
		d.errors.Checksum++
	default:
		frame(data[:size:size])
	}
	d.outside()
}

func (d *escapedDecoder) outside() {
	d.octets, d.inside, d.escaped = d.octets[:0], false, false
}

// cut ends a frame that stays incomplete.
func (d *escapedDecoder) cut() {
	if d.inside {
		d.errors.Malformed++
	}
	d.outside()
}

func (d *escapedDecoder) Idle() { d.cut() }

func (d *escapedDecoder) Errors() Errors { return d.errors }
