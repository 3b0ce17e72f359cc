package xbee

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// fixed is how many octets of each example must be there; what follows is of any length.
func fixed(f Frame) int {
	switch f := f.(type) {
	case *Transmit:
		return 14
	case *ExplicitTransmit:
		return 20
	case *TransmitStatus:
		return 7
	case *Receive:
		return 12
	case *ExplicitReceive:
		return 18
	case *NodeIdentification:
		return 22 + len(f.Name) + 1 + 8
	case *Transmit64:
		return 11
	case *Transmit16:
		return 5
	case *Receive64:
		return 11
	case *Receive16:
		return 5
	case *Status802:
		return 3
	case *ATCommand:
		return 4
	case *ATResponse:
		return 5
	case *ModemStatus:
		return 2
	default:
		return 1
	}
}

func TestTruncations(t *testing.T) {
	for _, g := range goldens {
		data := g.data(t)
		for n := range data {
			f, err := Parse(data[:n])
			var e *Error
			switch {
			case n >= fixed(g.frame):
				if err != nil || len(f.Append(nil)) != n {
					t.Errorf("%s: % X: %v, %v", g.source, data[:n], f, err)
				}
			case !errors.As(err, &e) || f != nil || e.Field == "":
				t.Errorf("%s: % X: %v, %v", g.source, data[:n], f, err)
			case n > 0 && (e.Type != Type(data[0]) || e.Field == FieldType):
				t.Errorf("%s: % X: %v", g.source, data[:n], err)
			}
		}
	}
}

func TestErrors(t *testing.T) {
	for _, c := range []struct{ data, want string }{
		{"", "xbee: type is missing"},
		{"8B", "xbee: transmit status (0x8B): frame id is missing"},
		{"8B 01 7D", "xbee: transmit status (0x8B): 16-bit destination is missing"},
		{"8B 01 7D 84 00", "xbee: transmit status (0x8B): delivery is missing"},
		{"8B 01 7D 84 00 00", "xbee: transmit status (0x8B): discovery is missing"},
		{"90 00 13 A2 00 40 52 2B", "xbee: receive (0x90): 64-bit source is missing"},
		{"10 01 00 13 A2 00 40 0A 01 27 FF FE 00", "xbee: transmit (0x10): options is missing"},
		{"88 01 42", "xbee: AT response (0x88): command is missing"},
		{"88 01 42 44", "xbee: AT response (0x88): status is missing"},
		{"81 12 34", "xbee: receive from 16-bit address (0x81): RSSI is missing"},
		{"8A", "xbee: modem status (0x8A): status is missing"},
		// The name goes on to the end.
		{"95 00 13 A2 00 87 65 43 21 77 92 02 77 92 00 13 A2 00 87 65 43 21 20 20", "xbee: node identification (0x95): name is missing"},
	} {
		if f, err := Parse(octets(t, c.data)); err == nil || err.Error() != c.want || f != nil {
			t.Errorf("%s: %v, %v, want %s", c.data, f, err, c.want)
		}
	}
}

// Later firmware may say more than we know.
func TestSurplusIsIgnored(t *testing.T) {
	for _, data := range []string{"8B 01 7D 84 00 00 01", "89 52 00", "8A 06"} {
		b := octets(t, data)
		f, err := Parse(append(bytes.Clone(b), 0x55, 0x55))
		if err != nil || !bytes.Equal(f.Append(nil), b) {
			t.Errorf("%s: %v, %v", data, f, err)
		}
	}
}

// Data aliases what was parsed, and has no room to grow into what follows it.
func TestDataAliases(t *testing.T) {
	b := octets(t, "81 12 34 5E 01 54 78")
	f, err := Parse(b[:6])
	if err != nil {
		t.Fatal(err)
	}
	data := f.(*Receive16).Data
	if &data[0] != &b[5] || cap(data) != 1 {
		t.Errorf("data is a copy, or has room for %d octets", cap(data))
	}
}

func frames() *rapid.Generator[Frame] {
	var (
		octet = rapid.Byte()
		short = rapid.OneOf(rapid.Uint16(), rapid.Just(Unknown16))
		long  = rapid.OneOf(rapid.Uint64(), rapid.Just(Coordinator), rapid.Just(Broadcast))
		data  = rapid.SliceOfN(rapid.Byte(), 0, 300)
		name  = rapid.SliceOfN(rapid.ByteRange(1, 255), 0, 20)
	)
	return rapid.Custom(func(t *rapid.T) Frame {
		o := func() byte { return octet.Draw(t, "octet") }
		s := func() uint16 { return short.Draw(t, "16 bits") }
		l := func() uint64 { return long.Draw(t, "64 bits") }
		d := func() []byte { return data.Draw(t, "data") }
		switch rapid.IntRange(0, 14).Draw(t, "type") {
		case 0:
			return &Transmit{o(), l(), s(), o(), o(), d()}
		case 1:
			return &TransmitStatus{o(), s(), o(), Delivery(o()), o()}
		case 2:
			return &Receive{l(), s(), o(), d()}
		case 3:
			return &ExplicitTransmit{o(), l(), s(), o(), o(), s(), s(), o(), o(), d()}
		case 4:
			return &ExplicitReceive{l(), s(), o(), o(), s(), s(), o(), d()}
		case 5:
			return &NodeIdentification{l(), s(), o(), s(), l(), name.Draw(t, "name"), s(), o(), o(), s(), s(), d()}
		case 6:
			return &Transmit64{o(), l(), o(), d()}
		case 7:
			return &Transmit16{o(), s(), o(), d()}
		case 8:
			return &Status802{o(), o()}
		case 9:
			return &Receive64{l(), o(), o(), d()}
		case 10:
			return &Receive16{s(), o(), o(), d()}
		case 11:
			return &ATCommand{o(), [2]byte{o(), o()}, d()}
		case 12:
			return &ATResponse{o(), [2]byte{o(), o()}, o(), d()}
		case 13:
			return &ModemStatus{o()}
		default:
			return &Unknown{0x92, d()}
		}
	})
}

func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := frames().Draw(t, "frame")
		got, err := Parse(f.Append(nil))
		if err != nil || !same(got, f) || !alike(got, f) {
			t.Fatalf("%#v comes back as %#v, %v", f, got, err)
		}
	})
}

func TestTypeString(t *testing.T) {
	for _, c := range []struct {
		t    Type
		want string
	}{
		{TypeTransmitStatus, "transmit status (0x8B)"},
		{TypeTransmit64, "transmit to 64-bit address (0x00)"},
		{0x92, "type 0x92"},
	} {
		if got := c.t.String(); got != c.want {
			t.Errorf("%q, want %q", got, c.want)
		}
	}
}

func TestDelivery(t *testing.T) {
	for _, c := range []struct {
		d    Delivery
		want string
	}{
		{0x00, "delivered"},
		{0x01, "no MAC acknowledgement"},
		{0x02, "channel not clear"},
		{0x15, "invalid destination endpoint"},
		{0x21, "no network acknowledgement"},
		{0x22, "not joined to a network"},
		{0x23, "addressed to the radio itself"},
		{0x24, "address not found"},
		{0x25, "route not found"},
		{0x26, "no neighbour relayed the broadcast"},
		{0x74, "payload too large"},
		{0x75, "not requested by the sleeping radio in time"},
		{0x99, "delivery status 0x99"},
	} {
		if got := c.d.String(); got != c.want {
			t.Errorf("%02X: %q, want %q", byte(c.d), got, c.want)
		}
	}
	for d := range Delivery(255) {
		if want := d == 0x21 || d == 0x24 || d == 0x25; d.Stale() != want {
			t.Errorf("%v: stale is %v", d, d.Stale())
		}
	}
}

func TestModemStatus(t *testing.T) {
	for status, want := range map[byte]string{
		0x00: "hardware reset or power on", 0x02: "joined a network", 0x11: "configuration changed while joining",
		0x55: "modem status 0x55", 0x83: "stack error 0x83",
	} {
		if got := (&ModemStatus{Status: status}).String(); got != want {
			t.Errorf("%02X: %q, want %q", status, got, want)
		}
	}
}

func TestATResponseErr(t *testing.T) {
	for status, want := range []string{
		"",
		`xbee: AT command "NP": refused`,
		`xbee: AT command "NP": not a command of this radio`,
		`xbee: AT command "NP": not a value that this radio takes`,
		`xbee: AT command "NP": could not be sent to the remote radio`,
		`xbee: AT command "NP": status 0x05`,
	} {
		err := ATResponse{Name: [2]byte{'N', 'P'}, Status: byte(status)}.Err()
		if got := strings.TrimPrefix(fmt.Sprint(err), "<nil>"); got != want {
			t.Errorf("%d: %s, want %s", status, got, want)
		}
	}
}

func TestSignal(t *testing.T) {
	for rssi, want := range map[byte]int8{0: 0, 40: -40, 94: -94, 128: -128, 255: -128} {
		if got := (Receive16{RSSI: rssi}).Signal(); got != want {
			t.Errorf("RSSI %d: %d dBm, want %d", rssi, got, want)
		}
		if got := (Receive64{RSSI: rssi}).Signal(); got != want {
			t.Errorf("RSSI %d: %d dBm, want %d", rssi, got, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, g := range goldens {
		f.Add(g.data(f))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		before := bytes.Clone(data)
		frame, err := Parse(data)
		if !bytes.Equal(data, before) {
			t.Fatal("Parse changes its input")
		}
		if err != nil {
			var e *Error
			if frame != nil || !errors.As(err, &e) || e.Field == "" || e.Error() == "" {
				t.Fatalf("%v, %v", frame, err)
			}
			return
		}
		out := frame.Append(nil)
		if !bytes.HasPrefix(data, out) {
			t.Fatalf("% X is written as % X", data, out)
		}
		again, err := Parse(out)
		if err != nil || !same(again, frame) || !alike(again, frame) {
			t.Fatalf("%#v comes back as %#v, %v", frame, again, err)
		}
	})
}

func BenchmarkParse(b *testing.B) {
	data := Receive{From: 0x0013A20040522BAA, From16: 0x7D84, Options: Acknowledged, Data: noise(60)}.Append(nil)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Parse(data); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAppend(b *testing.B) {
	f := &Transmit{ID: 1, To: 0x0013A20040522BAA, To16: 0x7D84, Data: noise(60)}
	b.ReportAllocs()
	var line []byte
	for b.Loop() {
		line = f.Append(line[:0])
	}
}

func noise(n int) []byte {
	r := rand.New(rand.NewPCG(1, 2))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}
