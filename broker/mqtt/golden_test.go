package mqtt

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// golden is one line of testdata/*.hex for one version:
//
//	ok  <versions> <octets> [=> <octets>] ; <packet>      decodes to packet, encodes to the second octets
//	bad <versions> <octets> ; <code> <error>              is refused with that reason code and text
//
// Versions are "all" or a list such as "3.1,3.1.1"; octets are hex numbers and texts in
// single quotes, fixed header included. Lines that begin with # and empty lines are
// comments.
type golden struct {
	where     string
	ok        bool
	version   Version
	in, out   []byte
	rendering string
}

var versions = []Version{V31, V311, V5}

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
			g, list, err := parseGolden(line)
			if err != nil {
				t.Fatalf("%s:%d: %v", name, n, err)
			}
			for _, g.version = range list {
				g.where = fmt.Sprintf("%s:%d (%v)", name, n, g.version)
				all = append(all, g)
			}
		}
	}
	return all
}

func parseGolden(line string) (g golden, list []Version, err error) {
	f := strings.SplitN(line, " ", 3)
	if len(f) != 3 || f[0] != "ok" && f[0] != "bad" {
		return g, nil, fmt.Errorf("want: ok|bad VERSIONS OCTETS [=> OCTETS] ; TEXT, have: %q", line)
	}
	for _, v := range versions {
		if f[1] == "all" || strings.Contains(","+f[1]+",", ","+v.String()+",") {
			list = append(list, v)
		}
	}
	octets, rendering, found := strings.Cut(f[2], " ;")
	if !found || len(list) == 0 {
		return g, nil, fmt.Errorf("no text or no version: %q", line)
	}
	g.ok, g.rendering = f[0] == "ok", strings.TrimSpace(rendering)
	in, out, different := strings.Cut(octets, "=>")
	if g.in, err = parseOctets(in); err != nil {
		return g, nil, err
	}
	g.out = g.in
	if different {
		g.out, err = parseOctets(out)
	}
	return g, list, err
}

func parseOctets(s string) (b []byte, err error) {
	for i, part := range strings.Split(s, "'") {
		if i%2 == 1 {
			b = append(b, part...)
			continue
		}
		h, err := hex.DecodeString(strings.ReplaceAll(part, " ", ""))
		if err != nil {
			return nil, err
		}
		b = append(b, h...)
	}
	return b, nil
}

// decodeFrame decodes b, which has to be one whole packet.
func decodeFrame(b []byte, v Version) (Packet, error) {
	h, body, n, err := Frame(b, 0)
	switch {
	case err != nil:
		return nil, err
	case n == 0:
		return nil, fmt.Errorf("% X is not a whole frame", b)
	case n != len(b):
		return nil, fmt.Errorf("%d of %d octets are a frame", n, len(b))
	}
	return Decode(h, body, v)
}

func TestGolden(t *testing.T) {
	for _, g := range readGolden(t) {
		p, err := decodeFrame(g.in, g.version)
		switch {
		case g.ok && err != nil:
			t.Errorf("%s: %s, want %s", g.where, renderError(err), g.rendering)
		case g.ok:
			if got := render(p); got != g.rendering {
				t.Errorf("%s: decodes to\n%s, want\n%s", g.where, got, g.rendering)
			}
			if got := p.Append([]byte("before"), g.version); !bytes.Equal(got[6:], g.out) {
				t.Errorf("%s: encodes to\n% X, want\n% X", g.where, got[6:], g.out)
			}
		case err == nil:
			t.Errorf("%s: accepted as %s, want %s", g.where, render(p), g.rendering)
		case renderError(err) != g.rendering:
			t.Errorf("%s: %s, want %s", g.where, renderError(err), g.rendering)
		}
	}
}

// TestGoldenErrorVersion pins which version an error speaks of: that of the connection,
// for a CONNECT the one that it asks for.
func TestGoldenErrorVersion(t *testing.T) {
	for _, g := range readGolden(t) {
		if g.ok {
			continue
		}
		h, body, n, _ := Frame(g.in, 0)
		if n == 0 {
			continue
		}
		var e *Error
		if _, err := Decode(h, body, g.version); !errors.As(err, &e) {
			t.Fatalf("%s: %v", g.where, err)
		}
		if h.Type != TypeConnect && e.Version != g.version || h.Type == TypeConnect && e.Version != 0 && e.Version != g.version {
			t.Errorf("%s: the error speaks of version %v", g.where, e.Version)
		}
	}
}

// TestGoldenCoversEveryType keeps the files complete: every packet of every version has
// an accepted and a refused example.
func TestGoldenCoversEveryType(t *testing.T) {
	type key struct {
		Type
		Version
		ok bool
	}
	seen := make(map[key]bool)
	for _, g := range readGolden(t) {
		seen[key{Type(g.in[0] >> 4), g.version, g.ok}] = true
	}
	for typ := TypeConnect; typ <= TypeAuth; typ++ {
		for _, v := range versions {
			if !seen[key{typ, v, true}] && (typ != TypeAuth || v == V5) {
				t.Errorf("no accepted example of %v in version %v", typ, v)
			}
			if !seen[key{typ, v, false}] {
				t.Errorf("no refused example of %v in version %v", typ, v)
			}
		}
	}
}

// TestGoldenTruncated takes octets off the end of every golden packet. A stream has to
// wait for them then; a frame that is so much shorter is refused, or is another packet
// that is right in itself, such as a SUBACK with fewer codes.
func TestGoldenTruncated(t *testing.T) {
	for _, g := range readGolden(t) {
		if !g.ok {
			continue
		}
		h, body, _, err := Frame(g.in, 0)
		if err != nil {
			t.Fatal(err)
		}
		for i := range g.in {
			if _, _, n, err := Frame(g.in[:i], 0); n != 0 || err != nil {
				t.Errorf("%s: the first %d octets are a frame of %d, %v", g.where, i, n, err)
			}
		}
		for i := range body {
			h.Length = i
			p, err := Decode(h, body[:i:i], g.version)
			if err != nil {
				continue
			}
			checkRoundTrip(t, p, g.version, i)
			if !mayBeShorter(p, g.version) {
				t.Errorf("%s: %d of %d octets are accepted as %s", g.where, i, len(body), render(p))
			}
		}
	}
}

// mayBeShorter reports whether a packet may end in places other than its end.
func mayBeShorter(p Packet, v Version) bool {
	switch p.(type) {
	case *Publish, *Subscribe, *Unsubscribe, *Suback, *Unsuback:
		return true // payload or list
	case *Puback, *Pubrec, *Pubrel, *Pubcomp, *Disconnect, *Auth:
		return v == V5 // code and properties may be left out
	case *Connect:
		return v == V31 // so may user name and password
	}
	return false
}

// TestGoldenWrongLength gives every golden packet a header with a length that is not
// that of the body.
func TestGoldenWrongLength(t *testing.T) {
	for _, g := range readGolden(t) {
		if !g.ok {
			continue
		}
		h, body, _, err := Frame(g.in, 0)
		if err != nil {
			t.Fatal(err)
		}
		for d := -len(body); d < 300; d++ {
			wrong := h
			wrong.Length += d
			if p, err := Decode(wrong, body, g.version); err == nil && d != 0 {
				t.Errorf("%s: a length of %d for %d octets is accepted: %s", g.where, wrong.Length, len(body), render(p))
			}
		}
	}
}

// TestGoldenSurplus adds octets to every golden packet's body: refused, unless they are
// more of a list or payload.
func TestGoldenSurplus(t *testing.T) {
	for _, g := range readGolden(t) {
		if !g.ok {
			continue
		}
		h, body, _, err := Frame(g.in, 0)
		if err != nil {
			t.Fatal(err)
		}
		for n := 1; n <= 5; n++ {
			longer := append(bytes.Clone(body), make([]byte, n)...)
			h.Length = len(longer)
			p, err := Decode(h, longer, g.version)
			if err != nil {
				continue
			}
			if !mayBeShorter(p, g.version) {
				t.Errorf("%s: %d surplus octets are accepted: %s", g.where, n, render(p))
			}
			checkRoundTrip(t, p, g.version, len(longer))
		}
	}
}

// checkRoundTrip encodes and decodes p, which came from a body of the given size.
func checkRoundTrip(t *testing.T, p Packet, v Version, size int) {
	t.Helper()
	b := p.Append(nil, v)
	q, err := decodeFrame(b, v)
	if err != nil {
		t.Fatalf("%s is encoded as % X: %v", render(p), b, err)
	}
	if !reflect.DeepEqual(p, q) {
		t.Fatalf("%s comes back as %s", render(p), render(q))
	}
	if h, _, _, _ := Frame(b, 0); h.Length > size {
		t.Fatalf("%s takes %d octets, came in %d", render(p), h.Length, size)
	}
}
