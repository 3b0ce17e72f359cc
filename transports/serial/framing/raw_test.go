package framing

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"mqttsn-gateway/mqttsn"
)

func TestMeasure(t *testing.T) {
	for _, c := range []struct {
		line string
		size int
		v    verdict
	}{
		{"", 0, more},
		{"02", 0, more},
		{"02 17", 2, whole},
		{"02 17 00", 2, whole},
		{"01 00 04 17", 4, whole},
		{"01 00 0B 0C 00 00 01 00 00 68 69", 11, whole},
		{"00", 0, impossible},
		{"00 17", 0, impossible},
		{"01", 0, more},
		{"01 17", 0, more},
		{"01 00 04", 0, more},
		{"01 00 03 17", 0, impossible},
		{"01 00 00 17", 0, impossible},
		{"01 FFFF", 0, more}, // cannot be, but the octet that says so need not be waited for
		{"01 FFFF 0C", 0, tooLong},
		{"01 04 00 0C", MaxFrame, more},
		{"01 04 01 0C", 0, tooLong},
		{"03 17", 0, impossible}, // PINGRESP has 2 octets
		{"02 03", 0, impossible}, // reserved
		{"02 FF", 0, impossible},
		{"09 0C 20", 9, more},
		{"06 0C 00 00 05 00", 0, impossible}, // PUBLISH without MsgId
		{"02 18", 2, whole},
		{"03 18 3C", 0, impossible},
		{"04 18 00 3C", 4, whole},
		{"05 18", 0, impossible},
		{"02 07", 2, whole},
		{"03 07 00", 3, whole},
		{"06 0A 00 00 00 03", 6, whole}, // no TopicName: to be answered
		{"05 0A", 0, impossible},
		{"06 04 04 01 00 3C", 6, whole}, // no ClientId: to be answered
		{"05 04", 0, impossible},
		{"04 FE 00 2A 02 16", 6, whole},
		{"05 FE 00 00 07 03 01 01", 8, whole},
		{"04 FE 00 2A 01 00 04 17", 8, whole},
		{"04 FE 00 2A", 0, more},
		{"04 FE 00 2A 02", 0, more},
		{"04 FE 00 2A 05 16", 9, more},
		{"FF FE 00", 0, more},
		{"02 FE", 0, impossible},
		{"03 FE 00 02 16", 0, impossible},          // no Wireless Node Id
		{"01 00 06 FE 00 2A 02 16", 0, impossible}, // Length is one octet [SN-5.5]
		{"04 FE 00 2A 04 FE 00 2A 02 16", 0, impossible},
		{"04 FE 00 2A 03 17", 0, impossible},
		{"04 FE 00 2A 01 04 00 0C", 0, tooLong}, // together
		{"04 FE 00 2A 01 03 FC 0C", MaxFrame, more},
	} {
		if size, v := measure(octets(t, c.line)); size != c.size || v != c.v {
			t.Errorf("%s: %d, %v, want %d, %v", c.line, size, v, c.size, c.v)
		}
	}
}

// datagrams are the examples of package mqttsn, by what it says of them.
func datagrams(t testing.TB) (good, bad [][]byte) {
	t.Helper()
	files, err := filepath.Glob("../../../mqttsn/testdata/*.hex")
	if err != nil || len(files) == 0 {
		t.Fatalf("no examples: %v", err)
	}
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			verdict, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
			digits, _, found := strings.Cut(rest, ";")
			if !found || verdict != "ok" && verdict != "bad" {
				continue
			}
			digits, _, _ = strings.Cut(digits, "=>")
			if verdict == "ok" {
				good = append(good, octets(t, digits))
			} else {
				bad = append(bad, octets(t, digits))
			}
		}
	}
	return good, bad
}

// Whatever package mqttsn reads is one packet here, and comes out of a line as it was.
func TestReadsWhatMQTTSNReads(t *testing.T) {
	good, _ := datagrams(t)
	if len(good) < 50 {
		t.Fatalf("%d examples", len(good))
	}
	d := Raw().NewDecoder()
	for _, p := range good {
		if _, err := mqttsn.Decode(p[headOf(p):]); err != nil || len(p) > MaxFrame {
			continue // the packet that a forwarder carries is not one
		}
		if size, v := measure(p); size != len(p) || v != whole {
			t.Errorf("% X: %d, %v", p, size, v)
		}
		if got := through(d, p); len(got) != 1 || !bytes.Equal(got[0], p) {
			t.Errorf("% X is read as % X", p, got)
		}
	}
	if d.Errors() != (Errors{}) {
		t.Errorf("%+v", d.Errors())
	}
}

// headOf is the size of a forwarder's header, 0 if there is none.
func headOf(p []byte) int {
	if p[1] == typeEncapsulated && p[0] != longForm {
		return int(p[0])
	}
	return 0
}

func TestCredible(t *testing.T) {
	for _, c := range []struct {
		line string
		v    verdict
	}{
		{"", more}, {"07", more}, {"07 0D", more}, {"00", impossible}, {"03 17", impossible},
		{"0B 04 04 01 00 3C 63 6C 69 2D 31", whole},
		{"0B 04 04 01 00 3C 63", more},
		{"0B 04 05 01 00 3C 63 6C 69 2D 31", impossible}, // Flags
		{"0B 04 05", impossible},
		{"0B 04 04 02 00 3C 63 6C 69 2D 31", impossible}, // ProtocolId
		{"0B 04 04 01 00 3C 63 6C 00 2D 31", impossible}, // ClientId
		{"0B 04 04 01 00 3C 63 6C 69 2D 31 00", whole},   // what follows is not looked at
		{"03 05 03", whole}, {"03 05 04", impossible},    // ReturnCode
		{"06 02 01 02 03 04", whole}, {"20 02" + strings.Repeat("01", 30), impossible}, // GwAdd
		{"0A 07 30 77 2F 64 65 61 64 31", whole}, {"0A 07 80 77 2F 64 65 61 64 31", impossible},
		{"05 00 01 03 84", impossible}, // too much like other things
		{"06 09 62 79 65 21", whole}, {"06 1C 62 79 65 00", impossible},
		{"08 0A 00 01 00 01 61 62", whole}, {"08 0A 00 01 00 00 61 62", impossible}, {"08 0A 00 01 00 01 61 0A", impossible},
		{"07 0B 00 01 00 01 00", whole}, {"07 0B 00 01 00 01 FF", impossible},
		{"07 0D 00 01 00 00 02", whole}, {"07 0D 00 01 00 00 20", impossible},
		{"09 0C 20 00 05 00 07 00 01", whole}, {"09 0C 24 00 05 00 07 00 01", impossible},
		{"09 0C 23 00 05 00 07 00 01", impossible}, {"09 0C 20 00 05 00 00 00 01", impossible},
		{"09 0C 00 00 05 00 00 00 01", whole}, {"09 0C 62 61 62 00 00 00 01", whole},
		{"04 0F 00 08", whole}, {"04 0F 00 00", impossible},
		{"0B 12 20 00 03 73 2F 74 65 6D 70", whole}, {"0B 12 21 00 03 73 2F 74 65 6D 70", impossible},
		{"07 12 21 00 05 00 0A", whole}, {"07 12 20 00 05 00 0A", impossible},
		{"08 13 20 00 05 00 03 00", whole}, {"08 13 21 00 05 00 03 00", impossible}, {"08 13 20 00 05 00 03 09", impossible},
		{"07 16 63 6C 69 2D 31", whole}, {"07 16 63 6C 69 2D 7F", impossible},
		{"04 FE 00 2A 02 16", whole}, {"04 FE 04 2A 02 16", impossible}, {"04 FE 00 2A 03 05 04", impossible},
		{"04 FE 00", more}, {"04 FE 80", impossible}, {"06 FE 00 00 01 02", more},
	} {
		if _, v := credible(octets(t, c.line)); v != c.v {
			t.Errorf("%s: %v, want %v", c.line, v, c.v)
		}
	}
}

// How often random octets pass is what the search lives by.
func TestHowOftenNoisePasses(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	const places = 1 << 20
	noise := make([]byte, places+MaxFrame)
	for i := range noise {
		noise[i] = byte(r.Uint32())
	}
	var measured, credited int
	for i := range places {
		if _, v := measure(noise[i : i+MaxFrame]); v == whole {
			measured++
		}
		if _, v := credible(noise[i : i+MaxFrame]); v == whole {
			credited++
		}
	}
	t.Logf("of random octets, 1 in %d is measured as the beginning of a packet, 1 in %d is credible", places/measured, places/credited)
	if places/measured < 20 || places/credited < 90 {
		t.Error("that is too often")
	}
}

func TestRaw(t *testing.T) {
	for _, c := range []struct {
		name   string
		line   string // | is a silence
		want   string
		errors Errors
	}{
		{"back to back", "02 17 03 01 00 01 00 04 17", "02 17, 03 01 00, 01 00 04 17", Errors{}},
		{"forwarded", "04 FE 00 2A 02 16 04 FE 00 2B 03 01 01", "04 FE 00 2A 02 16, 04 FE 00 2B 03 01 01", Errors{}},
		{"cut by silence", "09 0C 20 00 | 02 16", "02 16", Errors{Malformed: 1, Noise: 4}},
		{"cut twice", "09 0C 20 00 | 09 0C | 02 16", "02 16", Errors{Malformed: 2, Noise: 6}},
		{"silence between", "02 17 || 02 16 |", "02 17, 02 16", Errors{}},
		{"an impossible Length, silence proves the rest", "00 02 17 |", "02 17", Errors{Malformed: 1, Noise: 1}},
		{"an impossible Length, the next packet proves the rest", "00 02 17 02 16", "02 17, 02 16", Errors{Malformed: 1, Noise: 1}},
		{"a reserved MsgType", "06 03 01 02 03 04 07 0D 00 05 00 07 00 02 16", "07 0D 00 05 00 07 00, 02 16", Errors{Malformed: 1, Noise: 6}},
		{"a Length too long for us", "01 FFFF 0C 20 00 05 00 07 07 0D 00 05 00 07 00 |", "07 0D 00 05 00 07 00", Errors{TooLong: 1, Noise: 9}},
		{"what is found must be credible", "00 03 05 99 03 05 00 |", "03 05 00", Errors{Malformed: 1, Noise: 4}},
		{"what follows what is found must be credible", "00 02 17 55 55 |", "", Errors{Malformed: 1, Noise: 5}},
		{"known again, what is not credible is taken", "00 03 05 00 | 03 05 99", "03 05 00, 03 05 99", Errors{Malformed: 1, Noise: 1}},
		{
			"swallowed by a Length that nobody completes", "40 0C 20 00 05 00 07 68 69 02 16 04 0F 00 08 |",
			"02 16, 04 0F 00 08", Errors{Malformed: 1, Noise: 9},
		},
		{
			"swallowed by a Length that others complete", "0C 0C 20 00 05 00 07 68 69 04 0F 00 08 04 10 00 08 02 17 |",
			"0C 0C 20 00 05 00 07 68 69 04 0F 00, 04 0F 00 08, 04 10 00 08, 02 17", Errors{Malformed: 1},
		},
		{
			"two are swallowed", "0E 0C 20 00 05 00 07 68 69 02 16 04 0F 00 08 04 10 00 08 02 17 |",
			"0E 0C 20 00 05 00 07 68 69 02 16 04 0F 00, 02 16, 04 0F 00 08, 04 10 00 08, 02 17", Errors{Malformed: 1},
		},
		{
			"data of a packet proved by silence is not looked at again", "0B 0C 20 00 05 00 07 02 16 04 0F | 00 08 02 17 |",
			"0B 0C 20 00 05 00 07 02 16 04 0F, 02 17", Errors{Malformed: 1, Noise: 2},
		},
		{
			"data of a good packet is not looked at", "0B 0C 20 00 05 00 07 02 16 02 17 02 17 |",
			"0B 0C 20 00 05 00 07 02 16 02 17, 02 17", Errors{},
		},
		{
			"a damaged forwarder's header does not make its packet the forwarder's own",
			"04 FE 00 2A 02 16 04 FC 00 2A 07 0D 00 05 00 07 00 04 FE 00 2A 02 16 |", "04 FE 00 2A 02 16, 04 FE 00 2A 02 16", Errors{Malformed: 1, Noise: 11},
		},
		{
			"nor is a line without a forwarder taken for one with",
			"02 16 00 04 FE 00 2A 02 16 07 0D 00 05 00 07 00 |", "02 16, 02 16, 07 0D 00 05 00 07 00", Errors{Malformed: 1, Noise: 5},
		},
		{"but both may be on a line", "02 16 04 FE 00 2A 02 16 02 16", "02 16, 04 FE 00 2A 02 16, 02 16", Errors{}},
		{"an unknown line", "00 04 FE 00 2A 02 16 |", "04 FE 00 2A 02 16", Errors{Malformed: 1, Noise: 1}},
		{"a forwarder's header that goes on", "00 02 17 FF FE 00 01 02 03 04 05", "02 17", Errors{Malformed: 1, Noise: 1}},
		{"a forwarder's header alone", "00 02 17 04 FE 00 2A |", "", Errors{Malformed: 1, Noise: 7}},
		{"a header cut in the middle proves nothing", "00 02 17 07 |", "", Errors{Malformed: 1, Noise: 4}},
		{"a packet cut in the middle does", "00 02 17 07 0D 00 |", "02 17", Errors{Malformed: 2, Noise: 4}},
	} {
		got, errors := script(t, Raw(), c.line)
		if got != c.want || errors != c.errors {
			t.Errorf("%s: %s gives\n%q, %+v, want\n%q, %+v", c.name, c.line, got, errors, c.want, c.errors)
		}
	}
}

// How a line is cut into pieces makes no difference.
func TestRawPieces(t *testing.T) {
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 1))
		line := make([]byte, 0, 4000)
		for n := range 60 {
			line = append(line, everyday(r, n)...)
		}
		for range r.IntN(30) {
			line[r.IntN(len(line))] = byte(r.Uint32())
		}
		one := Raw().NewDecoder()
		want := through(one, line)
		many := Raw().NewDecoder()
		var got [][]byte
		for rest := line; len(rest) > 0; {
			n := 1 + r.IntN(min(len(rest), 30))
			got = append(got, through(many, rest[:n])...)
			rest = rest[n:]
		}
		if !equal(got, want) || one.Errors() != many.Errors() {
			t.Fatalf("seed %d: %s %+v\nin pieces %s %+v", seed, fmt.Sprintf("% X", want), one.Errors(), fmt.Sprintf("% X", got), many.Errors())
		}
	}
}

// The most that the search can have to keep: a packet of the greatest length, found false,
// with others in it of which the last goes on for as long again.
func TestRawRoom(t *testing.T) {
	var inner []byte
	for n := range 30 {
		inner = append(inner, publish(n, 32, func(int) byte { return 'x' })...)
	}
	inner = append(inner, publish(30, MaxFrame-9-len(inner)-4, func(int) byte { return 'x' })...)
	swallower := message(typePublish, []byte{0x20}, word(1), word(1), inner, []byte{longForm, MaxFrame >> 8, 0, typePublish})
	if len(swallower) != MaxFrame {
		t.Fatalf("%d octets", len(swallower))
	}
	last := append([]byte{0, 0, 5, 0, 0}, bytes.Repeat([]byte{'y'}, MaxFrame-9)...) // behind the header above
	d := Raw().NewDecoder()
	var got [][]byte
	for _, c := range join(swallower, last, octets(t, "04 10 00 08 02 16")) {
		got = append(got, through(d, []byte{c})...)
	}
	if n := len(got); n != 1+31+1+2 || len(got[n-3]) != MaxFrame {
		t.Errorf("%d packets", n)
	}
	if memory(d) != memory(Raw().NewDecoder()) {
		t.Errorf("holds %d octets", memory(d))
	}
}
