package mqttsn

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// golden is one line of testdata/*.hex:
//
//	ok  <hex> [=> <hex>] ; <packet>      decodes to packet, encodes to the second hex
//	bad <hex> ; <error>                  is refused with that error
//
// Lines that begin with # and empty lines are comments.
type golden struct {
	where     string
	ok        bool
	in, out   []byte
	rendering string
}

func readGolden(t testing.TB) []golden {
	t.Helper()
	files, err := filepath.Glob("testdata/*.hex")
	if err != nil || len(files) == 0 {
		t.Fatalf("no golden files: %v", err)
	}
	var all []golden
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(bytes.NewReader(text))
		for n := 1; lines.Scan(); n++ {
			line := strings.TrimSpace(lines.Text())
			if line == "" || line[0] == '#' {
				continue
			}
			g, err := parseGolden(line)
			if err != nil {
				t.Fatalf("%s:%d: %v", name, n, err)
			}
			g.where = fmt.Sprintf("%s:%d", name, n)
			all = append(all, g)
		}
	}
	return all
}

func parseGolden(line string) (g golden, err error) {
	verdict, rest, _ := strings.Cut(line, " ")
	octets, rendering, found := strings.Cut(rest, ";")
	if verdict != "ok" && verdict != "bad" || !found {
		return g, fmt.Errorf("want: ok|bad HEX [=> HEX] ; TEXT, have: %q", line)
	}
	g.ok, g.rendering = verdict == "ok", strings.TrimSpace(rendering)
	in, out, different := strings.Cut(octets, "=>")
	if g.in, err = hex.DecodeString(strings.ReplaceAll(in, " ", "")); err != nil {
		return g, err
	}
	g.out = g.in
	if different {
		g.out, err = hex.DecodeString(strings.ReplaceAll(out, " ", ""))
	}
	return g, err
}

// render is a packet as the golden files write it: its type and the fields that are
// not zero.
func render(p Packet) string {
	var b strings.Builder
	b.WriteString(p.Type().String())
	v := reflect.Indirect(reflect.ValueOf(p))
	for i := range v.NumField() {
		f, name := v.Field(i), v.Type().Field(i).Name
		switch {
		case f.IsZero(), f.Kind() == reflect.Slice && f.Len() == 0:
		case f.Kind() == reflect.Bool:
			b.WriteString(" " + name)
		case name == "Address" || name == "NodeID" || name == "Packet":
			fmt.Fprintf(&b, " %s=%X", name, f.Bytes())
		case f.Kind() == reflect.Slice:
			fmt.Fprintf(&b, " %s=%q", name, f.Bytes())
		default:
			fmt.Fprintf(&b, " %s=%v", name, f.Interface())
		}
	}
	return b.String()
}

func TestGolden(t *testing.T) {
	for _, g := range readGolden(t) {
		p, err := Decode(g.in)
		switch {
		case g.ok && err != nil:
			t.Errorf("%s: %v, want %s", g.where, err, g.rendering)
		case g.ok:
			if got := render(p); got != g.rendering {
				t.Errorf("%s: decodes to %s, want %s", g.where, got, g.rendering)
			}
			if got := p.Append(nil); !bytes.Equal(got, g.out) {
				t.Errorf("%s: encodes to % X, want % X", g.where, got, g.out)
			}
		case err == nil:
			t.Errorf("%s: accepted as %s, want %s", g.where, render(p), g.rendering)
		case err.Error() != g.rendering:
			t.Errorf("%s: %v, want %s", g.where, err, g.rendering)
		}
	}
}

// TestGoldenCoversEveryType keeps the files complete: each message has an accepted and,
// unless every body is legal, a refused example.
func TestGoldenCoversEveryType(t *testing.T) {
	var accepted, refused [256]bool
	for _, g := range readGolden(t) {
		switch {
		case g.ok:
			p, err := Decode(g.in)
			if err != nil {
				t.Fatal(err)
			}
			accepted[p.Type()] = true
		case len(g.in) >= 2:
			refused[g.in[1]] = true
		}
	}
	anyBody := map[Type]bool{TypeWillTopic: true, TypeWillMsg: true, TypePingreq: true, TypeWillTopicUpd: true, TypeWillMsgUpd: true}
	for i := range 256 {
		typ := Type(i)
		if typ.Reserved() {
			continue
		}
		if !accepted[typ] {
			t.Errorf("no accepted example of %v", typ)
		}
		if !refused[typ] && !anyBody[typ] {
			t.Errorf("no refused example of %v", typ)
		}
	}
}

// TestGoldenTruncated takes octets off the end of every golden packet. The declared
// length then never fits, in a lenient decoder either.
func TestGoldenTruncated(t *testing.T) {
	lenient := Decoder{Lenient: true}
	for _, g := range readGolden(t) {
		if !g.ok {
			continue
		}
		for i := range g.in {
			if p, err := Decode(g.in[:i]); err == nil {
				t.Errorf("%s: the first %d octets are accepted as %s", g.where, i, render(p))
			}
			if p, err := lenient.Decode(g.in[:i]); err == nil {
				t.Errorf("%s: the first %d octets are accepted leniently as %s", g.where, i, render(p))
			}
		}
	}
}

// TestGoldenWrongLength gives every golden packet every other length. All are refused,
// but for the forwarder encapsulation, whose length only moves the border between the
// node id and the packet within; there the result must at least be consistent.
func TestGoldenWrongLength(t *testing.T) {
	for _, g := range readGolden(t) {
		if !g.ok {
			continue
		}
		b := bytes.Clone(g.in)
		right := b[0]
		for v := range 256 {
			b[0] = byte(v)
			if b[0] == right {
				continue
			}
			checkWrongLength(t, g.where, b)
		}
		if right != 0x01 {
			continue
		}
		b[0] = right
		size := len(b)
		for v := range 1 << 16 {
			if v != size {
				b[1], b[2] = byte(v>>8), byte(v)
				checkWrongLength(t, g.where, b)
			}
		}
	}
}

func checkWrongLength(t *testing.T, where string, b []byte) {
	t.Helper()
	p, err := Decode(b)
	if err != nil {
		return
	}
	if e, ok := p.(*Encapsulated); !ok || !bytes.Equal(e.Append(nil), b) {
		t.Errorf("%s: length % X is accepted: %s", where, b[:3], render(p))
	}
}

// TestGoldenSurplus adds octets to every golden packet: refused, unless the decoder is
// lenient, who sees the packet without them.
func TestGoldenSurplus(t *testing.T) {
	lenient := Decoder{Lenient: true}
	for _, g := range readGolden(t) {
		if !g.ok {
			continue
		}
		for n := 1; n <= 5; n++ {
			b := append(bytes.Clone(g.in), make([]byte, n)...)
			if p, err := Decode(b); err == nil {
				t.Errorf("%s: %d surplus octets are accepted as %s", g.where, n, render(p))
			}
			p, err := lenient.Decode(b)
			if err != nil || render(p) != g.rendering {
				t.Errorf("%s: %d surplus octets leniently: %v, %v", g.where, n, p, err)
			}
		}
	}
}
