package e2e

import (
	"bytes"
	"encoding/hex"
	"strings"
	"testing"
)

// The framings of serial lines once more, written from their specifications for the
// devices of these tests. Nothing here is shared with the gateway.

// codec is one framing.
type codec struct {
	// frame is what goes over the line for one packet.
	frame func(packet []byte) []byte
	// reader makes the state of one line's receiver.
	reader func() reader
	// checksum: a damaged frame is noticed.
	checksum bool
}

// reader finds the packets in what comes over a line.
type reader interface {
	// take looks at one octet and returns the packet that it completes, if it does.
	take(octet byte) (packet []byte, complete bool)
	// quiet says that the line has been silent for a while.
	quiet()
}

// unframed takes all octets.
func unframed(r reader, octets []byte) [][]byte {
	var all [][]byte
	for _, octet := range octets {
		if packet, ok := r.take(octet); ok {
			all = append(all, bytes.Clone(packet))
		}
	}
	return all
}

// rawCodec has nothing around the packets: their own Length tells where they end
// [SN-5.2.1], and behind the header of an encapsulation comes the Length of the packet
// within [SN-5.5].
func rawCodec() codec {
	return codec{frame: bytes.Clone, reader: func() reader { return &rawReader{} }}
}

type rawReader struct {
	octets []byte
	lost   bool
}

func (r *rawReader) quiet() { r.octets, r.lost = nil, false }

func (r *rawReader) take(octet byte) ([]byte, bool) {
	if r.lost {
		return nil, false
	}
	r.octets = append(r.octets, octet)
	length, known := rawLength(r.octets)
	if known && len(r.octets) > 1 && r.octets[0] != 1 && r.octets[1] == 0xFE && len(r.octets) > length {
		inner, innerKnown := rawLength(r.octets[length:])
		if innerKnown && inner == 0 {
			known, length = true, 0
		} else {
			known, length = innerKnown, length+inner
		}
	} else if known && len(r.octets) == length && r.octets[1] == 0xFE {
		known = false // the packet within is to come
	}
	switch {
	case known && length < 2:
		r.lost = true
	case known && len(r.octets) == length:
		packet := r.octets
		r.octets = nil
		return packet, true
	}
	return nil, false
}

// rawLength is the Length field at the beginning of b; 0 for one that cannot be.
func rawLength(b []byte) (length int, known bool) {
	switch {
	case b[0] != 1:
		length = int(b[0])
		return length, length == 0 || len(b) > 1
	case len(b) < 3:
		return 0, false
	}
	if length = int(b[1])<<8 | int(b[2]); length < 4 {
		return 0, true
	}
	return length, true
}

// slipCodec is RFC 1055: an END on both sides, and the two special octets escaped.
func slipCodec(crc bool) codec {
	const end, esc, escEnd, escEsc = 0xC0, 0xDB, 0xDC, 0xDD
	frame := func(packet []byte) []byte {
		if crc {
			packet = withFCS(packet)
		}
		out := []byte{end}
		for _, octet := range packet {
			switch octet {
			case end:
				out = append(out, esc, escEnd)
			case esc:
				out = append(out, esc, escEsc)
			default:
				out = append(out, octet)
			}
		}
		return append(out, end)
	}
	newReader := func() reader {
		var data []byte
		escaped, bad := false, false
		return readerFunc(func(octet byte) ([]byte, bool) {
			switch {
			case octet == end:
				packet, good := data, !bad && !escaped && len(data) > 0
				data, escaped, bad = nil, false, false
				if good && crc {
					packet, good = withoutFCS(packet)
				}
				return packet, good
			case escaped && octet == escEnd:
				data, escaped = append(data, end), false
			case escaped && octet == escEsc:
				data, escaped = append(data, esc), false
			case escaped:
				escaped, bad = false, true
			case octet == esc:
				escaped = true
			default:
				data = append(data, octet)
			}
			return nil, false
		})
	}
	return codec{frame: frame, reader: newReader, checksum: crc}
}

// readerFunc is a reader to which silence means nothing.
type readerFunc func(octet byte) ([]byte, bool)

func (f readerFunc) take(octet byte) ([]byte, bool) { return f(octet) }
func (readerFunc) quiet()                           {}

// cobsCodec is Consistent Overhead Byte Stuffing (Cheshire and Baker 1999): blocks of a
// code, which is the distance to the next zero, and what is between; a zero at the end.
func cobsCodec(crc bool) codec {
	frame := func(packet []byte) []byte {
		if crc {
			packet = withFCS(packet)
		}
		var out []byte
		for zeros := bytes.Split(packet, []byte{0}); len(zeros) > 0; zeros = zeros[1:] {
			run := zeros[0]
			for len(run) >= 254 {
				out = append(append(out, 255), run[:254]...)
				run = run[254:]
			}
			out = append(append(out, byte(len(run)+1)), run...)
		}
		return append(out, 0)
	}
	newReader := func() reader {
		var stuffed []byte
		return readerFunc(func(octet byte) ([]byte, bool) {
			if octet != 0 {
				stuffed = append(stuffed, octet)
				return nil, false
			}
			packet, good := unstuff(stuffed)
			stuffed = nil
			if good && crc {
				packet, good = withoutFCS(packet)
			}
			return packet, good
		})
	}
	return codec{frame: frame, reader: newReader, checksum: crc}
}

// unstuff takes the blocks apart.
func unstuff(stuffed []byte) ([]byte, bool) {
	var packet []byte
	for rest := stuffed; len(rest) > 0; {
		n := int(rest[0])
		if n > len(rest) {
			return nil, false
		}
		packet = append(packet, rest[1:n]...)
		rest = rest[n:]
		if n < 255 && len(rest) > 0 {
			packet = append(packet, 0)
		}
	}
	return packet, len(packet) > 0
}

// xbeeCodec is the envelope of Digi's API frames in mode 2: 7E, two octets of length, the
// frame data and a checksum, with four octets escaped. A packet here is frame data.
func xbeeCodec() codec {
	const start, esc, mask = 0x7E, 0x7D, 0x20
	frame := func(data []byte) []byte {
		var sum byte
		for _, octet := range data {
			sum += octet
		}
		inside := append([]byte{byte(len(data) >> 8), byte(len(data))}, data...)
		out := []byte{start}
		for _, octet := range append(inside, 0xFF-sum) {
			switch octet {
			case start, esc, 0x11, 0x13:
				out = append(out, esc, octet^mask)
			default:
				out = append(out, octet)
			}
		}
		return out
	}
	newReader := func() reader {
		var inside []byte
		escaped, outside := false, true
		return readerFunc(func(octet byte) ([]byte, bool) {
			switch {
			case octet == start:
				inside, escaped, outside = nil, false, false
				return nil, false
			case outside:
				return nil, false
			case octet == esc && !escaped:
				escaped = true
				return nil, false
			case escaped:
				octet, escaped = octet^mask, false
			}
			inside = append(inside, octet)
			if len(inside) < 3 || len(inside) < 3+int(inside[0])<<8+int(inside[1]) {
				return nil, false
			}
			outside = true
			var sum byte
			for _, octet := range inside[2:] {
				sum += octet
			}
			return inside[2 : len(inside)-1], sum == 0xFF && len(inside) > 3
		})
	}
	return codec{frame: frame, reader: newReader, checksum: true}
}

// xbeePlainCodec is mode 1, without escapes: where a frame is not one, the search for the
// next goes on behind its 7E.
func xbeePlainCodec() codec {
	frame := func(data []byte) []byte {
		out := []byte{0x7E, byte(len(data) >> 8), byte(len(data))}
		sum := byte(0xFF)
		for _, octet := range data {
			out, sum = append(out, octet), sum-octet
		}
		return append(out, sum)
	}
	return codec{frame: frame, reader: func() reader { return &plainReader{} }, checksum: true}
}

type plainReader struct{ octets []byte }

func (r *plainReader) quiet() { r.octets = nil }

func (r *plainReader) take(octet byte) ([]byte, bool) {
	r.octets = append(r.octets, octet)
	for len(r.octets) > 0 {
		b := r.octets
		if b[0] != 0x7E {
			r.octets = b[1:]
			continue
		}
		if len(b) < 3 {
			return nil, false
		}
		size := int(b[1])<<8 | int(b[2])
		if size > 0 && size < 400 && len(b) < size+4 {
			return nil, false
		}
		if size > 0 && size < 400 {
			var sum byte
			for _, octet := range b[3 : size+4] {
				sum += octet
			}
			if sum == 0xFF {
				r.octets = b[size+4:]
				return b[3 : size+3], true
			}
		}
		r.octets = b[1:]
	}
	return nil, false
}

// fcs is the FCS-16 of RFC 1662, bit by bit.
func fcs(b []byte) uint16 {
	sum := uint16(0xFFFF)
	for _, octet := range b {
		sum ^= uint16(octet)
		for range 8 {
			odd := sum & 1
			if sum >>= 1; odd == 1 {
				sum ^= 0x8408
			}
		}
	}
	return ^sum
}

func withFCS(b []byte) []byte {
	sum := fcs(b)
	return append(bytes.Clone(b), byte(sum), byte(sum>>8))
}

func withoutFCS(b []byte) ([]byte, bool) {
	if len(b) < 3 {
		return nil, false
	}
	inside := b[:len(b)-2]
	return inside, bytes.Equal(withFCS(inside), b)
}

func TestCodecs(t *testing.T) {
	t.Parallel()
	if sum := fcs([]byte("123456789")); sum != 0x906E {
		t.Errorf("FCS-16 of the check string is %04X, want 906E", sum)
	}
	full := strings.Repeat("11", 254)
	for _, test := range []struct {
		name           string
		codec          codec
		packet, framed string
	}{
		{"raw", rawCodec(), "0216", "0216"},
		{"raw, long", rawCodec(), "01000416", "01000416"},
		{"raw, encapsulated", rawCodec(), "05FE0000070216", "05FE0000070216"},
		{"raw, encapsulated and long", rawCodec(), "04FE002A01000416", "04FE002A01000416"},
		{"slip", slipCodec(false), "04C0DB16", "C004DBDCDBDD16C0"},
		{"slip with crc", slipCodec(true), "313233343536373839", "C03132333435363738396E90C0"},
		{"cobs", cobsCodec(false), "11220033", "0311220233" + "00"},
		{"cobs, zeros", cobsCodec(false), "0000", "01010100"},
		{"cobs, full block", cobsCodec(false), full + "0022", "FF" + full + "01022200"},
		{"cobs with crc", cobsCodec(true), "313233343536373839", "0C3132333435363738396E9000"},
		{"xbee transmit", xbeeCodec(), "10010013A200400A0127FFFE00004869", "7E001010" + "01007D33A200400A0127FFFE0000486919"},
		{"xbee at", xbeeCodec(), "08524E4A", "7E000408524E4A0D"},
		{"xbee mode 1", xbeePlainCodec(), "10010013A200400A0127FFFE00004869", "7E001010010013A200400A0127FFFE0000486919"},
	} {
		packet, _ := hex.DecodeString(test.packet)
		framed, _ := hex.DecodeString(test.framed)
		if got := test.codec.frame(packet); !bytes.Equal(got, framed) {
			t.Errorf("%s: % X is framed as % X, want % X", test.name, packet, got, framed)
		}
		r := test.codec.reader()
		for range 2 {
			if got := unframed(r, framed); len(got) != 1 || !bytes.Equal(got[0], packet) {
				t.Errorf("%s: in % X there are % X, want % X", test.name, framed, got, packet)
			}
		}
		for i := range framed {
			bad := bytes.Clone(framed)
			bad[i] ^= 0x04
			for _, got := range unframed(test.codec.reader(), bad) {
				if test.codec.checksum && len(framed) < 100 {
					t.Errorf("%s: in % X there are % X", test.name, bad, got)
				}
			}
		}
	}
	r := rawCodec().reader()
	_ = unframed(r, []byte{0, 2, 0x16})
	r.quiet()
	if got := unframed(r, []byte{2, 0x16}); len(got) != 1 {
		t.Error("after nonsense and silence a raw packet is not found")
	}
}
