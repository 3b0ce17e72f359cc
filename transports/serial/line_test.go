//go:build linux || darwin

package serial

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"net"
	"slices"
	"testing"
	"time"

	"mqttsn-gateway/transports"
	"mqttsn-gateway/transports/serial/framing"
	"mqttsn-gateway/transports/serial/xbee"
)

// plainLines are the framings with one peer.
var plainLines = map[string]struct {
	set     func(*Options)
	framing framing.Framing
}{
	"raw":      {func(o *Options) { o.Framing = framingRaw }, framing.Raw()},
	"slip":     {func(o *Options) { o.Framing = framingSLIP }, framing.SLIP(false)},
	"slip crc": {func(o *Options) { o.Framing, o.CRC = framingSLIP, true }, framing.SLIP(true)},
	"cobs":     {func(o *Options) { o.Framing = framingCOBS }, framing.COBS(false)},
	"cobs crc": {func(o *Options) { o.Framing, o.CRC = framingCOBS, true }, framing.COBS(true)},
}

// TestBothWays sends packets of all sizes over a real terminal, cut into random pieces.
func TestBothWays(t *testing.T) {
	for name, test := range plainLines {
		t.Run(name, func(t *testing.T) {
			terminal := newTerminal(t)
			o := optionsFor(terminal.name, framingRaw)
			test.set(&o)
			o.Baud = 4_000_000
			o.Queue = 1 << 20
			l := openLink(t, o)
			got, _ := collect(t, l)
			arrived := terminal.packets(test.framing)

			var octets []byte
			var sent [][]byte
			for size := 11; size <= 255; size++ {
				p := publish(uint32(size), size)
				octets = test.framing.Append(octets, p)
				sent = append(sent, p)
				send(t, l, peer, p)
			}
			go func() {
				for len(octets) > 0 {
					n := min(len(octets), 1+rand.IntN(40))
					if _, err := terminal.master.Write(octets[:n]); err != nil {
						t.Error(err)
						return
					}
					octets = octets[n:]
				}
			}()
			for _, want := range sent {
				d := wait(t, got)
				if d.Addr != peer || !d.Local.IsZero() || d.Multicast || d.Signal != 0 || !bytes.Equal(d.Data, want) {
					t.Fatalf("received %+v, want % x", d, want)
				}
				if p := wait(t, arrived); !bytes.Equal(p, want) {
					t.Fatalf("written % x, want % x", p, want)
				}
			}
			s := l.Stats()
			if !s.Up || s.UpFor <= 0 || s.Queued != 0 || s.Received != uint64(len(sent)) || s.Reopened != 0 {
				t.Errorf("%+v", s)
			}
			eventually(t, "all is counted as sent", func() bool { return l.Stats().Sent == uint64(len(sent)) })
		})
	}
}

// TestModuleOnATerminal has a packet from a node and one for it.
func TestModuleOnATerminal(t *testing.T) {
	for mode := 1; mode <= 2; mode++ {
		terminal := newTerminal(t)
		o := optionsFor(terminal.name, framingXBee)
		o.APIMode = mode
		l := openLink(t, o)
		got, _ := collect(t, l)
		f := framing.XBee(mode)
		arrived := terminal.packets(f)
		say := func(frame xbee.Frame) { terminal.write(f.Append(nil, frame.Append(nil))) }

		const node = 0x0013A200_40117D7E // has octets that mode 2 escapes
		hello := publish(1, 80)
		say(xbee.Receive{From: node, From16: 0x1311, Options: xbee.Acknowledged, Data: hello})
		d := wait(t, got)
		if d.Addr != nodeAddr(node) || d.Multicast || !bytes.Equal(d.Data, hello) {
			t.Errorf("mode %d: received %+v", mode, d)
		}
		send(t, l, d.Addr, hello)
		frame, err := xbee.Parse(wait(t, arrived))
		if err != nil {
			t.Fatal(err)
		}
		sent, ok := frame.(*xbee.Transmit)
		if !ok || sent.ID == 0 || sent.To != node || sent.To16 != 0x1311 || !bytes.Equal(sent.Data, hello) {
			t.Fatalf("mode %d: sent %+v", mode, frame)
		}
		say(xbee.TransmitStatus{ID: sent.ID, To16: 0x1311})
		eventually(t, "it is delivered", func() bool { return l.Stats().Delivered == 1 })
	}
}

// TestPauseWithinFrame: a sender may pause within a frame, and not only for a moment.
func TestPauseWithinFrame(t *testing.T) {
	for name, mark := range map[string]framing.Framing{framingSLIP: framing.SLIP(false), framingCOBS: framing.COBS(false)} {
		o := optionsFor("unused", name)
		in := reader{link: &Link{o: o, medium: newLine(o)}, decoder: mark.NewDecoder()}
		frame := mark.Append(nil, []byte("\x02\x16"))
		in.decode(frame[:2])
		for range 9 {
			in.decode(nil)
		}
		if got := in.decode(frame[2:]); len(got) != 1 {
			t.Errorf("%s: %d packets after a pause of 0.9 s within a frame, want 1", name, len(got))
		}
		in.decode(frame[:2])
		for range 10 {
			in.decode(nil)
		}
		if got := in.decode(frame); len(got) != 1 {
			t.Errorf("%s: %d packets after half a frame and a second of silence, want 1", name, len(got))
		}
	}
}

func TestLinkTellsOfItself(t *testing.T) {
	rates := map[string]int{framingRaw: 11520, framingSLIP: 11520, framingCOBS: 11520, framingXBee: radioRate}
	for name, mtu := range map[string]int{framingRaw: 255, framingSLIP: 1000, framingCOBS: 1000, framingXBee: 80} {
		terminal := newTerminal(t)
		l := openLink(t, optionsFor(terminal.name, name))
		if l.Name() != "serial "+terminal.name || l.MTU() != mtu || l.Rate() != rates[name] {
			t.Errorf("%s: %q, MTU %d, rate %d", name, l.Name(), l.MTU(), l.Rate())
		}
		var _ transports.Link = l
		var _ transports.Broadcaster = l
		var _ transports.Paced = l
	}
}

// TestBroadcastOnALine is a frame to the one who is there.
func TestBroadcastOnALine(t *testing.T) {
	terminal := newTerminal(t)
	l := openLink(t, optionsFor(terminal.name, framingRaw))
	serve(t, l, func([]transports.Datagram) {})
	arrived := terminal.packets(framing.Raw())
	advertise := []byte{5, 0, 1, 0x03, 0x84}
	if err := l.Broadcast(transports.Addr{}, 3, advertise); err != nil {
		t.Fatal(err)
	}
	if p := wait(t, arrived); !bytes.Equal(p, advertise) {
		t.Errorf("% x", p)
	}
}

// TestRefusals: what cannot be sent is named, and keeps nothing else back.
func TestRefusals(t *testing.T) {
	terminal := newTerminal(t)
	o := optionsFor(terminal.name, framingRaw)
	o.Queue = 256
	l := openLink(t, o) // not served: nothing leaves the queue
	other := transports.NumberAddr(2)
	small := publish(1, 28)
	batch := []transports.Datagram{
		{Addr: peer, Data: make([]byte, 256)},
		{Addr: other, Data: small},
		{Addr: peer, Data: nil},
	}
	for range 10 { // 9 fit
		batch = append(batch, transports.Datagram{Addr: peer, Data: small})
	}
	sent, err := l.Send(batch)
	if sent != 9 || !errors.Is(err, errOversize) {
		t.Errorf("took %d: %v", sent, err)
	}
	if _, err := l.Send(batch[3:4]); !errors.Is(err, transports.ErrBusy) {
		t.Errorf("full: %v", err)
	}
	if err := l.Broadcast(transports.Addr{}, 0, small); !errors.Is(err, transports.ErrBusy) {
		t.Errorf("full: %v", err)
	}
	s := l.Stats()
	for name, want := range map[string]uint64{"oversize": 2, "unknown_peer": 1, "queue_full": 3} {
		if s.Drops[name] != want {
			t.Errorf("%s: %d, want %d", name, s.Drops[name], want)
		}
	}
	if s.Queued != 252 {
		t.Errorf("%d octets queued", s.Queued)
	}
	if len(s.Drops) != int(reasons)-1 || slices.Contains(reasonNames[1:], "") {
		t.Errorf("drops without a name: %v", s.Drops)
	}
	if err := errors.Join(l.Close(), l.Close(), l.Serve(t.Context(), nil)); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Send(batch[3:4]); !errors.Is(err, net.ErrClosed) {
		t.Errorf("closed: %v", err)
	}
	if s := l.Stats(); s.Up || s.Queued != 0 || s.Drops["line_down"] != 9 {
		t.Errorf("closed: %+v", s)
	}
}

// TestNoise: the first frame after noise may be lost, the second is not, nothing that was
// not sent is taken, and what was refused is counted.
func TestNoise(t *testing.T) {
	for _, name := range []string{"slip crc", "cobs crc"} {
		t.Run(name, func(t *testing.T) {
			test := plainLines[name]
			terminal := newTerminal(t)
			o := optionsFor(terminal.name, framingRaw)
			test.set(&o)
			l := openLink(t, o)
			got, _ := collect(t, l)
			random := rand.New(rand.NewPCG(1, 2))
			for round := range uint32(100) {
				octets := make([]byte, 1+random.IntN(60))
				for i := range octets {
					octets[i] = byte(random.Uint32())
				}
				one, two := publish(2*round, 60), publish(2*round+1, 60)
				terminal.write(test.framing.Append(test.framing.Append(octets, one), two))
				d := wait(t, got)
				if bytes.Equal(d.Data, one) {
					d = wait(t, got)
				}
				if !bytes.Equal(d.Data, two) {
					t.Fatalf("round %d: taken: % x", round, d.Data)
				}
			}
			s := l.Stats()
			if s.Drops["checksum"]+s.Drops["malformed"] == 0 {
				t.Errorf("nothing refused: %+v", s)
			}
		})
	}
}

// BenchmarkTerminal measures what comes out of a terminal, in real time, as a part of what
// a line of 115200 baud carries: packets of 60 octets, framing not counted.
func BenchmarkTerminal(b *testing.B) {
	for name, test := range plainLines {
		b.Run(name, func(b *testing.B) {
			terminal := newTerminal(b)
			o := optionsFor(terminal.name, framingRaw)
			test.set(&o)
			l := openLink(b, o)
			serve(b, l, func([]transports.Datagram) {})
			arrived := terminal.packets(test.framing)
			const size = 60
			start := time.Now()
			for b.Loop() {
				saturate(l, time.Second, size)
			}
			took := time.Since(start)
			b.ReportMetric(float64(len(arrived)*size)/(took.Seconds()*float64(l.Rate())), "of-line")
		})
	}
}
