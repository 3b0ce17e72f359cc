package mqtt

import (
	"slices"
	"strings"
	"testing"
)

// TestTshark has every packet of samples and of the golden files judged by another
// implementation: Wireshark's dissector has to find the fields that we meant, with the
// octets that we meant, nothing else, and nothing to complain about.
//
// The dissector (seen in 4.0) takes the version of a connection from its last CONNECT,
// so each version has a stream of its own. It warns of text with zeros in correlation and
// authentication data, which it shows as strings though they are binary: see complaints.
// A PUBLISH with nothing but a topic alias it can judge only after one that sets it, and
// then shows that one's topic in place of none: it is left out.
func TestTshark(t *testing.T) {
	for _, v := range versions {
		packets := []Packet{&Connect{Version: v, CleanStart: true, ClientID: []byte("first")}}
		for _, p := range samples {
			if p.Type() != TypeAuth || v == V5 {
				packets = append(packets, p)
			}
		}
		for _, g := range readGolden(t) {
			p, err := decodeFrame(g.in, g.version)
			if alias, ok := p.(*Publish); ok && len(alias.Topic) == 0 {
				continue
			}
			if err == nil && g.version == v {
				packets = append(packets, p)
			}
		}
		var segments [][]byte
		for _, p := range packets {
			segments = append(segments, p.Append(nil, v))
		}
		for i, d := range runTshark(t, segments) {
			if c := d.complaints(); len(c) > 0 {
				t.Errorf("version %v: %s: %v", v, render(packets[i]), c)
			}
			got, want := d.mqtt(), dissect(packets[i], v)
			if !slices.Equal(got, want) {
				t.Errorf("version %v: %s:\n got %q\nwant %q", v, render(packets[i]), got, want)
			}
		}
	}
}

// TestTsharkComplains makes sure that the judge would speak up: of truncated packets it
// finds what a decoder finds.
func TestTsharkComplains(t *testing.T) {
	first := (&Connect{CleanStart: true, ClientID: []byte("first")}).Append(nil, V5)
	bad := [][]byte{
		{0x40, 0x01, 0x00},                                             // half a packet identifier
		{0x30, 0x05, 0x00, 0x09, 't', 'o', 'p'},                        // a topic beyond the packet
		{0x30, 0x06, 0x00, 0x01, 't', 0x02, 0x05, 0x00},                // an unknown property
		{0x30, 0x05, 0x00, 0x01, 't', 0x09, 0x01},                      // properties beyond the packet
		{0x10, 0x09, 0x00, 0x04, 'M', 'Q', 'T', 'T', 0x07, 0x02, 0x00}, // an unknown version
	}
	for _, b := range bad {
		d := runTshark(t, [][]byte{first, b})
		if len(d[1].complaints()) == 0 && !strings.Contains(strings.Join(d[1].mqtt(), " "), "unknown") {
			t.Errorf("% X: no complaint: %v", b, d[1].mqtt())
		}
	}
}
