package framing

import (
	"fmt"
	"strings"
	"testing"
)

// script gives lines to a decoder and writes what comes out. A | stands for a silence.
func script(t *testing.T, f Framing, line string) (got string, errors Errors) {
	d := f.NewDecoder()
	var out []string
	frame := func(p []byte) { out = append(out, fmt.Sprintf("% X", p)) }
	for i, part := range strings.Split(line, "|") {
		if i > 0 {
			d.Idle()
			d.Decode(nil, frame)
		}
		for _, c := range octets(t, part) {
			d.Decode([]byte{c}, frame)
		}
	}
	return strings.Join(out, ", "), d.Errors()
}

func TestErrors(t *testing.T) {
	long := strings.Repeat("55", MaxFrame+3)
	for _, c := range []struct {
		name    string
		framing Framing
		line    string
		want    string
		errors  Errors
	}{
		{"empty frames", SLIP(false), "C0C0C0 01 C0C0", "01", Errors{}},
		{"an escape of nothing", SLIP(false), "C0 01 DB 02 03 C0 04 C0", "04", Errors{Malformed: 1}},
		{"an escaped END", SLIP(false), "C0 01 DB C0 04 C0", "04", Errors{Malformed: 1}},
		{"only an ESC", SLIP(false), "C0 DB C0 04 C0", "04", Errors{Malformed: 1}},
		{"cut by silence", SLIP(false), "C0 01 02 | 03 C0", "03", Errors{Malformed: 1}},
		{"cut after ESC", SLIP(false), "C0 DB | DC C0", "DC", Errors{Malformed: 1}},
		{"silence between", SLIP(false), "C0 01 C0 || C0 02 C0 |", "01, 02", Errors{}},
		{"too long", SLIP(false), "C0" + long + "C0 01 C0", "01", Errors{TooLong: 1}},
		{"too long, cut by silence", SLIP(false), "C0" + long + "| C0 01 C0", "01", Errors{TooLong: 1}},
		{"too long and malformed", SLIP(false), "C0 DBDB" + long + "C0 01 C0", "01", Errors{TooLong: 1}},
		{"wrong check sequence", SLIP(true), "C0 21 F3 C1 C0C0 21 F3 DB DC C0", "21", Errors{Checksum: 1}},
		{"nothing but a check sequence", SLIP(true), "C0 00 00 C0", "", Errors{Malformed: 1}},
		{"too short for a check sequence", SLIP(true), "C0 00 C0", "", Errors{Malformed: 1}},

		{"empty frames", COBS(false), "00 00 02 01 00 00", "01", Errors{}},
		{"a packet of nothing", COBS(false), "00 01 00", "", Errors{Malformed: 1}},
		{"a block cut short", COBS(false), "00 05 01 02 00 02 01 00", "01", Errors{Malformed: 1}},
		{"cut by silence", COBS(false), "00 05 01 02 | 02 01 00", "01", Errors{Malformed: 1}},
		{"silence between", COBS(false), "02 01 00 || 02 02 00 |", "01, 02", Errors{}},
		{"too long", COBS(false), "00" + strings.Repeat("02 55", MaxFrame) + "00 02 01 00", "01", Errors{TooLong: 1}},
		{"wrong check sequence", COBS(true), "00 03 87 CE 01 00 03 87 CF 01 00", "87", Errors{Checksum: 1}},
		{"too short for a check sequence", COBS(true), "00 02 87 00", "", Errors{Malformed: 1}},

		{"noise between", XBee(1), "01 02 7E 00 01 23 DC 03 7E 00 01 23 DC", "23, 23", Errors{Noise: 3}},
		{"wrong checksum", XBee(1), "7E 00 01 23 DD 7E 00 01 23 DC", "23", Errors{Checksum: 1, Noise: 5}},
		{"no length", XBee(1), "7E 00 00 FF 7E 00 01 23 DC", "23", Errors{Malformed: 1, Noise: 4}},
		{"too long", XBee(1), "7E 04 01 55 7E 00 01 23 DC", "23", Errors{TooLong: 1, Noise: 4}},
		{"cut by silence", XBee(1), "7E 00 05 23 | 7E 00 01 23 DC", "23", Errors{Malformed: 1, Noise: 4}},
		{"swallowed by a wrong length", XBee(1), "7E 00 06 23 DC 7E 00 01 23 DC 7E 00 01 42 BD", "23, 42", Errors{Checksum: 1, Noise: 5}},
		{"swallowed by a wrong length, silence", XBee(1), "7E 00 16 23 DC 7E 00 01 23 DC 7E 00 01 42 BD |", "23, 42", Errors{Malformed: 1, Noise: 5}},
		{"a delimiter as data", XBee(1), "7E 00 01 7E 81", "7E", Errors{}},
		{"a delimiter as data of a bad frame", XBee(1), "7E 00 04 01 7E 00 00 00 7E 00 01 23 DC", "23", Errors{Checksum: 1, Noise: 8}},
		{"a delimiter before the delimiter", XBee(1), "7E 7E 00 01 23 DC", "23", Errors{TooLong: 1, Noise: 1}},

		{"noise between", XBee(2), "01 02 7E 00 01 23 DC 03 7E 00 01 23 DC", "23, 23", Errors{Noise: 3}},
		{"wrong checksum", XBee(2), "7E 00 01 23 DD 7E 00 01 23 DC", "23", Errors{Checksum: 1}},
		{"no length", XBee(2), "7E 00 00 FF 7E 00 01 23 DC", "23", Errors{Malformed: 1, Noise: 1}},
		{"too long", XBee(2), "7E 04 01 55 7E 00 01 23 DC", "23", Errors{TooLong: 1, Noise: 1}},
		{"cut by silence", XBee(2), "7E 00 05 23 | 7E 00 01 23 DC", "23", Errors{Malformed: 1}},
		{"cut by the next", XBee(2), "7E 00 05 23 7E 00 01 23 DC", "23", Errors{Malformed: 1}},
		{"cut after the escape", XBee(2), "7E 00 01 7D 7E 00 01 23 DC", "23", Errors{Malformed: 1}},
		{"more escaped than must be", XBee(2), "7E 7D 20 7D 21 7D 03 7D FC", "23", Errors{}},
		{"less escaped than must be", XBee(2), "7E 00 02 23 11 CB", "23 11", Errors{}},
	} {
		got, errors := script(t, c.framing, c.line)
		if got != c.want || errors != c.errors {
			line := c.line[:min(len(c.line), 60)]
			t.Errorf("%T %s: %s gives %q, %+v, want %q, %+v", c.framing, c.name, line, got, errors, c.want, c.errors)
		}
	}
}
