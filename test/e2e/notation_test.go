package e2e

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"maps"
	"strings"
	"testing"
)

// Datagrams are written as the reference writes them, octet by octet in hex, with a
// few signs for what a test cannot or need not know:
//
//	09 0C 20        octets; blanks are free
//	'hi'            the octets of a text
//	__              first sign only: the Length field, in the form and with the value
//	                that fit the rest
//	{tid}           two octets with a name: whatever comes where the name is new, and
//	                the same value from then on, received or sent
//	??              one octet, any
//	**              last sign only: any octets, or none
type token struct {
	kind   tokenKind
	octets []byte
	name   string
}

type tokenKind byte

const (
	literal tokenKind = iota
	anyOctet
	anyRest
	lengthField
	variable
)

// vars are the named values of one device's conversation.
type vars map[string]uint16

func parse(notation string) ([]token, error) {
	var tokens []token
	for rest := strings.TrimSpace(notation); rest != ""; rest = strings.TrimSpace(rest) {
		tok, n, err := parseOne(rest, len(tokens) == 0)
		if err != nil {
			return nil, fmt.Errorf("notation %q: %w", notation, err)
		}
		rest = rest[n:]
		if tok.kind == anyRest && strings.TrimSpace(rest) != "" {
			return nil, fmt.Errorf("notation %q: ** stands last", notation)
		}
		tokens = append(tokens, tok)
	}
	return tokens, nil
}

func parseOne(s string, first bool) (token, int, error) {
	switch {
	case strings.HasPrefix(s, "__"):
		if !first {
			return token{}, 0, fmt.Errorf("__ stands first")
		}
		return token{kind: lengthField}, 2, nil
	case strings.HasPrefix(s, "??"):
		return token{kind: anyOctet}, 2, nil
	case strings.HasPrefix(s, "**"):
		return token{kind: anyRest}, 2, nil
	case s[0] == '\'':
		text, _, ok := strings.Cut(s[1:], "'")
		if !ok {
			return token{}, 0, fmt.Errorf("unfinished text %q", s)
		}
		return token{kind: literal, octets: []byte(text)}, len(text) + 2, nil
	case s[0] == '{':
		name, _, ok := strings.Cut(s[1:], "}")
		if !ok || name == "" {
			return token{}, 0, fmt.Errorf("unfinished name %q", s)
		}
		return token{kind: variable, name: name}, len(name) + 2, nil
	case len(s) < 2:
		return token{}, 0, fmt.Errorf("half an octet %q", s)
	}
	octet, err := hex.DecodeString(s[:2])
	if err != nil {
		return token{}, 0, err
	}
	return token{kind: literal, octets: octet}, 2, nil
}

// encode makes the datagram that a notation without free parts stands for.
func encode(notation string, known vars) ([]byte, error) {
	tokens, err := parse(notation)
	if err != nil {
		return nil, err
	}
	var body []byte
	for _, tok := range tokens {
		switch tok.kind {
		case literal:
			body = append(body, tok.octets...)
		case variable:
			value, ok := known[tok.name]
			if !ok {
				return nil, fmt.Errorf("notation %q: {%s} has no value yet", notation, tok.name)
			}
			body = binary.BigEndian.AppendUint16(body, value)
		case anyOctet, anyRest:
			return nil, fmt.Errorf("notation %q: only expectations leave octets open", notation)
		}
	}
	if len(tokens) > 0 && tokens[0].kind == lengthField {
		return frame(body), nil
	}
	return body, nil
}

// frame puts the Length field before a message type and body [SN-5.2.1].
func frame(body []byte) []byte {
	if total := len(body) + 1; total <= 255 {
		return append([]byte{byte(total)}, body...)
	}
	total := len(body) + 3
	return append([]byte{1, byte(total >> 8), byte(total)}, body...)
}

// match compares a datagram with a notation. Names that were new get their values in
// known, if all of it matches.
func match(notation string, known vars, b []byte) error {
	tokens, err := parse(notation)
	if err != nil {
		return err
	}
	found := maps.Clone(known)
	rest := b
	for _, tok := range tokens {
		at := len(b) - len(rest)
		need := map[tokenKind]int{literal: len(tok.octets), anyOctet: 1, variable: 2, lengthField: 1}[tok.kind]
		if tok.kind == lengthField && len(rest) > 0 && rest[0] == 1 {
			need = 3
		}
		if len(rest) < need {
			return fmt.Errorf("ends at octet %d", len(b))
		}
		switch tok.kind {
		case literal:
			if string(rest[:need]) != string(tok.octets) {
				return fmt.Errorf("octet %d: % X, want % X", at, rest[:need], tok.octets)
			}
		case variable:
			got := binary.BigEndian.Uint16(rest)
			if want, ok := found[tok.name]; ok && want != got {
				return fmt.Errorf("octet %d: {%s} is %04X, want %04X", at, tok.name, got, want)
			}
			found[tok.name] = got
		case anyRest:
			need = len(rest)
		}
		rest = rest[need:]
	}
	if len(rest) > 0 {
		return fmt.Errorf("%d octets too many", len(rest))
	}
	maps.Copy(known, found)
	return nil
}

// octets writes arbitrary octets in the notation.
func octets[T string | []byte](b T) string { return hex.EncodeToString([]byte(b)) }

func TestNotation(t *testing.T) {
	known := vars{"tid": 5}
	for notation, want := range map[string]string{
		"":                          "",
		"02 16":                     "\x02\x16",
		"__ 16 'cli-1'":             "\x07\x16cli-1",
		"__ 0C 20 {tid} 00 07 'hi'": "\x09\x0c\x20\x00\x05\x00\x07hi",
		"__ 0C " + octets(strings.Repeat("x", 254)): "\x01\x01\x02\x0c" + strings.Repeat("x", 254),
	} {
		got, err := encode(notation, known)
		if err != nil || string(got) != want {
			t.Errorf("encode(%q) = % X, %v; want % X", notation, got, err, want)
		}
		if err := match(notation, known, []byte(want)); err != nil {
			t.Errorf("match(%q): %v", notation, err)
		}
	}
	if err := match("07 0B {new} ?? 01 **", known, []byte("\x07\x0b\x00\x09\xff\x01\x00")); err != nil || known["new"] != 9 {
		t.Errorf("capture: %v, {new} = %d, want 9", err, known["new"])
	}
	for notation, b := range map[string]string{
		"02 17":    "\x02\x18",
		"02 18":    "\x02\x18\x00",
		"02 16 00": "\x02\x16",
		"{tid}":    "\x00\x06",
		"02 1":     "",
		"00 __":    "",
		"'open":    "",
		"** 00":    "",
		"02 zz":    "",
	} {
		if err := match(notation, known, []byte(b)); err == nil {
			t.Errorf("match(%q, % X) is satisfied", notation, b)
		}
	}
}
