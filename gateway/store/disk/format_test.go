package disk

import (
	"encoding/hex"
	"errors"
	"reflect"
	"strings"
	"testing"

	"mqttsn-gateway/gateway/store"
)

const testSalt = 0x0123456789abcdef

var testOps = []store.Op{
	store.Put(store.MQTTMessage, "sensor-1", 300, []byte("payload")),
	store.Delete(store.MQTTMessage, "sensor-1", 299),
	store.Put(store.SessionState, "", 0, nil),
}

// testFrame is the frame of testOps in segment 2.
func testFrame() []byte {
	b, _ := appendOps(make([]byte, frameHead), testOps, nil)
	sealFrame(b, 9, seed(testSalt, 2))
	return b
}

func intern(b []byte) string { return string(b) }

// What is on disks must stay what it is.
func TestGoldenBytes(t *testing.T) {
	for _, c := range []struct {
		name, want string
		got        []byte
	}{
		{"header",
			"534e47574c4f470a" + "01000000" + "0200000000000000" + "efcdab8967452301" + "0900000000000000" + "0100000000000000" + "5010000000000000" + "fdaa3f9c",
			header{number: 2, salt: testSalt, sequence: 9, previous: 1, end: 0x1050}.encode()},
		{"frame",
			"5c58a4c9" + "1e000000" + "0900000000000000" +
				"0116" + "0873656e736f722d31" + "ac02" + "077061796c6f6164" +
				"0616" + "ab02" +
				"0101" + "00" + "00" + "00",
			testFrame()},
		{"FORMAT",
			hex.EncodeToString([]byte("mqttsn-gateway state, format 1\nread by release 0.1.0 and later\nsalt 0123456789abcdef\ncheck a57c238a\n")),
			format{salt: testSalt}.encode()},
	} {
		if got := hex.EncodeToString(c.got); got != c.want {
			t.Errorf("%s:\n got %s\nwant %s", c.name, got, c.want)
		}
	}
}

func TestFrame(t *testing.T) {
	b := testFrame()
	list, err := decodeOps(nil, b[frameHead:], intern)
	if err != nil || len(list) != len(testOps) {
		t.Fatalf("decoded %d operations, %v", len(list), err)
	}
	_, places := appendOps(make([]byte, frameHead), testOps, nil)
	for i, d := range list {
		if !reflect.DeepEqual(d.Op, testOps[i]) {
			t.Errorf("operation %d: %+v, want %+v", i, d.Op, testOps[i])
		}
		if d.Value != nil && d.offset != places[i].offset {
			t.Errorf("operation %d: value at %d, written at %d", i, d.offset, places[i].offset)
		}
	}
	for n := range b {
		if validFrame(b[:n], seed(testSalt, 2)) {
			t.Errorf("the first %d octets are valid", n)
		}
		for bit := range 8 {
			b[n] ^= 1 << bit
			if validFrame(b, seed(testSalt, 2)) {
				t.Errorf("valid with bit %d of octet %d changed", bit, n)
			}
			b[n] ^= 1 << bit
		}
	}
	if validFrame(b, seed(testSalt, 3)) || validFrame(b, seed(testSalt+1, 2)) {
		t.Error("valid in another segment or store")
	}
	for n := range len(b) - frameHead {
		list, err := decodeOps(nil, b[frameHead:frameHead+n], intern)
		if err == nil && len(list) == len(testOps) {
			t.Errorf("%d octets of operations give all of them", n)
		}
	}
}

func TestHeader(t *testing.T) {
	h := header{number: 2, salt: testSalt, sequence: 9, previous: 1, end: 0x1050}
	b := h.encode()
	if got, err := decodeHeader(append(b, 0, 0), 2); err != nil || got != h {
		t.Errorf("decoded %+v, %v", got, err)
	}
	if _, err := decodeHeader(b, 3); !errors.Is(err, errFrame) {
		t.Errorf("of another segment: %v", err)
	}
	for n := range b {
		if _, err := decodeHeader(b[:n], 2); !errors.Is(err, errFrame) {
			t.Errorf("the first %d octets: %v", n, err)
		}
		b[n] ^= 0x10
		if _, err := decodeHeader(b, 2); !errors.Is(err, errFrame) {
			t.Errorf("octet %d changed: %v", n, err)
		}
		b[n] ^= 0x10
	}
}

func TestFormatFile(t *testing.T) {
	text := format{salt: testSalt}.encode()
	if f, err := decodeFormat(text); err != nil || f.salt != testSalt {
		t.Errorf("decoded %+v, %v", f, err)
	}
	for n := range text {
		if _, err := decodeFormat(text[:n]); err == nil || errors.Is(err, errVersion) {
			t.Errorf("the first %d octets: %v", n, err)
		}
		text[n] ^= 1
		if _, err := decodeFormat(text); err == nil || errors.Is(err, errVersion) {
			t.Errorf("octet %d changed: %v", n, err)
		}
		text[n] ^= 1
	}
	_, err := decodeFormat(laterFormat())
	if !errors.Is(err, errVersion) || !strings.Contains(err.Error(), "format 7") || !strings.Contains(err.Error(), "release 3.2.1") {
		t.Errorf("a later format: %v", err)
	}
}

func TestSegmentName(t *testing.T) {
	for name, want := range map[string]uint64{
		segmentName(1): 1, segmentName(1<<64 - 1): 1<<64 - 1, segmentName(7) + keptSuffix: 7,
		"FORMAT": 0, "1.log": 0, "000000000000000G.log": 0, "000000000000000A.log": 0, "0000000000000001.log~": 0,
	} {
		if got, kept := segmentNumber(name); got != want || kept != strings.HasSuffix(name, keptSuffix) {
			t.Errorf("%s: %d, %v; want %d", name, got, kept, want)
		}
	}
}

func FuzzDecodeOps(f *testing.F) {
	f.Add(testFrame()[frameHead:])
	f.Add([]byte{5, 1, 0})
	f.Add([]byte{1, 1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		list, err := decodeOps(nil, b, intern)
		if err != nil {
			return
		}
		var ops []store.Op
		for _, d := range list {
			if d.Value != nil && string(b[d.offset-frameHead:][:len(d.Value)]) != string(d.Value) {
				t.Fatalf("the value of %+v is not at %d", d.Op, d.offset)
			}
			ops = append(ops, d.Op)
		}
		again, places := appendOps(make([]byte, frameHead), ops, nil)
		if len(places) != len(ops) {
			t.Fatalf("%d places of %d operations", len(places), len(ops))
		}
		back, err := decodeOps(nil, again[frameHead:], intern)
		if err != nil || len(back) != len(list) {
			t.Fatalf("%d operations became %d, %v", len(list), len(back), err)
		}
		for i := range back {
			if !reflect.DeepEqual(back[i].Op, list[i].Op) {
				t.Fatalf("%+v became %+v", list[i].Op, back[i].Op)
			}
		}
	})
}

func FuzzDecodeHeader(f *testing.F) {
	f.Add(header{number: 2, salt: testSalt}.encode(), uint64(2))
	f.Fuzz(func(_ *testing.T, b []byte, number uint64) {
		_, _ = decodeHeader(b, number)
		_, _ = decodeFormat(b)
	})
}
