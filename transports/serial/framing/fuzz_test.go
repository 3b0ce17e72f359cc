package framing

import (
	"bytes"
	"testing"

	"mqttsn-gateway/mqttsn"
)

// pieces cuts octets into pieces of 1 to 16, as seed says, and decodes them. It checks what
// holds of every packet on the way.
func pieces(t *testing.T, d Decoder, line []byte, seed uint64, frame func([]byte)) {
	room := memory(d)
	for len(line) > 0 {
		n := min(len(line), 1+int(seed&0x0F))
		seed = seed*6364136223846793005 + 1442695040888963407
		d.Decode(line[:n], func(p []byte) {
			if len(p) == 0 || len(p) > MaxFrame {
				t.Fatalf("a packet of %d octets", len(p))
			}
			frame(p)
		})
		line = line[n:]
	}
	if memory(d) != room {
		t.Fatalf("the decoder holds %d octets, %d at first", memory(d), room)
	}
}

// fuzz checks that a framing gives back what it carries; that how a line is cut makes no
// difference; and that a good frame is found after garbage: at once if the framing has
// delimiters, else after a silence.
func fuzz(t *testing.T, f Framing, delimited bool, garbage, packet []byte, seed uint64) {
	garbage = garbage[:min(len(garbage), 4*MaxFrame)] // more shows nothing new
	packet = packet[:min(len(packet), MaxFrame+1)]
	var got [][]byte
	keep := func(p []byte) { got = append(got, bytes.Clone(p)) }

	framed := f.Append(nil, packet)
	d := f.NewDecoder()
	pieces(t, d, framed, seed, keep)
	if carries(packet) && (len(got) != 1 || !bytes.Equal(got[0], packet) || d.Errors() != (Errors{})) {
		t.Fatalf("% X comes back as % X, %+v", packet, got, d.Errors())
	}

	got = got[:0]
	d = f.NewDecoder()
	pieces(t, d, garbage, seed, keep)
	whole := f.NewDecoder()
	if once := through(whole, garbage); !equal(once, got) || whole.Errors() != d.Errors() {
		t.Fatalf("% X gives\n% X, %+v, in pieces\n% X, %+v", garbage, once, whole.Errors(), got, d.Errors())
	}
	if !delimited {
		d.Idle()
	}
	pieces(t, d, framed, seed, keep)
	if carries(packet) && (len(got) == 0 || !bytes.Equal(got[len(got)-1], packet)) {
		t.Fatalf("after % X, % X is not found: % X", garbage, packet, got)
	}

	d.Idle()
	d.Decode(nil, keep)
	before := len(got)
	pieces(t, d, framed, seed, keep)
	if carries(packet) && len(got) != before+1 {
		t.Fatalf("after a silence, % X is read as % X", packet, got[before:])
	}
}

func addGolden(f *testing.F, marks ...[]byte) {
	for i, g := range goldens(f) {
		f.Add(g.line, g.packet, uint64(i), i%2 == 0)
		f.Add(g.line[:len(g.line)/2], g.packet, uint64(i), i%2 == 1)
	}
	for i, m := range marks {
		f.Add(m, []byte{0, 0x7E, 0xC0, 0xDB, 0x7D, 0x11}, uint64(i), true)
	}
}

func FuzzRaw(f *testing.F) {
	good, bad := datagrams(f)
	for i, p := range append(good, bad...) {
		f.Add(p, p, uint64(i))
	}
	f.Add([]byte{0x0C, 0x0C, 0x20, 0, 5, 0, 7, 'h', 'i', 4, 0x0F, 0, 8, 4, 0x10, 0, 8, 2, 0x17}, []byte("hi"), uint64(3))
	f.Add([]byte{4, 0xFE, 0, 0x2A, 2, 0x16, 0, 0xFF, 0xFE, 0, 1, 2, 3}, []byte("hi"), uint64(4))
	f.Fuzz(func(t *testing.T, garbage, packet []byte, seed uint64) {
		// What this framing carries is packets: whatever package mqttsn reads, and data
		// in one that we make.
		if _, err := mqttsn.Decode(packet); err != nil || !whatIsCarriedIsGood(packet) {
			packet = packet[:min(len(packet), MaxFrame-9)]
			packet = message(typePublish, []byte{0}, word(1), word(0), packet)
		}
		fuzz(t, Raw(), false, garbage, packet, seed)
	})
}

// whatIsCarriedIsGood reports whether what a forwarder's frame carries is a packet too.
func whatIsCarriedIsGood(p []byte) bool {
	_, err := mqttsn.Decode(p[headOf(p):])
	return err == nil && len(p) <= MaxFrame
}

func FuzzSLIP(f *testing.F) {
	addGolden(f, []byte{0xC0, 0xDB}, []byte{0xDB, 0xDB, 0xDC}, bytes.Repeat([]byte{0x55}, MaxFrame+3))
	f.Fuzz(func(t *testing.T, garbage, packet []byte, seed uint64, crc bool) {
		fuzz(t, SLIP(crc), true, garbage, packet, seed)
	})
}

func FuzzCOBS(f *testing.F) {
	addGolden(f, []byte{0xFF, 1}, []byte{1, 1, 1}, bytes.Repeat([]byte{0xFF}, MaxFrame+6))
	f.Fuzz(func(t *testing.T, garbage, packet []byte, seed uint64, crc bool) {
		fuzz(t, COBS(crc), true, garbage, packet, seed)
	})
}

func FuzzXBeeEnvelope(f *testing.F) {
	addGolden(f, []byte{0x7E, 3, 0xFF}, []byte{0x7E, 0x7D}, []byte{0x7E, 0, 6, 0x23, 0xDC, 0x7E, 0, 1, 0x23, 0xDC})
	f.Fuzz(func(t *testing.T, garbage, packet []byte, seed uint64, escaped bool) {
		if escaped {
			fuzz(t, XBee(2), true, garbage, packet, seed)
		} else {
			fuzz(t, XBee(1), false, garbage, packet, seed)
		}
	})
}
