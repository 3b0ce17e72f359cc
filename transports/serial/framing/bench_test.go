package framing

import (
	"bytes"
	"math/rand/v2"
	"testing"
)

// sixty is a packet of 60 octets, of which a framing has some to escape.
func sixty() []byte {
	r := rand.New(rand.NewPCG(1, 2))
	return publish(1, 60, func(int) byte { return byte(r.Uint32()) })
}

func BenchmarkAppend(b *testing.B) {
	packet := sixty()
	for _, k := range kinds {
		b.Run(k.name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(packet)))
			var line []byte
			for b.Loop() {
				line = k.framing.Append(line[:0], packet)
			}
		})
	}
}

func BenchmarkDecode(b *testing.B) {
	packet := sixty()
	for _, k := range kinds {
		b.Run(k.name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(packet)))
			line := k.framing.Append(nil, packet)
			d := k.framing.NewDecoder()
			n := 0
			frame := func([]byte) { n++ }
			for b.Loop() {
				d.Decode(line, frame)
			}
			if n != b.N {
				b.Fatalf("%d packets of %d", n, b.N)
			}
		})
	}
}

// BenchmarkNoise is what lines cost that carry nothing but noise, in the worst case that
// is known of each decoder that searches.
func BenchmarkNoise(b *testing.B) {
	r := rand.New(rand.NewPCG(1, 2))
	random := make([]byte, 10000)
	for i := range random {
		random[i] = byte(r.Uint32())
	}
	// A long packet full of packets, and an impossible beginning behind it.
	nested := message(typePublish, []byte{0}, word(1), word(0), bytes.Repeat([]byte{2, typePingresp}, (MaxFrame-9)/2))
	for _, c := range []struct {
		name    string
		framing Framing
		line    []byte
	}{
		{"raw/random", Raw(), random},
		{"raw/nested", Raw(), append(nested, 0)},
		{"raw/one after the other", Raw(), bytes.Repeat([]byte{0xFF, typePublish, 0x20, 0, 1, 0, 1}, 1000)},
		{"xbee 1/random", XBee(1), random},
		{"xbee 1/delimiters", XBee(1), bytes.Repeat([]byte{0x7E, 0x03, 0xFF}, 3000)},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(c.line)))
			d := c.framing.NewDecoder()
			for b.Loop() {
				for i := range c.line {
					d.Decode(c.line[i:i+1], func([]byte) {})
				}
				d.Idle()
			}
		})
	}
}
