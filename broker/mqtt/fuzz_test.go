package mqtt

import (
	"bytes"
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"
)

func addGolden(f *testing.F) {
	for _, g := range readGolden(f) {
		f.Add(byte(g.version), g.in)
	}
	for _, p := range samples {
		f.Add(byte(V5), p.Append(nil, V5))
		f.Add(byte(V311), p.Append(nil, V311))
	}
}

// version maps any octet to a version.
func version(b byte) Version { return versions[int(b)%len(versions)] }

// FuzzDecode reads one packet and writes it again. Before MQTT 5 there is only one way
// to write a packet, so the octets have to be the same; the exceptions are what MQTT 3.1
// lets pass. In MQTT 5 the order of properties is free and a few fields may be left out.
func FuzzDecode(f *testing.F) {
	addGolden(f)
	f.Fuzz(func(t *testing.T, v byte, b []byte) {
		version := version(v)
		h, body, n, err := Frame(b, 0)
		checkError(t, err)
		if n == 0 {
			return
		}
		before := bytes.Clone(b)
		p, err := Decode(h, body, version)
		if !bytes.Equal(b, before) {
			t.Fatal("Decode changes its input")
		}
		if err != nil {
			checkError(t, err)
			if p != nil {
				t.Fatalf("%v with an error", p)
			}
			return
		}
		if c, ok := p.(*Connect); ok {
			version = c.Version
		}
		checkRoundTrip(t, p, version, h.Length)
		out := p.Append(nil, version)
		if version == V311 && !bytes.Equal(out, b[:n]) {
			t.Fatalf("% X is written as\n% X", b[:n], out)
		}
	})
}

func checkError(t *testing.T, err error) {
	t.Helper()
	if err == nil {
		return
	}
	var e *Error
	if !errors.As(err, &e) || e.Field == "" || e.Reason == "" || !e.Code.Failed() ||
		strings.Contains(e.Error(), "  ") || e.Refuse && e.Packet != TypeConnect {
		t.Fatalf("%#v", err)
	}
	if e.Packet == TypeConnect && !e.Code.allowedIn(inConnack) || !e.Code.allowedIn(inConnack|inDisconnectServer) {
		t.Fatalf("no packet answers with %v", e.Code)
	}
}

// FuzzDecoder compares a reused Decoder with Decode, and one that knows the sender with
// one that does not.
func FuzzDecoder(f *testing.F) {
	addGolden(f)
	var plain Decoder
	client, server := Decoder{From: FromClient}, Decoder{From: FromServer}
	f.Fuzz(func(t *testing.T, v byte, b []byte) {
		h, body, n, _ := Frame(b, 0)
		if n == 0 {
			return
		}
		want, wantErr := Decode(h, body, version(v))
		accepted := 0
		for _, d := range []*Decoder{&plain, &client, &server} {
			got, err := d.Decode(h, body, version(v))
			switch {
			case err == nil && wantErr != nil:
				t.Fatalf("sender %d: %s, Decode: %v", d.From, render(got), wantErr)
			case err == nil && render(got) != render(want):
				t.Fatalf("sender %d: %s, Decode: %s", d.From, render(got), render(want))
			case err != nil && d == &plain && (wantErr == nil || err.Error() != wantErr.Error()):
				t.Fatalf("reused: %v, Decode: %v", err, wantErr)
			case err == nil:
				accepted++
			}
		}
		if wantErr == nil && accepted < 2 && !mixed(want) {
			t.Fatalf("nobody may send %s", render(want))
		}
	})
}

// mixed reports whether a packet has marks of both sides.
func mixed(p Packet) bool {
	d, ok := p.(*Disconnect)
	return ok && (d.Properties.SessionExpiry.Set || d.Code == CodeDisconnectWithWill) &&
		(d.Properties.ServerReference != nil || !d.Code.allowedIn(inDisconnectClient)) ||
		ok && d.Properties.ServerReference != nil && !d.Code.allowedIn(inDisconnectServer)
}

// FuzzFrame cuts a stream with Frame and, in pieces of any size, with a Reader: both
// have to find the same packets and the same end.
func FuzzFrame(f *testing.F) {
	// Small seeds: the fuzzer would spend its time on making large ones smaller.
	ping, publish := []byte{0xC0, 0}, (&Publish{Topic: []byte("t"), Payload: make([]byte, 600)}).Append(nil, V311)
	f.Add(byte(0), uint16(0), slices.Concat(ping, publish, ping))
	f.Add(byte(64), uint16(600), slices.Concat(ping, publish, ping))
	f.Add(byte(1), uint16(0), []byte{0x30, 0x05, 'a'})
	f.Add(byte(1), uint16(0), []byte{0xC0, 0, 0x30, 0x80, 0x80, 0x80, 0x80})
	f.Fuzz(func(t *testing.T, size byte, most uint16, b []byte) {
		limit := int(most)
		r := NewReader(&chunks{b, func() int { return int(size)*8 + 1 }}, limit)
		for {
			h, body, n, err := Frame(b, limit)
			checkError(t, err)
			gotHeader, gotBody, gotErr := r.Next()
			switch {
			case n > 0 && (gotErr != nil || gotHeader != h || !bytes.Equal(gotBody, body)):
				t.Fatalf("Frame: %v % X, Reader: %v % X %v", h, body, gotHeader, gotBody, gotErr)
			case n > 0 && (h.Length != len(body) || limit > 0 && n > limit || n > len(b)):
				t.Fatalf("Frame: %v, %d octets of body, %d of %d octets", h, len(body), n, len(b))
			case err != nil && !reflect.DeepEqual(err, gotErr):
				t.Fatalf("Frame: %v, Reader: %v", err, gotErr)
			case n == 0:
				if gotErr == nil {
					t.Fatalf("Frame: %v, Reader: %v", err, gotHeader)
				}
				return
			}
			b = b[n:]
		}
	})
}

func FuzzTopics(f *testing.F) {
	for _, s := range []string{"a/b", "a/+/#", "$share/g/a/#", "#", "", "\xff", "+/a", "$SYS/a"} {
		f.Add(s, "a/b/c")
		f.Add(s, "$SYS/a")
		f.Add(s, "a//")
	}
	f.Fuzz(func(t *testing.T, filter, topic string) {
		if got := ValidTopicFilter(filter); got != validFilterLevels(filter) {
			t.Fatalf("ValidTopicFilter(%q) = %v", filter, got)
		}
		if got := ValidTopicName(topic); got != (validText(topic) && !strings.ContainsAny(topic, "+#")) {
			t.Fatalf("ValidTopicName(%q) = %v", topic, got)
		}
		if !ValidTopicFilter(filter) || !ValidTopicName(topic) {
			Match(filter, topic)
			return
		}
		if _, rest, ok := Shared(filter); ok {
			filter = rest
		}
		if got := Match(filter, []byte(topic)); got != matchLevels(filter, topic) {
			t.Fatalf("Match(%q, %q) = %v", filter, topic, got)
		}
	})
}

func validText(s string) bool {
	return s != "" && len(s) <= 65535 && strings.ToValidUTF8(s, "") == s && !strings.Contains(s, "\x00")
}

// validFilterLevels is ValidTopicFilter written by levels.
func validFilterLevels(s string) bool {
	if !validText(s) {
		return false
	}
	levels := strings.Split(s, "/")
	if levels[0] == "$share" && len(levels) > 1 {
		if len(levels) < 3 || levels[1] == "" || strings.ContainsAny(levels[1], "+#") || len(levels) == 3 && levels[2] == "" {
			return false
		}
	}
	for i, level := range levels {
		if level == "#" && i < len(levels)-1 || len(level) > 1 && strings.ContainsAny(level, "+#") {
			return false
		}
	}
	return true
}
