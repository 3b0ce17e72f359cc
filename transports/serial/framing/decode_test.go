package framing

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"pgregory.net/rapid"
)

type kind struct {
	name    string
	framing Framing
	// checked: no frame with one octet changed is taken for a good one. Mode 2 of XBee is
	// not: an escape lost or found shifts what follows, and the sum of 8 bits fails to
	// tell one time in 256.
	checked bool
}

var kinds = []kind{
	{"raw", Raw(), false},
	{"slip", SLIP(false), false},
	{"slip with crc", SLIP(true), true},
	{"cobs", COBS(false), false},
	{"cobs with crc", COBS(true), true},
	{"xbee 1", XBee(1), true},
	{"xbee 2", XBee(2), false},
}

// packets makes packets that a framing carries: any octets, or those of a PUBLISH for the
// raw one, whose marks are the packets' own.
func packets(k kind) *rapid.Generator[[]byte] {
	special := rapid.SampledFrom([]byte{0, 1, 0x11, 0x13, 0x20, 0x7D, 0x7E, 0xC0, 0xDB, 0xDC, 0xDD, 0xFF})
	octet := rapid.OneOf(rapid.Byte(), special)
	return rapid.Custom(func(t *rapid.T) []byte {
		most := rapid.SampledFrom([]int{3, 60, 260, MaxFrame}).Draw(t, "most")
		b := rapid.SliceOfN(octet, 1, most).Draw(t, "octets")
		if k.framing == Raw() {
			return message(typePublish, []byte{0}, word(1), word(0), b[:min(len(b), MaxFrame-9)])
		}
		return b
	})
}

func TestRoundTrip(t *testing.T) {
	for _, k := range kinds {
		t.Run(k.name, func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				want := rapid.SliceOfN(packets(k), 1, 5).Draw(t, "packets")
				var line []byte
				for _, p := range want {
					line = k.framing.Append(line, p)
				}
				d := k.framing.NewDecoder()
				var got [][]byte
				for len(line) > 0 {
					n := rapid.IntRange(1, len(line)).Draw(t, "chunk")
					got = append(got, through(d, line[:n])...)
					line = line[n:]
				}
				if !equal(got, want) {
					t.Fatalf("% X come back as % X", want, got)
				}
				if d.Errors() != (Errors{}) {
					t.Fatalf("%+v", d.Errors())
				}
			})
		})
	}
}

func equal(a, b [][]byte) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if !bytes.Equal(a[i], b[i]) {
			return false
		}
	}
	return true
}

// No beginning of a frame gives a packet, whether silence follows or not, nor does it spoil
// the next frame.
func TestTruncations(t *testing.T) {
	next := octets(t, "07 0D 00 05 00 07 00")
	for _, g := range goldens(t) {
		for n := range len(g.line) {
			d := g.framing.NewDecoder()
			got := through(d, g.line[:n])
			d.Idle()
			got = append(got, through(d, nil)...)
			got = append(got, through(d, g.framing.Append(nil, next))...)
			if _, isSLIP := g.framing.(slip); isSLIP && n == len(g.line)-1 {
				got = got[len(got)-1:] // the END that is missing is there before the next
			}
			if !equal(got, [][]byte{next}) {
				t.Errorf("%s: % X, silence, % X give % X", g.name, g.line[:n], next, got)
			}
		}
	}
}

// Whatever octet of a frame is changed, no wrong packet comes out of a framing with a
// checksum, and the next frame is not lost.
func TestOneOctetChanged(t *testing.T) {
	next := octets(t, "07 0D 00 05 00 07 00")
	packet := octets(t, "0E 0C 20 00 05 00 07 7E 7D C0 DB 00 11 2A")
	for _, k := range kinds {
		if k.framing == Raw() {
			continue // see TestRawLosses
		}
		line := k.framing.Append(nil, packet)
		for i := range line {
			for x := 1; x < 256; x++ {
				b := bytes.Clone(line)
				b[i] ^= byte(x)
				b = k.framing.Append(b, next)
				d := k.framing.NewDecoder()
				got := through(d, b)
				d.Idle()
				got = append(got, through(d, nil)...)
				if len(got) == 0 || !bytes.Equal(got[len(got)-1], next) {
					t.Fatalf("%s: octet %d as %02X: the next packet is lost: % X", k.name, i, b[i], got)
				}
				if k.checked && len(got) > 1 && !bytes.Equal(got[0], packet) {
					t.Fatalf("%s: octet %d as %02X: % X is taken for a packet", k.name, i, b[i], got[0])
				}
			}
		}
	}
}

func TestLongest(t *testing.T) {
	for _, k := range kinds {
		r := rand.New(rand.NewPCG(1, 2))
		longest := message(typePublish, make([]byte, MaxFrame-4))
		for i := 9; i < len(longest); i++ {
			longest[i] = byte(r.Uint32())
		}
		line := k.framing.Append(nil, longest)
		d := k.framing.NewDecoder()
		if got := through(d, line); len(got) != 1 || !bytes.Equal(got[0], longest) {
			t.Errorf("%s: a packet of %d octets does not come back", k.name, MaxFrame)
		}
		if got := k.framing.Append([]byte("x"), append(longest, 0)); string(got) != "x" {
			t.Errorf("%s: a packet of %d octets is framed", k.name, MaxFrame+1)
		}
		if got := k.framing.Append([]byte("x"), nil); string(got) != "x" {
			t.Errorf("%s: no packet is framed", k.name)
		}
	}
}

// What the whole line shows makes no difference to what its first octets do.
func TestOctetByOctet(t *testing.T) {
	for _, c := range []struct {
		framing Framing
		line    string
	}{
		{XBee(1), "7E 30 30 7E 30 30"},
		{XBee(1), "7E 00 00 7E 00 01 23 DD 7E 00 05"},
		// What follows a packet is credible in its first octets, and not in the others.
		{Raw(), "00 02 17 0C 0A 00 00 00 01 61 62 63 64 65 00 02 17 02 16"},
		{Raw(), "00 02 17 89 02 64 74 F9 0C C6 88 F2 0C 30 AA 30 3D F3 A2 0C 63 45 F2 22 97"},
		{Raw(), "00 02 17 0E FE 00 01 02 03 04 05 06 07 08 09 0A 0B 02 03"},
	} {
		line := octets(t, c.line)
		whole, one := c.framing.NewDecoder(), c.framing.NewDecoder()
		want := through(whole, line)
		var got [][]byte
		for i := range line {
			got = append(got, through(one, line[i:i+1])...)
		}
		if !equal(got, want) || one.Errors() != whole.Errors() {
			t.Errorf("%s gives % X, %+v, octet by octet % X, %+v", c.line, want, whole.Errors(), got, one.Errors())
		}
	}
}

// A decoder has its memory from the beginning, whatever it reads.
func TestBounded(t *testing.T) {
	for _, k := range kinds {
		r := rand.New(rand.NewPCG(1, 2))
		noise := make([]byte, 1<<20)
		for i := range noise {
			noise[i] = byte(r.Uint32())
			if i > len(noise)/2 { // without delimiters, and lengths that go on and on
				noise[i] = []byte{0x01, 0x03, 0xFF, 0x0C, 0x09}[i%5]
			}
		}
		d := k.framing.NewDecoder()
		before := memory(d)
		for len(noise) > 0 {
			n := min(len(noise), 1+r.IntN(5000))
			d.Decode(noise[:n], func(p []byte) {
				if len(p) == 0 || len(p) > MaxFrame {
					t.Fatalf("%s: a packet of %d octets", k.name, len(p))
				}
			})
			noise = noise[n:]
		}
		if after := memory(d); after != before {
			t.Errorf("%s: holds %d octets, %d at first", k.name, after, before)
		}
	}
}

// memory is how many octets a decoder can hold.
func memory(d Decoder) int {
	switch d := d.(type) {
	case *rawDecoder:
		return cap(d.octets)
	case *slipDecoder:
		return cap(d.octets)
	case *cobsDecoder:
		return cap(d.octets)
	case *plainDecoder:
		return cap(d.octets)
	case *escapedDecoder:
		return cap(d.octets)
	default:
		panic("a decoder unknown to this test")
	}
}

func TestNoAllocation(t *testing.T) {
	packet := octets(t, "0E 0C 20 00 05 00 07 7E 7D C0 DB 00 11 2A")
	for _, k := range kinds {
		b := make([]byte, 0, 100)
		if n := testing.AllocsPerRun(100, func() { b = k.framing.Append(b[:0], packet) }); n != 0 {
			t.Errorf("%s: Append allocates %v times", k.name, n)
		}
		d := k.framing.NewDecoder()
		got := 0
		frame := func([]byte) { got++ }
		if n := testing.AllocsPerRun(100, func() { d.Decode(b, frame) }); n != 0 {
			t.Errorf("%s: Decode allocates %v times", k.name, n)
		}
		if got != 101 {
			t.Errorf("%s: %d packets of 101", k.name, got)
		}
	}
}
