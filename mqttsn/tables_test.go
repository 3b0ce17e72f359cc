package mqttsn

import (
	"encoding/csv"
	"fmt"
	"os"
	"reflect"
	"strconv"
	"strings"
	"testing"
)

// readNames reads the columns value and name of a CSV file.
func readNames(t *testing.T, file string) map[byte]string {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r := csv.NewReader(f)
	r.Comment = '#'
	rows, err := r.ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	names := make(map[byte]string)
	for _, row := range rows[1:] {
		value, err := strconv.ParseUint(row[0], 0, 8)
		if err != nil {
			t.Fatal(err)
		}
		names[byte(value)] = row[1]
	}
	return names
}

func TestTypes(t *testing.T) {
	names := readNames(t, "testdata/types.csv")
	var d Decoder
	for i := range 256 {
		typ := Type(i)
		want, known := names[byte(i)]
		if typ.Reserved() == known {
			t.Errorf("%v: Reserved is %v", typ, typ.Reserved())
		}
		if !known {
			want = fmt.Sprintf("reserved(0x%02X)", i)
		}
		if typ.String() != want {
			t.Errorf("type 0x%02X is %q, want %q", i, typ.String(), want)
		}
		for _, p := range []Packet{newPacket(typ), d.packet(typ)} {
			switch {
			case !known && p != decodable(nil):
				t.Errorf("%v decodes to %T", typ, p)
			case known && p.Type() != typ:
				t.Errorf("%v decodes to %T", typ, p)
			case known && strings.ToUpper(reflect.TypeOf(p).Elem().Name()) != want:
				t.Errorf("%v is named %T", typ, p)
			}
		}
	}
}

func TestReturnCodes(t *testing.T) {
	names := readNames(t, "testdata/returncodes.csv")
	for i := range 256 {
		want, known := names[byte(i)]
		if !known {
			want = fmt.Sprintf("reserved(0x%02X)", i)
		}
		if got := ReturnCode(i).String(); got != want {
			t.Errorf("return code 0x%02X is %q, want %q", i, got, want)
		}
	}
}

func TestFlagNames(t *testing.T) {
	for q, want := range map[QoS]string{QoS0: "0", QoS1: "1", QoS2: "2", QoSMinusOne: "-1"} {
		if q.String() != want {
			t.Errorf("QoS %d is %q, want %q", byte(q), q.String(), want)
		}
	}
	for typ, want := range map[TopicIDType]string{TopicNormal: "normal", TopicPredefined: "predefined", TopicShort: "short", TopicReserved: "reserved"} {
		if typ.String() != want {
			t.Errorf("topic id type %d is %q, want %q", byte(typ), typ.String(), want)
		}
	}
}
