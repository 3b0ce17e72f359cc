package forward

import (
	"log/slog"
	"testing"

	"mqttsn-gateway/transports"
)

// BenchmarkToGateway is what one packet of a device costs before the system has it.
func BenchmarkToGateway(b *testing.B) {
	f := newSinks(b, 2)
	batch := []transports.Datagram{{Addr: ip4, Local: ip("192.0.2.1:1883", 0), Data: octets(b, "0B 0C 20 00 01 00 07 32 31 2E 35")}}
	var waiting burst
	b.ReportAllocs()
	for b.Loop() {
		f.fromDevices(f.ports[1], batch)
		waiting = f.uplink.queue.take(waiting)
	}
	if n := f.droppedAll(); n != 0 {
		b.Fatalf("%+v", f.Stats())
	}
}

// BenchmarkToDevice is what one packet of the gateway costs before the link has it.
func BenchmarkToDevice(b *testing.B) {
	f := newSinks(b, 2)
	f.ports[1].heard.note(ip4, transports.Addr{})
	datagram := octets(b, "0A FE 00 01 C0 00 02 09 12 34 07 0D 00 01 00 07 00")
	b.ReportAllocs()
	for b.Loop() {
		f.fromGateway(datagram)
	}
	if n := f.droppedAll(); n != 0 {
		b.Fatalf("%+v", f.Stats())
	}
}

// BenchmarkRoundTrip has 64 packets on their way to a gateway on this host and back, all
// through the sockets of the system: 4 datagrams for each.
func BenchmarkRoundTrip(b *testing.B) {
	gateway := listen(b, "127.0.0.1:0")
	go func() {
		buf := make([]byte, 100)
		for {
			n, from, err := gateway.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			_, _ = gateway.WriteToUDPAddrPort(buf[:n], from)
		}
	}()
	o := DefaultOptions()
	o.To = gateway.LocalAddr().String()
	_, links := running(b, o, slog.New(slog.DiscardHandler), nil)
	d := dial(b, links[0].Addr())
	packet, answer := octets(b, "02 16"), make([]byte, 100)
	window := 64
	for b.Loop() {
		if window > 0 {
			window--
		} else if _, err := d.Read(answer); err != nil {
			b.Fatal(err)
		}
		if _, err := d.Write(packet); err != nil {
			b.Fatal(err)
		}
	}
}
