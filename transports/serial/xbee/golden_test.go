package xbee

import (
	"bytes"
	"encoding/hex"
	"reflect"
	"strings"
	"testing"

	"mqttsn-gateway/transports/serial/framing"
)

// golden is a frame as Digi prints it, with its envelope in API mode 1.
type golden struct {
	source string
	line   string
	frame  Frame
}

// Digi's manuals are called by their products: "S2C ZigBee" is the XBee/XBee-PRO S2C Zigbee RF
// Module User Guide (90002002), "S2C 802.15.4" the XBee/XBee-PRO S2C 802.15.4 RF Module User
// Guide (90001500), "XBee 3 802.15.4", "XBee 3 DigiMesh" and "XBee 3 Zigbee" the guides of the
// Digi XBee 3 RF Modules (90002273, 90002277, 90001539), "900HP" that of the XBee-PRO
// 900HP/XSC, "DigiMesh 2.4" and "Wi-Fi" the manuals of 2014 and 2013, "868LP" and "SX 868" the
// guides of those modules. An example stands under the heading given here.
var goldens = []golden{
	{
		"900HP, Transmit Request frame - 0x10",
		"7E 00 16 10 01 00 13 A2 00 40 0A 01 27 FF FE 00 00 54 78 44 61 74 61 30 41 13",
		&Transmit{ID: 1, To: 0x0013A200400A0127, To16: Unknown16, Data: []byte("TxData0A")},
	},
	{
		"SX 868, Transmit Request - 0x10, 64-bit broadcast",
		"7E 00 17 10 00 00 00 00 00 00 00 FFFF FFFE 01 00 42 72 6F 61 64 63 61 73 74 60",
		&Transmit{To: Broadcast, To16: Unknown16, Radius: 1, Data: []byte("Broadcast")},
	},
	{
		"DigiMesh 2.4, Explicit Addressing Command Frame, 0x11",
		"7E 00 1A 11 01 00 13 A2 00 01 23 84 00 FF FE A0 A1 15 54 C1 05 00 00 54 78 44 61 74 61 DD",
		&ExplicitTransmit{
			ID: 1, To: 0x0013A20001238400, To16: Unknown16, FromEndpoint: 0xA0, ToEndpoint: 0xA1,
			Cluster: 0x1554, Profile: 0xC105, Data: []byte("TxData"),
		},
	},
	{
		"XBee 3 Zigbee, Transmit Status frame - 0x8B",
		"7E 00 07 8B 01 7D 84 00 00 01 71",
		&TransmitStatus{ID: 1, To16: 0x7D84, Delivery: Delivered, Discovery: 1},
	},
	{
		"XBee 3 Zigbee, Receive Packet frame - 0x90",
		"7E 00 12 90 00 13 A2 00 40 52 2B AA 7D 84 01 52 78 44 61 74 61 0D",
		&Receive{From: 0x0013A20040522BAA, From16: 0x7D84, Options: Acknowledged, Data: []byte("RxData")},
	},
	{
		"SX 868, Receive Packet - 0x90, 64-bit unicast",
		"7E 00 12 90 00 13 A2 00 41 AE B5 4E FF FE C1 54 78 44 61 74 61 C4",
		&Receive{From: 0x0013A20041AEB54E, From16: Unknown16, Options: 0xC1, Data: []byte("TxData")},
	},
	{
		"S2C ZigBee, Explicit Rx Indicator frame - 0x91",
		"7E 00 18 91 00 13 A2 00 40 52 2B AA 7D 84 E0E0 22 11 C1 05 02 52 78 44 61 74 61 52",
		&ExplicitReceive{
			From: 0x0013A20040522BAA, From16: 0x7D84, FromEndpoint: 0xE0, ToEndpoint: 0xE0,
			Cluster: 0x2211, Profile: 0xC105, Options: ToAll, Data: []byte("RxData"),
		},
	},
	{
		"S2C ZigBee, Node Identification Indicator - 0x95, identify joining device",
		"7E 00 24 95 00 13 A2 00 87 65 43 21 77 92 02 77 92 00 13 A2 00 87 65 43 21 20 00 45 A3 02 02 C1 05 10 1E 00 12 00 27 13",
		&NodeIdentification{
			From: 0x0013A20087654321, From16: 0x7792, Options: ToAll, Node16: 0x7792, Node: 0x0013A20087654321,
			Name: []byte(" "), Parent16: 0x45A3, DeviceType: 2, Event: 2, Profile: 0xC105, Manufacturer: 0x101E,
			Extra: []byte{0x00, 0x12, 0x00, 0x27},
		},
	},
	{
		"S2C ZigBee, Node Identification Indicator - 0x95, identify remote device",
		"7E 00 27 95 00 13 A2 00 12 34 56 78 FF FE C2 FF FE 00 13 A2 00 12 34 56 78 4C 48 37 35 00 FF FE 01 01 C1 05 10 1E 00 14 00 08 0D",
		&NodeIdentification{
			From: 0x0013A20012345678, From16: Unknown16, Options: 0xC2, Node16: Unknown16, Node: 0x0013A20012345678,
			Name: []byte("LH75"), Parent16: Unknown16, DeviceType: 1, Event: 1, Profile: 0xC105, Manufacturer: 0x101E,
			Extra: []byte{0x00, 0x14, 0x00, 0x08},
		},
	},
	{
		"XBee2 (XBee/XBee-PRO ZigBee RF Modules User Guide), Node Identification Indicator, 0x95, as its table says",
		"7E 00 20 95 00 13 A2 00 40 52 2B AA 7D 84 02 7D 84 00 13 A2 00 40 52 2B AA 20 00 FF FE 01 01 C1 05 10 1E 1B",
		&NodeIdentification{
			From: 0x0013A20040522BAA, From16: 0x7D84, Options: ToAll, Node16: 0x7D84, Node: 0x0013A20040522BAA,
			Name: []byte(" "), Parent16: Unknown16, DeviceType: 1, Event: 1, Profile: 0xC105, Manufacturer: 0x101E,
		},
	},
	{
		"900HP, Node Identification Indicator, 0x95, with DD and RSSI",
		"7E 00 25 95 00 13 A2 00 40 74 02 AC FF FE C2 FF FE 00 13 A2 00 40 74 02 AC 20 00 FF FE 01 01 C1 05 10 1E 00 0C 00 00 2E 33",
		&NodeIdentification{
			From: 0x0013A200407402AC, From16: Unknown16, Options: 0xC2, Node16: Unknown16, Node: 0x0013A200407402AC,
			Name: []byte(" "), Parent16: Unknown16, DeviceType: 1, Event: 1, Profile: 0xC105, Manufacturer: 0x101E,
			Extra: []byte{0x00, 0x0C, 0x00, 0x00, 0x2E},
		},
	},
	{
		"S2C 802.15.4, 64-bit Transmit Request - 0x00, 64-bit unicast",
		"7E 00 11 00 52 00 13 A2 00 12 34 56 78 00 54 78 44 61 74 61 9E",
		&Transmit64{ID: 0x52, To: 0x0013A20012345678, Data: []byte("TxData")},
	},
	{
		"S2C 802.15.4, 64-bit Transmit Request - 0x00, 64-bit broadcast",
		"7E 00 14 00 00 00 00 00 00 00 00 FFFF 00 42 72 6F 61 64 63 61 73 74 6E",
		&Transmit64{To: Broadcast, Data: []byte("Broadcast")},
	},
	{
		"S2C 802.15.4, 16-bit Transmit Request - 0x01, 16-bit unicast",
		"7E 00 0B 01 87 12 34 00 54 78 44 61 74 61 EB",
		&Transmit16{ID: 0x87, To: 0x1234, Data: []byte("TxData")},
	},
	{
		"S2C 802.15.4, 16-bit Transmit Request - 0x01, 16-bit broadcast",
		"7E 00 0E 01 00 FFFF 00 42 72 6F 61 64 63 61 73 74 6D",
		&Transmit16{To: Broadcast16, Data: []byte("Broadcast")},
	},
	{
		"S2C ZigBee, Calculate and verify checksums: a 16-bit transmit request",
		"7E 00 0A 01 01 50 01 00 48 65 6C 6C 6F B8",
		&Transmit16{ID: 1, To: 0x5001, Data: []byte("Hello")},
	},
	{
		"XBee 3 802.15.4, 64-bit Receive Packet - 0x80",
		"7E 00 11 80 00 13 A2 00 12 34 56 78 5E 01 54 78 44 61 74 61 11",
		&Receive64{From: 0x0013A20012345678, RSSI: 94, Options: Acknowledged, Data: []byte("TxData")},
	},
	{
		"S2C 802.15.4, 16-bit Receive Packet - 0x81",
		"7E 00 0B 81 12 34 5E 01 54 78 44 61 74 61 93",
		&Receive16{From: 0x1234, RSSI: 94, Options: Acknowledged, Data: []byte("TxData")},
	},
	{
		"XBee 3 DigiMesh, Transmit Status - 0x89",
		"7E 00 03 89 52 00 24",
		&Status802{ID: 0x52},
	},
	{
		"XBee 3 Zigbee, TX Status frame - 0x89",
		"7E 00 03 89 01 7D F8",
		&Status802{ID: 1, Status: 0x7D},
	},
	{
		"Wi-Fi, API Examples: 0x08, set BD",
		"7E 00 05 08 01 42 44 08 68",
		&ATCommand{ID: 1, Name: [2]byte{'B', 'D'}, Value: []byte{8}},
	},
	{
		"868LP, AT Command frame - 0x08: query NH",
		"7E 00 04 08 52 4E 48 0F",
		&ATCommand{ID: 0x52, Name: [2]byte{'N', 'H'}},
	},
	{
		"S2C 802.15.4, Local AT Command Request - 0x08: set NI",
		"7E 00 0E 08 A1 4E 49 45 6E 64 20 44 65 76 69 63 65 38",
		&ATCommand{ID: 0xA1, Name: [2]byte{'N', 'I'}, Value: []byte("End Device")},
	},
	{
		"DigiMesh 2.4, AT Command Response, 0x88: BD set",
		"7E 00 05 88 01 42 44 00 F0",
		&ATResponse{ID: 1, Name: [2]byte{'B', 'D'}},
	},
	{
		"SX 868, Local AT Command Response - 0x88: TP queried",
		"7E 00 07 88 01 54 50 00 FF FE D5",
		&ATResponse{ID: 1, Name: [2]byte{'T', 'P'}, Value: []byte{0xFF, 0xFE}},
	},
	{
		"S2C ZigBee, Modem Status frame - 0x8A",
		"7E 00 02 8A 06 6F",
		&ModemStatus{Status: 6},
	},
	{
		"DigiMesh 2.4, Modem Status, 0x8A",
		"7E 00 02 8A 00 75",
		&ModemStatus{},
	},
	{
		"XBee Zigbee Mesh Kit User Guide, API escaped operating mode: 0x17, which is not read here",
		"7E 00 0F 17 01 00 13 A2 00 40 AD 14 2E FF FE 02 4E 49 6D",
		&Unknown{Type: 0x17, Data: []byte("\x01\x00\x13\xA2\x00\x40\xAD\x14\x2E\xFF\xFE\x02NI")},
	},
	{
		"of our own: a received packet without data",
		"7E 00 0C 90 00 13 A2 00 40 52 2B AA 7D 84 01 51",
		&Receive{From: 0x0013A20040522BAA, From16: 0x7D84, Options: Acknowledged},
	},
}

func octets(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// data is the frame data within the envelope, whose checksum the decoder checks.
func (g golden) data(t testing.TB) (data []byte) {
	t.Helper()
	framing.XBee(1).NewDecoder().Decode(octets(t, g.line), func(p []byte) { data = bytes.Clone(p) })
	if data == nil {
		t.Fatalf("%s: no frame", g.source)
	}
	return data
}

// same compares two frames; no octets and none at all are the same.
func same(a, b Frame) bool {
	return reflect.TypeOf(a) == reflect.TypeOf(b) && bytes.Equal(a.Append(nil), b.Append(nil))
}

func TestGolden(t *testing.T) {
	seen := make(map[Type]bool)
	for _, g := range goldens {
		data := g.data(t)
		seen[Type(data[0])] = true
		got, err := Parse(data)
		if err != nil {
			t.Errorf("%s: %v", g.source, err)
			continue
		}
		if !same(got, g.frame) || !alike(got, g.frame) {
			t.Errorf("%s: reads as\n%#v, want\n%#v", g.source, got, g.frame)
		}
		line := framing.XBee(1).Append(nil, g.frame.Append([]byte{})) // the frame alone
		if want := octets(t, g.line); !bytes.Equal(line, want) {
			t.Errorf("%s: is written as\n% X, want\n% X", g.source, line, want)
		}
		if got := g.frame.Append([]byte("x")); string(got) != "x"+string(data) {
			t.Errorf("%s: Append writes over what is there: % X", g.source, got)
		}
	}
	for code, name := range typeNames {
		if name != "" && !seen[Type(code)] {
			t.Errorf("no example of %v", Type(code))
		}
	}
}

// alike compares fields, taking empty for absent.
func alike(a, b Frame) bool {
	x, y := reflect.ValueOf(a).Elem(), reflect.ValueOf(b).Elem()
	for i := range x.NumField() {
		p, q := x.Field(i), y.Field(i)
		if p.Kind() == reflect.Slice && p.Len() == 0 && q.Len() == 0 {
			continue
		}
		if !reflect.DeepEqual(p.Interface(), q.Interface()) {
			return false
		}
	}
	return true
}
