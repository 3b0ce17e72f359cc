package framing

import (
	"bytes"
	"encoding/hex"
	"strings"
	"testing"
)

// octets reads hexadecimal digits; spaces do not count.
func octets(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// through decodes b as a whole and returns the packets.
func through(d Decoder, b []byte) (packets [][]byte) {
	d.Decode(b, func(p []byte) { packets = append(packets, bytes.Clone(p)) })
	return packets
}

// run is the octets from first to last, as the examples of COBS have them.
func run(first, last int) []byte {
	var b []byte
	for i := first; i <= last; i++ {
		b = append(b, byte(i))
	}
	return b
}

func join(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

type golden struct {
	name         string
	framing      Framing
	packet, line []byte
}

func goldens(t testing.TB) []golden {
	h := func(s string) []byte { return octets(t, s) }
	return []golden{
		// RFC 1055, "Protocol": END is octal 300, ESC octal 333, followed by octal 334
		// and 335; its END before the packet is Phil Karn's suggestion there.
		{"RFC 1055", SLIP(false), h("01 C0 02 DB 03"), h("C0 01 DB DC 02 DB DD 03 C0")},
		{"RFC 1055, what is escaped is nothing special by itself", SLIP(false), h("DC DD"), h("C0 DC DD C0")},
		// The check value of FCS-16 for "123456789" is 906E.
		{"RFC 1055 with RFC 1662, C.2", SLIP(true), []byte("123456789"), h("C0 313233343536373839 6E 90 C0")},
		// Check sequences with an octet to escape, by a program of our own.
		{"an END in the check sequence", SLIP(true), h("21"), h("C0 21 F3 DB DC C0")},
		{"an ESC in the check sequence", SLIP(true), h("74"), h("C0 74 DB DD C5 C0")},

		// S. Cheshire, M. Baker, Consistent Overhead Byte Stuffing, the example of
		// an IP header.
		{"Cheshire and Baker, a run of text", COBS(false), []byte("\x45\x00\x00\x2c\x4c\x79\x00\x00\x40\x06\x4f\x37"), h("00 02 45 01 04 2C 4C 79 01 05 40 06 4F 37 00")},
		// The examples of https://en.wikipedia.org/wiki/Consistent_Overhead_Byte_Stuffing.
		{"COBS example 1", COBS(false), h("00"), h("00 01 01 00")},
		{"COBS example 2", COBS(false), h("00 00"), h("00 01 01 01 00")},
		{"COBS example 3", COBS(false), h("00 11 00"), h("00 01 02 11 01 00")},
		{"COBS example 4", COBS(false), h("11 22 00 33"), h("00 03 11 22 02 33 00")},
		{"COBS example 5", COBS(false), h("11 22 33 44"), h("00 05 11 22 33 44 00")},
		{"COBS example 6", COBS(false), h("11 00 00 00"), h("00 02 11 01 01 01 00")},
		{"COBS example 7: 254 octets fill a block", COBS(false), run(0x01, 0xFE), join(h("00 FF"), run(0x01, 0xFE), h("00"))},
		{"COBS example 8: a zero and 254 octets", COBS(false), run(0x00, 0xFE), join(h("00 01 FF"), run(0x01, 0xFE), h("00"))},
		{"COBS example 9: 255 octets", COBS(false), run(0x01, 0xFF), join(h("00 FF"), run(0x01, 0xFE), h("02 FF 00"))},
		{"COBS example 10: 254 octets and a zero", COBS(false), join(run(0x02, 0xFF), h("00")), join(h("00 FF"), run(0x02, 0xFF), h("01 01 00"))},
		{"COBS example 11: 253 octets, a zero and an octet", COBS(false), join(run(0x03, 0xFF), h("00 01")), join(h("00 FE"), run(0x03, 0xFF), h("02 01 00"))},
		{"COBS with RFC 1662, C.2", COBS(true), []byte("123456789"), h("00 0C 313233343536373839 6E 90 00")},
		{"a zero at the end of the check sequence", COBS(true), h("87"), h("00 03 87 CF 01 00")},
		{"a zero in the check sequence", COBS(true), h("6E"), h("00 02 6E 02 7A 00")},

		// Digi, XBee/XBee-PRO S2C ZigBee RF Module User Guide, "Escape characters".
		{"Digi, before escapes", XBee(1), h("23 11"), h("7E 00 02 23 11 CB")},
		{"Digi, after escapes", XBee(2), h("23 11"), h("7E 00 02 23 7D 31 CB")},
		// The same, "Calculate and verify checksums".
		{"Digi, checksum", XBee(1), h("01 01 50 01 00 48 65 6C 6C 6F"), h("7E 00 0A 01 01 50 01 00 48 65 6C 6C 6F B8")},
		// Digi, XBee-PRO 900HP/XSC RF Modules, "Transmit Request frame - 0x10".
		{
			"Digi, 0x10 without escapes", XBee(1), h("10 01 00 13 A2 00 40 0A 01 27 FF FE 00 00 54 78 44 61 74 61 30 41"),
			h("7E 00 16 10 01 00 13 A2 00 40 0A 01 27 FF FE 00 00 54 78 44 61 74 61 30 41 13"),
		},
		{
			"Digi, 0x10 with escapes, of its checksum too", XBee(2), h("10 01 00 13 A2 00 40 0A 01 27 FF FE 00 00 54 78 44 61 74 61 30 41"),
			h("7E 00 16 10 01 00 7D 33 A2 00 40 0A 01 27 FF FE 00 00 54 78 44 61 74 61 30 41 7D 33"),
		},
		// Digi, XBee Zigbee Mesh Kit User Guide, "API escaped operating mode".
		{
			"Digi, 0x17", XBee(2), h("17 01 00 13 A2 00 40 AD 14 2E FF FE 02 4E 49"),
			h("7E 00 0F 17 01 00 7D 33 A2 00 40 AD 14 2E FF FE 02 4E 49 6D"),
		},
		// Of our own: the length is escaped as well.
		{"length 0x11", XBee(2), bytes.Repeat([]byte{'a'}, 0x11), join(h("7E 00 7D 31"), bytes.Repeat([]byte{'a'}, 0x11), h("8E"))},
		{"length 0x0111", XBee(2), bytes.Repeat([]byte{'a'}, 0x111), join(h("7E 01 7D 31"), bytes.Repeat([]byte{'a'}, 0x111), h("8E"))},

		// MQTT-SN 1.2, 5.2.1 and 5.5.
		{"PINGRESP", Raw(), h("02 17"), h("02 17")},
		{"PUBLISH in the long form", Raw(), h("01 00 0B 0C 00 00 01 00 00 68 69"), h("01 00 0B 0C 00 00 01 00 00 68 69")},
		{"PINGREQ of node 2A behind a forwarder", Raw(), h("04 FE 00 2A 02 16"), h("04 FE 00 2A 02 16")},
	}
}

func TestGolden(t *testing.T) {
	for _, g := range goldens(t) {
		if got := g.framing.Append([]byte("x"), g.packet); string(got) != "x"+string(g.line) {
			t.Errorf("%s: % X is framed as\n% X, want\n% X", g.name, g.packet, got[1:], g.line)
		}
		d := g.framing.NewDecoder()
		if got := through(d, g.line); len(got) != 1 || !bytes.Equal(got[0], g.packet) {
			t.Errorf("%s: % X is read as % X, want % X", g.name, g.line, got, g.packet)
		}
		if d.Errors() != (Errors{}) {
			t.Errorf("%s: %+v", g.name, d.Errors())
		}
	}
}

// What senders without the leading delimiter send is read as well: RFC 1055 as printed,
// and COBS as in the paper.
func TestTrailingDelimiterOnly(t *testing.T) {
	for _, g := range goldens(t) {
		switch g.framing.(type) {
		case slip, cobs:
		default:
			continue
		}
		if got := through(g.framing.NewDecoder(), g.line[1:]); len(got) != 1 || !bytes.Equal(got[0], g.packet) {
			t.Errorf("%s: % X is read as % X, want % X", g.name, g.line[1:], got, g.packet)
		}
	}
}

func TestFCS(t *testing.T) {
	// The check value of this CRC in every catalogue, under the name CRC-16/X-25.
	if got := fcs([]byte("123456789")); got != 0x906E {
		t.Errorf("FCS of 123456789: %04X, want 906E", got)
	}
	if got := fcs(nil); got != 0 {
		t.Errorf("FCS of nothing: %04X", got)
	}
	// RFC 1662, C.2: taken over the data and its complemented FCS, low octet first, the
	// register ends at F0B8, of which fcs gives the complement.
	const good = 0xF0B8
	for _, s := range []string{"1", "123456789", "\x00", "\xFF\xFF"} {
		sum := fcs([]byte(s))
		if got := ^fcs(append([]byte(s), byte(sum), byte(sum>>8))); got != good {
			t.Errorf("%q: ends at %04X, want %04X", s, got, good)
		}
	}
}
