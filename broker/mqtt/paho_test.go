package mqtt

import (
	"bytes"
	"testing"

	"github.com/eclipse/paho.golang/packets"
)

// TestPaho has another implementation of MQTT 5 read what we write, and reads back what
// that one then writes: both have to be the same packet, but for what that one loses.
func TestPaho(t *testing.T) {
	list := samples
	for _, g := range readGolden(t) {
		if p, err := decodeFrame(g.in, g.version); err == nil && g.version == V5 {
			list = append(list, p)
		}
	}
	for _, p := range list {
		b := p.Append(nil, V5)
		if p.Type() == TypeDisconnect && len(b) == 2 {
			continue // of which it says EOF, since there is no reason code
		}
		theirs, err := packets.ReadPacket(bytes.NewReader(b))
		if err != nil {
			t.Errorf("%s: % X: %v", render(p), b, err)
			continue
		}
		var out bytes.Buffer
		if _, err := theirs.WriteTo(&out); err != nil {
			t.Errorf("%s: %v", render(p), err)
			continue
		}
		back, err := decodeFrame(out.Bytes(), V5)
		if err != nil {
			t.Errorf("%s\ncomes back as % X: %s", render(p), out.Bytes(), renderError(err))
			continue
		}
		p, err = decodeFrame(b, V5) // a copy
		if err != nil {
			t.Fatal(err)
		}
		if loseWithPaho(p); render(back) != render(p) {
			t.Errorf("%s\ncomes back as\n%s", render(p), render(back))
		}
	}
}

// loseWithPaho takes from p what version 0.23 of Paho's packets does not write: all but
// two properties of a will, all but the last subscription identifier, and strings and
// binary data that are present but empty.
func loseWithPaho(p Packet) {
	lose := func(fields ...*[]byte) {
		for _, f := range fields {
			if len(*f) == 0 {
				*f = nil
			}
		}
	}
	switch p := p.(type) {
	case *Connect:
		p.Will.Properties = WillProperties{Delay: p.Will.Properties.Delay, User: p.Will.Properties.User}
	case *Connack:
		lose(&p.Properties.AuthenticationData)
	case *Publish:
		lose(&p.Properties.ContentType, &p.Properties.CorrelationData)
		if ids := p.Properties.SubscriptionIDs; len(ids) > 1 {
			p.Properties.SubscriptionIDs = ids[len(ids)-1:]
		}
	case *Pubrel:
		lose(&p.Properties.ReasonString)
	}
}
