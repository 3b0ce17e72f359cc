package serial

import (
	"testing"

	"mqttsn-gateway/transports/serial/xbee"
)

// TestPatience: noise that looks like the start of a long frame of API mode 1 holds the
// next frames back until the line is silent for a moment; and a pause within a good frame,
// as adapters make, does it no harm.
func TestPatience(t *testing.T) {
	for _, test := range []struct {
		framing       string
		mode, pauses  int // within a frame that arrives all the same
		noise         []byte
		silencesAfter int // until what is whole behind the noise is there
	}{
		{framingRaw, 2, 0, []byte{200, 0x0C}, 1},
		{framingXBee, 1, 2, []byte{0x7E, 0x03, 0xE8}, 3},
		{framingXBee, 2, 9, []byte{0x7E, 0x03, 0xE8}, 0},
		{framingSLIP, 2, 9, []byte{0x55}, 0},
		{framingCOBS, 2, 9, []byte{0x55}, 0},
	} {
		o := optionsFor("unused", test.framing)
		o.APIMode = test.mode
		o.CRC = test.framing == framingSLIP || test.framing == framingCOBS
		fresh := func() *reader {
			l := &Link{o: o}
			if test.framing == framingXBee {
				r := newRadio(o, &l.counts, discard)
				l.medium, l.framing = r, r.framing
			} else {
				m := newLine(o)
				l.medium, l.framing = m, m.framing
			}
			return &reader{link: l, decoder: l.framing.NewDecoder()}
		}
		in := fresh()
		packet := publish(1, 20)
		if test.framing == framingXBee {
			packet = xbee.Receive{From: 0x0013A200_40000001, From16: 1, Data: packet}.Append(nil)
		}
		frame := in.link.framing.Append(nil, packet)

		got := len(in.decode(frame[:len(frame)/2]))
		for range test.pauses {
			got += len(in.decode(nil))
		}
		if got += len(in.decode(frame[len(frame)/2:])); got != 1 {
			t.Errorf("%s, mode %d: a frame with a pause of %d gaps is %d packets", test.framing, test.mode, test.pauses, got)
		}

		in = fresh()
		in.decode(test.noise)
		got, silences := len(in.decode(frame)), 0
		for ; got == 0 && silences < 20; silences++ {
			got += len(in.decode(nil))
		}
		if silences != test.silencesAfter || got != 1 {
			t.Errorf("%s, mode %d: %d packets, %d silences after a frame behind noise", test.framing, test.mode, got, silences)
		}
	}
}
