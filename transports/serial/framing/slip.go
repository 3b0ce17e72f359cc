package framing

// The octets of SLIP with a meaning [RFC 1055].
const (
	slipEnd    = 0xC0
	slipEsc    = 0xDB
	slipEscEnd = 0xDC // after slipEsc: a slipEnd of the packet
	slipEscEsc = 0xDD // after slipEsc: a slipEsc of the packet
)

type slip struct{ crc bool }

// SLIP is the framing of RFC 1055, with the octet END before each frame as well as after
// it: what noise left on the line does not spoil the next frame. With crc the packet is
// followed by the FCS-16 of RFC 1662, low octet first, before escapes are put in; RFC 1055
// itself has no checksum.
func SLIP(crc bool) Framing { return slip{crc} }

func (s slip) Append(b, packet []byte) []byte {
	if !carries(packet) {
		return b
	}
	b = append(b, slipEnd)
	for _, c := range packet {
		b = appendSLIP(b, c)
	}
	if s.crc {
		sum := fcs(packet)
		b = appendSLIP(b, byte(sum))
		b = appendSLIP(b, byte(sum>>8))
	}
	return append(b, slipEnd)
}

func appendSLIP(b []byte, c byte) []byte {
	switch c {
	case slipEnd:
		return append(b, slipEsc, slipEscEnd)
	case slipEsc:
		return append(b, slipEsc, slipEscEsc)
	default:
		return append(b, c)
	}
}

func (s slip) NewDecoder() Decoder { return &slipDecoder{body: newBody(s.crc)} }

type slipDecoder struct {
	body
	escaped bool
}

func (d *slipDecoder) Decode(octets []byte, frame func(packet []byte)) {
	for _, c := range octets {
		if c == slipEnd { // whatever is before it: the next frame is not to suffer
			d.bad = d.bad || d.escaped
			d.escaped = false
			d.end(frame)
			continue
		}
		d.begun = true
		switch {
		case d.escaped:
			d.unescape(c)
		case c == slipEsc:
			d.escaped = true
		default:
			d.put(c)
		}
	}
}

func (d *slipDecoder) unescape(c byte) {
	d.escaped = false
	switch c {
	case slipEscEnd:
		d.put(slipEnd)
	case slipEscEsc:
		d.put(slipEsc)
	default:
		d.bad = true
	}
}

func (d *slipDecoder) Idle() {
	d.escaped = false
	d.cut()
}

func (d *slipDecoder) Errors() Errors { return d.errors }
