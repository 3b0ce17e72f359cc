package mqttsn

import (
	"bytes"
	"errors"
	"testing"
)

func addGolden(f *testing.F) {
	for _, g := range readGolden(f) {
		f.Add(g.in)
	}
	for _, p := range samples {
		f.Add(p.Append(nil))
	}
}

// usedFlags are the bits of the Flags octet that each message uses (5.3.4, and the
// message's own clause).
var usedFlags = map[Type]byte{
	TypeConnect:      0x0C,
	TypeWillTopic:    0x70,
	TypeWillTopicUpd: 0x70,
	TypePublish:      0xF3,
	TypeSubscribe:    0xE3,
	TypeSuback:       0x60,
	TypeUnsubscribe:  0x03,
	TypeEncapsulated: 0x03, // Ctrl
}

// canonical is b, which Decode has accepted, as Append is to write it: in the short
// form if that is possible, without unused bits and without the Flags of an empty will.
func canonical(typ Type, b []byte) []byte {
	var head, body []byte
	switch {
	case typ == TypeEncapsulated, b[0] != 1:
		head, body = b[:2], b[2:]
	default:
		head, body = b[:4], b[4:]
	}
	body = bytes.Clone(body)
	if mask, ok := usedFlags[typ]; ok && len(body) > 0 {
		body[0] &= mask
	}
	if (typ == TypeWillTopic || typ == TypeWillTopicUpd) && len(body) == 1 {
		body = nil
	}
	if typ != TypeEncapsulated && len(body) <= 253 {
		head = []byte{byte(len(body) + 2), byte(typ)}
	}
	return append(bytes.Clone(head), body...)
}

func FuzzDecode(f *testing.F) {
	addGolden(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		before := bytes.Clone(b)
		p, err := Decode(b)
		if !bytes.Equal(b, before) {
			t.Fatal("Decode changes its input")
		}
		if err != nil {
			var e *DecodeError
			if p != nil || !errors.As(err, &e) || e.Field == "" || e.Reason == "" {
				t.Fatalf("Decode = %v, %#v", p, err)
			}
			return
		}
		out := p.Append(nil)
		if want := canonical(p.Type(), b); !bytes.Equal(out, want) {
			t.Errorf("% X is encoded as\n% X, want\n% X", b, out, want)
		}
		q, err := Decode(out)
		if err != nil || render(q) != render(p) {
			t.Errorf("%s comes back as %v, %v", render(p), q, err)
		}
	})
}

// FuzzDecoder compares a reused Decoder, strict and lenient, with Decode.
func FuzzDecoder(f *testing.F) {
	addGolden(f)
	var strict Decoder
	lenient := Decoder{Lenient: true}
	f.Fuzz(func(t *testing.T, b []byte) {
		want, wantErr := Decode(b)
		got, err := strict.Decode(b)
		switch {
		case wantErr != nil:
			if err == nil || err.Error() != wantErr.Error() {
				t.Fatalf("Decoder: %v, Decode: %v", err, wantErr)
			}
		case err != nil || render(got) != render(want):
			t.Fatalf("Decoder: %v, %v, Decode: %s", got, err, render(want))
		}
		got, err = lenient.Decode(b)
		if wantErr == nil && (err != nil || render(got) != render(want)) {
			t.Fatalf("lenient: %v, %v, Decode: %s", got, err, render(want))
		}
		if err == nil && len(got.Append(nil)) > len(b) {
			t.Fatalf("lenient: %s is longer than % X", render(got), b)
		}
	})
}

// FuzzPeek compares Peek with Decode: what has no frame is no packet, and the type is
// the packet's.
func FuzzPeek(f *testing.F) {
	addGolden(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		typ, body, err := Peek(b)
		p, decodeErr := Decode(b)
		switch {
		case err != nil && decodeErr == nil:
			t.Fatalf("Peek: %v, Decode: %s", err, render(p))
		case err == nil && decodeErr == nil && typ != p.Type():
			t.Fatalf("Peek: %v, Decode: %s", typ, render(p))
		case err == nil && !bytes.HasSuffix(b, body):
			t.Fatalf("Peek: body % X of % X", body, b)
		}
	})
}

func FuzzTopicFilter(f *testing.F) {
	for _, s := range []string{"a/b", "a/+/#", "$share/g/a/#", "#", "", "\xff"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		name, filter, text := ValidTopicName(b), ValidTopicFilter(b), ValidUTF8(b)
		if (name || filter) && !text {
			t.Fatalf("%q is a topic but no text", b)
		}
		if name && !filter && !bytes.HasPrefix(b, []byte("$share/")) {
			t.Fatalf("%q is a name but no filter", b)
		}
		if filter && name == bytes.ContainsAny(b, "+#") {
			t.Fatalf("%q is a filter with and without wildcards", b)
		}
	})
}
