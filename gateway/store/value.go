package store

import (
	"encoding/binary"
	"errors"
)

// Values are made with binary.AppendUvarint, AppendString and AppendBytes, and read with a
// Decoder. Their first octet is the version of their form.

// ErrValue says that a value is not of the form that its space and version have.
var ErrValue = errors.New("store: the value is not in the form that it should have")

// AppendString appends a string with its length.
func AppendString(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// AppendBytes appends octets with their number.
func AppendBytes(b, v []byte) []byte {
	return append(binary.AppendUvarint(b, uint64(len(v))), v...)
}

// Decoder reads a value from front to back. Once something is missing all further reads
// return zero, and Err says so.
type Decoder struct {
	rest []byte
	bad  bool
}

// Decode starts to read a value. Nothing is copied: what Bytes returns is part of it.
func Decode(value []byte) *Decoder { return &Decoder{rest: value} }

// Byte reads one octet.
func (d *Decoder) Byte() byte {
	if len(d.rest) == 0 {
		d.bad = true
		return 0
	}
	c := d.rest[0]
	d.rest = d.rest[1:]
	return c
}

// Uint reads an unsigned number.
func (d *Decoder) Uint() uint64 {
	n, size := binary.Uvarint(d.rest)
	if size <= 0 {
		d.rest, d.bad = nil, true
		return 0
	}
	d.rest = d.rest[size:]
	return n
}

// Bytes reads octets that AppendBytes has written.
func (d *Decoder) Bytes() []byte {
	n := d.Uint()
	if n > uint64(len(d.rest)) {
		d.rest, d.bad = nil, true
		return nil
	}
	b := d.rest[:n:n]
	d.rest = d.rest[n:]
	return b
}

// String reads a string that AppendString has written.
func (d *Decoder) String() string { return string(d.Bytes()) }

// More reports whether something is left to be read.
func (d *Decoder) More() bool { return len(d.rest) > 0 }

// Err is ErrValue if something was missing, or if something is left.
func (d *Decoder) Err() error {
	if d.bad || len(d.rest) > 0 {
		return ErrValue
	}
	return nil
}
