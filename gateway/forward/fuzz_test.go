package forward

import (
	"bytes"
	"context"
	"log/slog"
	"net"
	"testing"

	"mqttsn-gateway/mqttsn"
	"mqttsn-gateway/transports"
)

// sink is a link that keeps what it is to send.
type sink struct {
	sent      []transports.Datagram
	broadcast [][]byte
}

func (*sink) Name() string { return "sink" }
func (*sink) MTU() int     { return 200 }
func (*sink) Close() error { return nil }

func (*sink) Serve(context.Context, func([]transports.Datagram)) error { return nil }

func (s *sink) Send(batch []transports.Datagram) (int, error) {
	s.sent = append(s.sent[:0], batch...) // enough to see what one datagram becomes
	return len(batch), nil
}

func (s *sink) Broadcast(_ transports.Addr, _ uint8, data []byte) error {
	s.broadcast = append(s.broadcast, data)
	return nil
}

// newSinks makes a forwarder that is not running: what it would send stays where it is.
func newSinks(t testing.TB, n int) *Forwarder {
	var links []transports.Link
	for range n {
		links = append(links, &sink{})
	}
	o := DefaultOptions()
	o.To, o.MTU = "192.0.2.1:1883", 300
	f, err := New(o, links, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	f.uplink.queue.open()
	f.subnets.list = func() ([]net.Addr, error) { return nil, nil }
	return f
}

func (f *Forwarder) sink(i int) *sink { return f.ports[i].link.(*sink) }

func (f *Forwarder) droppedAll() (sum uint64) {
	for _, n := range f.Stats().Dropped {
		sum += n
	}
	return sum
}

// FuzzFromGateway: whatever claims to come from the gateway is sent to one device, to all
// or to none, and counted once for each.
func FuzzFromGateway(f *testing.F) {
	for _, seed := range []string{
		"04 FE 00 01 02 17", "05 FE 01 01 01 03 02 01", "05 00 01 00 3C", "04 FE 00 01 04 FE 00 01 02 16", "04 FE 00 01 01 00 04 16",
		"0A FE 00 01 C0 00 02 09 12 34 02 17", "09 FE 00 C0 00 02 09 12 34 02 17", "01 00 04 16", "02 FE",
	} {
		f.Add(octets(f, seed), true)
		f.Add(octets(f, seed), false)
	}
	f.Fuzz(func(t *testing.T, datagram []byte, several bool) {
		n := 1
		if several {
			n = 2
		}
		fwd := newSinks(t, n)
		fwd.ports[0].heard.note(ip4, transports.Addr{})
		before := bytes.Clone(datagram)
		fwd.fromGateway(datagram)
		if !bytes.Equal(datagram, before) {
			t.Fatal("the datagram was written to")
		}
		var sent []transports.Datagram
		var all [][]byte
		link := 0 // to which it was sent
		for i := range n {
			s := fwd.sink(i)
			if len(s.sent) > 0 {
				link = i
			}
			sent, all = append(sent, s.sent...), append(all, s.broadcast...)
		}
		st := fwd.Stats()
		if uint64(len(sent)) != st.ToDevices || uint64(len(all)) != st.Broadcasts {
			t.Fatalf("%d sent and %d broadcast, %+v", len(sent), len(all), st)
		}
		if len(sent) == 0 && len(all) == 0 && fwd.droppedAll() == 0 {
			t.Fatal("it has vanished")
		}
		if len(sent) > 1 || len(all) > n {
			t.Fatalf("sent %d times, broadcast %d times", len(sent), len(all))
		}
		for _, d := range sent {
			all = append(all, d.Data)
			if isIP(d.Addr) && d.Addr != ip4 {
				t.Fatalf("sent to %v, which was never heard", d.Addr)
			}
			// The id is the one that the device's own packets have.
			if id := fwd.appendNodeID(nil, link, d.Addr); !bytes.HasPrefix(datagram[3:], id) || int(datagram[0]) != 3+len(id) {
				t.Fatalf("% X went to %v, whose id is % X", datagram, d.Addr, id)
			}
		}
		for _, packet := range all {
			if typ, _, err := mqttsn.Peek(packet); err != nil || typ == mqttsn.TypeEncapsulated || !bytes.HasSuffix(datagram, packet) {
				t.Fatalf("% X came out of % X", packet, datagram)
			}
		}
	})
}

// FuzzFromDevices: whatever a device sends reaches the gateway unchanged in one frame, or
// is counted; and the answer in such a frame finds the device.
func FuzzFromDevices(f *testing.F) {
	for _, seed := range []string{"02 16", "0B 04 04 01 00 3C 63 6C 69 2D 31", "01 00 04 16", "04 FE 00 01 02 16", "05 00 01 00 3C", "00", ""} {
		f.Add(octets(f, seed), octets(f, "C0 00 02 09 12 34"), true)
		f.Add(octets(f, seed), octets(f, "01"), false)
		f.Add(octets(f, seed), octets(f, "00 13 A2 00 40 0A 01 27"), true)
	}
	f.Fuzz(func(t *testing.T, packet, address []byte, several bool) {
		addr, ok := transports.AddrFromOctets(address)
		if !ok || !single(addr) {
			return
		}
		n := 1
		if several {
			n = 256
		}
		fwd := newSinks(t, n)
		fwd.fromDevices(fwd.ports[n-1], []transports.Datagram{{Addr: addr, Data: packet}})
		b := fwd.uplink.queue.take(burst{})
		if uint64(len(b.ends))+fwd.droppedAll() != 1 {
			t.Fatalf("%d datagrams, %+v", len(b.ends), fwd.Stats())
		}
		if len(b.ends) == 0 {
			return
		}
		datagram := b.datagram(0)
		p, err := mqttsn.Decode(datagram)
		if err != nil || len(datagram) > fwd.options.MTU {
			t.Fatalf("% X: %v", datagram, err)
		}
		e, ok := p.(*mqttsn.Encapsulated)
		if !ok || e.Radius != 0 || !bytes.Equal(e.Packet, packet) {
			t.Fatalf("% X became %+v", packet, p)
		}
		fwd.fromGateway(datagram)
		if sent := fwd.sink(n - 1).sent; len(packet) <= 200 && (len(sent) != 1 || sent[0].Addr != addr || !bytes.Equal(sent[0].Data, packet)) {
			t.Fatalf("the answer: %v, %+v", sent, fwd.Stats())
		}
	})
}
