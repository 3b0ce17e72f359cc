package mqtt

import (
	"encoding/csv"
	"errors"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// readTable reads a CSV file of testdata as maps from column to text.
func readTable(t *testing.T, name string) (rows []map[string]string) {
	t.Helper()
	f, err := os.Open("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r := csv.NewReader(f)
	r.Comment = '#'
	lines, err := r.ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range lines[1:] {
		row := make(map[string]string)
		for i, column := range lines[0] {
			row[column] = line[i]
		}
		rows = append(rows, row)
	}
	return rows
}

func number(t *testing.T, s string) byte {
	t.Helper()
	n, err := strconv.ParseUint(s, 0, 8)
	if err != nil {
		t.Fatal(err)
	}
	return byte(n)
}

// body5 is a body of MQTT 5 for each packet that has a property block, cut before and
// after that block's length; WILL is CONNECT with the block of its will.
var body5 = map[string]struct {
	typ           Type
	before, after string
}{
	"CONNECT":     {TypeConnect, "\x00\x04MQTT\x05\x02\x00\x3C", "\x00\x01c"},
	"WILL":        {TypeConnect, "\x00\x04MQTT\x05\x06\x00\x3C\x00\x00\x01c", "\x00\x01w\x00\x00"},
	"CONNACK":     {TypeConnack, "\x00\x00", ""},
	"PUBLISH":     {TypePublish, "\x00\x01t", "payload"},
	"PUBACK":      {TypePuback, "\x00\x01\x00", ""},
	"PUBREC":      {TypePubrec, "\x00\x01\x00", ""},
	"PUBREL":      {TypePubrel, "\x00\x01\x00", ""},
	"PUBCOMP":     {TypePubcomp, "\x00\x01\x00", ""},
	"SUBSCRIBE":   {TypeSubscribe, "\x00\x01", "\x00\x01f\x00"},
	"SUBACK":      {TypeSuback, "\x00\x01", "\x00"},
	"UNSUBSCRIBE": {TypeUnsubscribe, "\x00\x01", "\x00\x01f"},
	"UNSUBACK":    {TypeUnsuback, "\x00\x01", "\x00"},
	"DISCONNECT":  {TypeDisconnect, "\x00", ""},
	"AUTH":        {TypeAuth, "\x18", ""},
}

func headerFlags(t Type) byte {
	if t == TypePubrel || t == TypeSubscribe || t == TypeUnsubscribe {
		return 2
	}
	return 0
}

// decodeProperties decodes the named packet with a property block.
func decodeProperties(name, block string) (Packet, error) {
	p := body5[name]
	method := name == "AUTH" && block[0] != byte(PropAuthenticationMethod) ||
		name == "CONNECT" && block[0] == byte(PropAuthenticationData)
	if method { // has to be there
		block = "\x15\x00\x01m" + block
	}
	body := p.before + string(rune(len(block))) + block + p.after
	return Decode(Header{p.typ, headerFlags(p.typ), len(body)}, []byte(body), V5)
}

func TestTypes(t *testing.T) {
	names := map[Type]string{0: "RESERVED", 16: "RESERVED"}
	for _, row := range readTable(t, "types.csv") {
		typ := Type(number(t, row["value"]))
		names[typ] = row["name"]
		p := newPacket(typ)
		if p.Type() != typ || strings.ToUpper(reflect.TypeOf(p).Elem().Name()) != row["name"] {
			t.Errorf("type %d decodes to %T", typ, p)
		}
		for _, v := range versions {
			if !slices.Contains(strings.Fields(row["versions"]), v.String()) {
				continue
			}
			for flags := range byte(16) {
				r := reader{h: Header{Type: typ, Flags: flags}, version: v}
				r.checkHeader()
				right := row["flags"] == "-" || row["flags"] == fmt.Sprint(flags) ||
					v == V31 && row["flags"] == "2" && flags == 0x0A // DUP
				if (r.err == nil) != right {
					t.Errorf("%v with flags %x in version %v: %v", typ, flags, v, r.err)
				}
			}
			for from, side := range map[Sender]string{FromClient: "client", FromServer: "server"} {
				r := reader{h: Header{Type: typ}, version: v, from: from}
				r.checkSender()
				if right := row["sender"] == "both" || row["sender"] == side; (r.err == nil) != right {
					t.Errorf("%v of version %v from a %s: %v", typ, v, side, r.err)
				}
			}
		}
	}
	for typ := range Type(17) {
		if typ.String() != names[typ] {
			t.Errorf("type %d is %q, want %q", typ, typ, names[typ])
		}
	}
	if p, err := Decode(Header{Type: 16}, nil, V5); p != nil || err == nil {
		t.Errorf("type 16 decodes to %v, %v", p, err)
	}
}

func TestCodes(t *testing.T) {
	packets := make(map[Code][]string)
	for _, row := range readTable(t, "codes.csv") {
		c := Code(number(t, row["value"]))
		packets[c] = strings.Fields(row["packets"])
		if c.String() != row["name"] {
			t.Errorf("code %02x is %q, want %q", byte(c), c, row["name"])
		}
	}
	for i := range 256 {
		c := Code(i)
		if packets[c] == nil && c.String() != fmt.Sprintf("0x%02x", i) {
			t.Errorf("code %02x is %q", i, c)
		}
		if c.Failed() != (i >= 0x80) {
			t.Errorf("code %02x: Failed is %v", i, c.Failed())
		}
		for from, side := range map[Sender]string{FromAny: "", FromClient: ":client", FromServer: ":server"} {
			for name, b := range bodiesWithCode(c) {
				typ := body5[name].typ
				r := reader{b: []byte(b), h: Header{typ, headerFlags(typ), len(b)}, version: V5, from: from}
				if r.checkSender(); r.err != nil {
					continue // the side sends no such packet
				}
				_, err := decode(newPacket(typ), r)
				right := slices.ContainsFunc(packets[c], func(p string) bool {
					return p == name || p == name+side || from == FromAny && strings.HasPrefix(p, name+":")
				})
				if (err == nil) != right || err != nil && code(err) != CodeProtocolError {
					t.Errorf("%s%s with code %02x: %v", name, side, i, err)
				}
			}
		}
	}
}

// bodiesWithCode are bodies of all packets that carry reason codes, with that code.
func bodiesWithCode(c Code) map[string]string {
	code := string([]byte{byte(c)})
	m := map[string]string{
		"CONNACK":    "\x00" + code + "\x00",
		"SUBACK":     "\x00\x01\x00" + code,
		"UNSUBACK":   "\x00\x01\x00\x00" + code,
		"DISCONNECT": code,
		"AUTH":       code + "\x04\x15\x00\x01m",
	}
	for _, name := range []string{"PUBACK", "PUBREC", "PUBREL", "PUBCOMP"} {
		m[name] = "\x00\x01" + code
	}
	return m
}

// TestReturnCodes pins how a CONNACK before MQTT 5 says each reason code.
func TestReturnCodes(t *testing.T) {
	want := map[Code]byte{
		0x84: 1, 0x85: 2, 0x88: 3, 0x86: 4, 0x87: 5, // the codes that those versions have
		0x8A: 5, 0x8C: 4,
	}
	for i := range 256 {
		c := Code(i)
		n, ok := want[c]
		if !ok && c.Failed() {
			n = 3
		}
		b := (&Connack{Code: c}).Append(nil, V311)
		if string(b) != string([]byte{0x20, 2, 0, n}) {
			t.Errorf("code %v is said as % X", c, b)
		}
	}
}

func TestProperties(t *testing.T) {
	values := map[string][]string{ // of each type: two that are right for every property
		"byte":   {"\x01", "\x00"},
		"two":    {"\x00\x01", "\xFF\xFF"},
		"four":   {"\x00\x00\x00\x01", "\xFF\xFF\xFF\xFF"},
		"varint": {"\x01", "\xFF\xFF\xFF\x7F"},
		"string": {"\x00\x01s", "\x00\x03s/t"},
		"binary": {"\x00\x00", "\x00\x02\x00\xFF"},
		"pair":   {"\x00\x00\x00\x00", "\x00\x01n\x00\x01v"},
	}
	known := make(map[byte]bool)
	for _, row := range readTable(t, "properties.csv") {
		id := number(t, row["id"])
		known[id] = true
		if Property(id).String() != row["name"] {
			t.Errorf("property %02x is %q, want %q", id, Property(id), row["name"])
		}
		for packet := range body5 {
			repeats := slices.Contains(strings.Fields(row["packets"]), packet+"+")
			belongs := repeats || slices.Contains(strings.Fields(row["packets"]), packet)
			for _, v := range values[row["type"]] {
				block := string([]byte{id}) + v
				check := func(what, block string, want Code) {
					t.Helper()
					checkBlock(t, packet+" with "+row["name"]+" "+what, packet, block, want)
				}
				if !belongs {
					check("that does not belong there", block, CodeMalformed)
					continue
				}
				check("once", block, CodeSuccess)
				if repeats {
					check("twice", block+block, CodeSuccess)
				} else {
					check("twice", block+block, CodeProtocolError)
				}
				for i := range v {
					check("cut off", block[:1+i], CodeMalformed)
				}
				checkValues(row, block, check)
			}
		}
	}
	if len(known) != 27 {
		t.Errorf("%d properties are known", len(known))
	}
	for id := range 256 {
		if known[byte(id)] {
			continue
		}
		for packet := range body5 {
			checkBlock(t, fmt.Sprintf("%s with property %02x", packet, id), packet, string([]byte{byte(id), 1}), CodeMalformed)
		}
	}
}

// checkValues tries the values that a property may not have.
func checkValues(row map[string]string, block string, check func(what, block string, want Code)) {
	if row["zero"] == "no" {
		zero := strings.Repeat("\x00", map[string]int{"two": 2, "four": 4, "varint": 1, "string": 2}[row["type"]])
		want := CodeProtocolError
		if row["name"] == "Topic Alias" {
			want = CodeTopicAlias
		}
		check("zero", block[:1]+zero, want)
	}
	if row["max"] != "" {
		check("above its maximum", block[:1]+"\x02", CodeProtocolError)
	}
	switch row["type"] {
	case "string":
		for _, s := range []string{"\xFF", "\x00", "\xED\xA0\x80", "ü\x00", "\xC0\x80", "\xF4\x90\x80\x80"} {
			check(fmt.Sprintf("%q", s), block[:1]+"\x00"+string(rune(len(s)))+s, CodeMalformed)
		}
	case "pair":
		check("with a bad name", block[:1]+"\x00\x01\x00\x00\x01v", CodeMalformed)
		check("with a bad value", block[:1]+"\x00\x01n\x00\x01\xFF", CodeMalformed)
	case "varint":
		check("in five octets", block[:1]+"\x80\x80\x80\x80\x01", CodeMalformed)
		check("not in its shortest form", block[:1]+"\x81\x00", CodeMalformed)
	}
}

// code is that of an error.
func code(err error) Code {
	var e *Error
	errors.As(err, &e)
	return e.Code
}

func checkBlock(t *testing.T, what, packet, block string, want Code) {
	t.Helper()
	p, err := decodeProperties(packet, block)
	switch {
	case want != CodeSuccess && err == nil:
		t.Errorf("%s is accepted: %s", what, render(p))
	case want != CodeSuccess && code(err) != want:
		t.Errorf("%s: %s, want code %02X", what, renderError(err), byte(want))
	case want == CodeSuccess && err != nil:
		t.Errorf("%s: %s", what, renderError(err))
	case want == CodeSuccess:
		checkRoundTrip(t, p, V5, 200)
	}
}
