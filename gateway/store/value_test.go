package store

import (
	"encoding/binary"
	"errors"
	"testing"
)

func TestValue(t *testing.T) {
	v := []byte{1}
	v = AppendString(v, "topic")
	v = binary.AppendUvarint(v, 300)
	v = AppendBytes(v, nil)
	for n := range len(v) + 2 {
		b := append([]byte{}, v...)
		if n <= len(v) {
			b = b[:n]
		} else {
			b = append(b, 0)
		}
		d := Decode(b)
		version, name, number, empty := d.Byte(), d.String(), d.Uint(), d.Bytes()
		if whole := n == len(v); whole != (d.Err() == nil) {
			t.Errorf("%d of %d octets: %v", n, len(v), d.Err())
		} else if whole && (version != 1 || name != "topic" || number != 300 || len(empty) != 0) {
			t.Errorf("read %d %q %d %q", version, name, number, empty)
		}
	}
}

func FuzzDecoder(f *testing.F) {
	f.Add([]byte("\x03abc\x80"))
	f.Fuzz(func(t *testing.T, b []byte) {
		d := Decode(b)
		for n := 0; d.More(); n++ {
			switch n % 3 {
			case 0:
				_ = d.Bytes()
			case 1:
				d.Uint()
			default:
				d.Byte()
			}
		}
		if err := d.Err(); err != nil && !errors.Is(err, ErrValue) {
			t.Fatal(err)
		}
	})
}
