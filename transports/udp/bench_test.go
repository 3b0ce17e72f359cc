package udp

import (
	"net/netip"
	"testing"

	"mqttsn-gateway/transports"
)

// BenchmarkEcho sends 16-octet datagrams to an echoing link and waits for them to come
// back. One operation is a batch of 64, and passes four ends; both links run here.
func BenchmarkEcho(b *testing.B) {
	for _, host := range []string{"127.0.0.1", ""} {
		for _, name := range []string{"platform", "portable"} {
			listens := "one address"
			if host == "" {
				listens = "every address"
			}
			b.Run(name+"/"+listens, func(b *testing.B) { benchmarkEcho(b, sockets[name], host) })
		}
	}
}

func benchmarkEcho(b *testing.B, open opener, host string) {
	l := openLink(b, testOptions(host), open)
	echo(b, l)
	peer := openLink(b, testOptions("127.0.0.1"), newSocket)
	back := make(chan int, 1000)
	serve(b, peer, func(batch []transports.Datagram) { back <- len(batch) })
	to := transports.IPAddr(netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), l.Addr().Port()), 0)
	batch := make([]transports.Datagram, 64)
	for i := range batch {
		batch[i] = transports.Datagram{Addr: to, Data: make([]byte, 16)}
	}
	b.ReportAllocs()
	for b.Loop() {
		if sent, err := peer.Send(batch); sent != len(batch) {
			b.Fatal(err)
		}
		for left := len(batch); left > 0; {
			left -= <-back
		}
	}
	b.ReportMetric(float64(b.N*len(batch))/b.Elapsed().Seconds(), "datagrams/s")
}
