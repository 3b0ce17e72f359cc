package conformance

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"
)

// octets reads a notation for what goes over the wire, words with spaces between:
//
//	0A1b   octets in hexadecimal
//	"abc"  a string with its length before it, 0003616263
//	'abc'  its octets only, 616263
//
// Text has no spaces and no escapes.
func octets(notation string) ([]byte, error) {
	var b []byte
	for _, word := range strings.Fields(notation) {
		switch text, quote := strings.Trim(word, `"'`), word[0]; quote {
		case '"':
			b = append(b, byte(len(text)>>8), byte(len(text)))
			b = append(b, text...)
		case '\'':
			b = append(b, text...)
		default:
			more, err := hex.DecodeString(word)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", word, err)
			}
			b = append(b, more...)
		}
	}
	return b, nil
}

// packet is a control packet: the first octet, the remaining length, and the rest in the
// notation of octets.
func packet(first byte, notation string) ([]byte, error) {
	body, err := octets(notation)
	if err != nil {
		return nil, err
	}
	b := []byte{first}
	n := len(body)
	for ; n > 127; n >>= 7 {
		b = append(b, byte(n)|0x80)
	}
	return append(append(b, byte(n)), body...), nil
}

func TestNotation(t *testing.T) {
	got, err := packet(0x82, `0001 00 "a/b" 'x' Ff`)
	want := []byte{0x82, 10, 0, 1, 0, 0, 3, 'a', '/', 'b', 'x', 0xFF}
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("% x, %v, want % x", got, err, want)
	}
	if got, err := packet(0x30, strings.Repeat("00", 200)); err != nil || !bytes.HasPrefix(got, []byte{0x30, 0xC8, 0x01, 0}) {
		t.Errorf("% x, %v", got, err)
	}
	if _, err := octets("123"); err == nil {
		t.Error("half an octet is accepted")
	}
}
